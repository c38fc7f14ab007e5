package psync

import (
	"sync"
	"sync/atomic"
	"time"
)

// Owner is a living attach: the identity under which this process takes locks
// and pages. It is safe for concurrent use by goroutines, which all share the
// one identity: they move between threads, the process does not.
type Owner struct {
	id    ID
	table *Table

	// Stalled, if set, is called when a wait for a living holder has lasted a
	// while, and again each time it has doubled. It must not block.
	Stalled func(Stall)

	closed atomic.Bool

	mu    sync.Mutex
	gates map[*Mutex]*gate
}

// Stall describes a lock that a living process has held for long. It is
// reported and never taken away: the holder may be stopped in a debugger.
type Stall struct {
	Holder ID
	Waited time.Duration
}

func newOwner(t *Table, id ID) *Owner {
	return &Owner{id: id, table: t, gates: make(map[*Mutex]*gate)}
}

// ID returns the identity.
func (o *Owner) ID() ID { return o.id }

// Alive reports whether id names a living attach. One's own is alive without
// asking the kernel (B6).
func (o *Owner) Alive(id ID) (bool, error) {
	if id == o.id {
		return true, nil
	}
	return o.table.Alive(id)
}

// Close makes goroutines that wait for a lock give up with ErrClosed.
func (o *Owner) Close() { o.closed.Store(true) }

// Closed reports whether Close was called.
func (o *Owner) Closed() bool { return o.closed.Load() }

// gate lets one goroutine of this attach at a time wait for a lock word, so
// that a crowd of goroutines parks in Go and costs one thread.
type gate struct {
	turn chan struct{}
	refs int
}

// enterGate waits for its turn, at most limit if that is not 0; nil: it was not
// its turn by then.
func (o *Owner) enterGate(m *Mutex, limit time.Duration) *gate {
	o.mu.Lock()
	g := o.gates[m]
	if g == nil {
		g = &gate{turn: make(chan struct{}, 1)}
		o.gates[m] = g
	}
	g.refs++
	o.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		return g // even if the limit is over by now
	default:
	}
	var expired <-chan time.Time
	if limit != 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case g.turn <- struct{}{}:
		return g
	case <-expired:
		o.dropGate(m, g)
		return nil
	}
}

func (o *Owner) leaveGate(m *Mutex, g *gate) {
	<-g.turn
	o.dropGate(m, g)
}

func (o *Owner) dropGate(m *Mutex, g *gate) {
	o.mu.Lock()
	if g.refs--; g.refs == 0 {
		delete(o.gates, m)
	}
	o.mu.Unlock()
}
