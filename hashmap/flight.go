package hashmap

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// What the goroutines of one process that want the same key share: one of them,
// the first, goes for the lease, and may have to wait for another process; the
// others wait for him here, and cost no thread. He may end without a result, since
// his context has ended; or be stuck in his load past the end of his lease. Then
// one of the others is the next first.

// flight is one goroutine on its way to a value.
type flight[V any] struct {
	done  chan struct{} // closed when it has ended
	until atomic.Uint64 // end of the lease, while it loads; 0: it does not load

	// Before done is closed they are the first one's, after that nobody's.
	said bool // there is a result
	v    V
	err  error

	claim claim // under the lock of the flights; off 0: none
}

// flights are those of one handle.
type flights[K comparable, V any] struct {
	mu    sync.Mutex
	all   map[K]*flight[V]
	ended bool // the handle is closed: no lease may be touched
}

// join returns the flight to a key, and whether the caller is the first.
func (s *flights[K, V]) join(k K) (f *flight[V], first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.all[k]; f != nil {
		return f, false
	}
	if s.all == nil {
		s.all = make(map[K]*flight[V])
	}
	f = &flight[V]{done: make(chan struct{})}
	s.all[k] = f
	return f, true
}

// loads says that the first one has a lease, and loads.
func (s *flights[K, V]) loads(f *flight[V], c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.claim = *c
	f.until.Store(c.until)
}

// leave ends a flight.
func (s *flights[K, V]) leave(k K, f *flight[V]) {
	s.drop(k, f)
	close(f.done)
}

// drop has the next one who comes be first.
func (s *flights[K, V]) drop(k K, f *flight[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[k] == f {
		delete(s.all, k)
	}
}

// letGo gives the leases back when the handle is closed. The object is still open
// then; other processes need not wait for what is loaded here any more.
func (m *Map[K, V]) letGo() {
	s := &m.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	for _, f := range s.all {
		m.yield(&f.claim, leaseIdle)
	}
}

// longestLook is how long those who wait for a flight do not look at anything
// else.
const longestLook = 100 * time.Millisecond

// follow waits for a flight that another goroutine is the first of. It returns
// false, and no error, when that has ended without a result, or will not end.
func (m *Map[K, V]) follow(ctx context.Context, k K, f *flight[V]) (v V, said bool, err error) {
	pause := longestSleep
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-f.done:
			return m.private(f.v), f.said, f.err
		case <-ctx.Done():
			return v, false, ctx.Err()
		case <-timer.C:
		}
		if err := m.err(); err != nil {
			return v, false, err
		}
		if until := f.until.Load(); until != 0 && until <= m.clock.now() {
			m.flights.drop(k, f)
			return v, false, nil
		}
		pause = min(2*pause, longestLook)
		timer.Reset(pause)
	}
}
