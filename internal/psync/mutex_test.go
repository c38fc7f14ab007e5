package psync_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestMutex_Free(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	require.Zero(t, w.lock.Holder())
	require.True(t, w.lock.Consistent())
	p.acquire(t, consistent(t))
	require.False(t, w.lock.Consistent())
	w.lock.Unlock()
	require.True(t, w.lock.Consistent())
	q.acquire(t, consistent(t))
	w.lock.Unlock()
	require.Zero(t, w.lock.Word().Load())
}

// Goroutines of several processes exclude each other, within one process and
// between them. The pair is not atomic to the race detector's eye: the words
// are, but each goroutine also writes a plain variable.
func TestMutex_Exclusion(t *testing.T) {
	const processes, goroutines, rounds = 3, 3, 300
	w := heapWorld(t)
	plain := 0
	var all sync.WaitGroup
	for range processes {
		p := w.attach(t)
		for range goroutines {
			all.Go(func() {
				for range rounds {
					if err := w.lock.Lock(p.Owner, consistent(t)); err != nil {
						t.Error(err)
						return
					}
					plain++
					w.left.Store(w.left.Load() + 1)
					runtime.Gosched()
					w.right.Store(w.right.Load() + 1)
					w.lock.Unlock()
				}
			})
		}
	}
	all.Wait()
	require.Equal(t, processes*goroutines*rounds, plain)
	require.EqualValues(t, plain, w.left.Load())
	require.EqualValues(t, plain, w.right.Load())
	require.Zero(t, w.lock.Word().Load()&^psync.Waiters)
}

// Two goroutines of one process, each through a handle of its own, want one
// lock. The second one finds its own process's id in the word. Its own byte
// looks free to it, so it must not probe: it would rob its sister.
func TestB6_SelfProbe(t *testing.T) {
	w := heapWorld(t)
	probes := 0
	p := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, before: func(op string, at uint64) {
			if op == "probe" && at == psync.LifeByte(0) && w.lock.Holder() != 0 {
				probes++
			}
		}}
	}, nothing)
	probed, err := p.table.Alive(p.ID())
	require.NoError(t, err)
	require.False(t, probed, "this is why")

	p.acquire(t, consistent(t))
	other := mem.Must[psync.Mutex](w.view, lockAt)
	got := make(chan error)
	stalled := make(chan psync.Stall, 1)
	p.Stalled = func(s psync.Stall) {
		select {
		case stalled <- s:
		default:
		}
	}
	go func() { got <- other.Lock(p.Owner, consistent(t)) }()
	select {
	case <-got:
		t.Fatal("a goroutine robbed its own process")
	case s := <-stalled: // it has judged the holder a hundred times
		require.Equal(t, p.ID(), s.Holder)
	}
	w.lock.Unlock()
	require.NoError(t, <-got)
	require.Equal(t, p.ID(), other.Holder())
	other.Unlock()
	require.Zero(t, probes)
}

// The lock of the dead is taken over and mended, whatever waited on it.
func TestMutex_Takeover(t *testing.T) {
	for _, flags := range []uint64{0, psync.Waiters, psync.Inconsistent, psync.Waiters | psync.Inconsistent} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			w := heapWorld(t)
			p, q := w.attach(t), w.attach(t)
			p.acquire(t, consistent(t))
			p.die(t)
			w.lock.Word().Or(flags)
			var mended atomic.Int64
			q.acquire(t, func() error {
				mended.Add(1)
				require.Equal(t, uint64(q.ID())|psync.Inconsistent|psync.Waiters, w.lock.Word().Load(),
					"while it is mended the word says so, and whoever waited is remembered")
				return nil
			})
			require.EqualValues(t, 1, mended.Load())
			require.Equal(t, uint64(q.ID())|psync.Waiters, w.lock.Word().Load())
			w.lock.Unlock()
			require.True(t, w.lock.Consistent())
		})
	}
}

// The slot of the dead holder is used again, by a living process that holds
// nothing. The id in the word is dead all the same.
func TestMutex_TakeoverAfterReuse(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	p.acquire(t, consistent(t))
	p.die(t)
	_, err := q.table.Recover(q.Owner, nothing)
	require.NoError(t, err)
	again := w.attach(t)
	require.Equal(t, p.ID().Slot(), again.ID().Slot())
	var mended atomic.Int64
	q.acquire(t, mends(&mended))
	require.EqualValues(t, 1, mended.Load())
	w.lock.Unlock()
}

// The same slot is used again and again, each time by one that dies with the
// lock. Everybody's word is stale at once.
func TestMutex_ReuseStorm(t *testing.T) {
	w := heapWorld(t)
	q := w.attach(t)
	var mended atomic.Int64
	for i := range 30 {
		p := w.attach(t)
		require.Equal(t, 1, p.ID().Slot())
		p.acquire(t, mends(&mended))
		p.die(t)
		_, err := q.table.Recover(q.Owner, nothing) // the slot is free, the word stays
		require.NoError(t, err)
		require.EqualValues(t, i, mended.Load())
	}
	q.acquire(t, mends(&mended))
	require.EqualValues(t, 30, mended.Load())
	w.lock.Unlock()
}

// A judge is slow: when it says "dead" the lock has been taken over, given
// back, and is held by somebody who lives. It must not rob that one.
func TestMutex_JudgeDelayed(t *testing.T) {
	w := heapWorld(t)
	dead, fast, holder := w.attach(t), w.attach(t), w.attach(t)
	dead.acquire(t, consistent(t))
	dead.die(t)
	var delayed sync.Once
	var mended atomic.Int64
	slow := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, after: func(op string, at uint64) {
			if op != "probe" || at != psync.LifeByte(dead.ID().Slot()) || w.lock.Holder() != dead.ID() {
				return
			}
			delayed.Do(func() {
				if err := w.lock.Lock(fast.Owner, mends(&mended)); err != nil {
					t.Error(err)
				}
				w.lock.Unlock()
				if err := w.lock.Lock(holder.Owner, consistent(t)); err != nil {
					t.Error(err)
				}
			})
		}}
	}, func(*psync.Owner, psync.ID) error { return errors.New("leave the dead slot alone") })
	got := make(chan error)
	go func() { got <- w.lock.Lock(slow.Owner, consistent(t)) }()
	reached(t, "the third holder", func() bool { return w.lock.Holder() == holder.ID() })
	select {
	case <-got:
		t.Fatal("robbed a living holder")
	case <-time.After(50 * time.Millisecond): // several judgements; a late robbery fails below as well
	}
	require.Equal(t, holder.ID(), w.lock.Holder())
	w.lock.Unlock()
	require.NoError(t, <-got)
	require.Equal(t, slow.ID(), w.lock.Holder())
	require.EqualValues(t, 1, mended.Load())
}

// The taker dies where it pleases: right after it took the lock over, in the
// middle of mending, after it. The next one mends again.
func TestMutex_TakerDies(t *testing.T) {
	for _, where := range []string{"before mending", "in the middle", "after mending"} {
		t.Run(where, func(t *testing.T) {
			w := heapWorld(t)
			dead, taker, next := w.attach(t), w.attach(t), w.attach(t)
			dead.acquire(t, consistent(t))
			w.left.Store(1)
			dead.die(t)
			mend := func() error {
				w.right.Store(w.left.Load())
				return nil
			}
			died := make(chan struct{})
			go func() {
				_ = w.lock.Lock(taker.Owner, func() error {
					switch where {
					case "in the middle":
						w.right.Store(7)
						fallthrough
					case "before mending":
						close(died)
						select {} // the dead run no deferred calls
					}
					return mend()
				})
				close(died)
			}()
			<-died
			require.Equal(t, taker.ID(), w.lock.Holder())
			taker.die(t)
			next.acquire(t, mend)
			require.EqualValues(t, 1, w.right.Load())
			w.lock.Unlock()
			require.True(t, w.lock.Consistent())
		})
	}
}

// What cannot be mended is an error for everybody who comes, never a hang and
// never silence; and once it can, all is well.
func TestB17_MendFails(t *testing.T) {
	w := heapWorld(t)
	dead, p, q := w.attach(t), w.attach(t), w.attach(t)
	dead.acquire(t, consistent(t))
	dead.die(t)
	bad := fmt.Errorf("%w: no sense in it", mem.ErrCorrupt)
	for _, who := range []*process{p, q, p} {
		err := w.lock.Lock(who.Owner, func() error { return bad })
		require.ErrorIs(t, err, mem.ErrCorrupt)
		require.Zero(t, w.lock.Holder())
		require.False(t, w.lock.Consistent())
	}
	err := w.lock.Lock(p.Owner, func() error { return errors.New("not today") })
	require.ErrorContains(t, err, "mending what a dead process left: not today")
	var mended atomic.Int64
	q.acquire(t, mends(&mended))
	require.EqualValues(t, 1, mended.Load())
	w.lock.Unlock()
	p.acquire(t, consistent(t))
	w.lock.Unlock()
}

// A panic inside leaves the lock to be mended by the next holder, of the same
// process even.
func TestMutex_Abandon(t *testing.T) {
	w := heapWorld(t)
	p := w.attach(t)
	p.acquire(t, consistent(t))
	w.lock.Abandon()
	require.Zero(t, w.lock.Holder())
	require.False(t, w.lock.Consistent())
	var mended atomic.Int64
	p.acquire(t, mends(&mended))
	require.EqualValues(t, 1, mended.Load())
	w.lock.Unlock()
}

// A mend that panics has not mended, and does not keep the lock either.
func TestMutex_MendPanics(t *testing.T) {
	w := heapWorld(t)
	p := w.attach(t)
	p.acquire(t, consistent(t))
	w.lock.Abandon()
	blow := func() error { panic("on the way") }
	require.Panics(t, func() { _ = w.lock.Lock(p.Owner, blow) })
	require.Panics(t, func() { _ = w.lock.Settle(p.Owner, blow) })
	require.Zero(t, w.lock.Holder())
	require.False(t, w.lock.Consistent())
	var mended atomic.Int64
	p.acquire(t, mends(&mended))
	require.EqualValues(t, 1, mended.Load())
	w.lock.Unlock()
}

// Close lets everybody go who waits, at the gate and at the word.
func TestMutex_CloseWhileWaiting(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	p.acquire(t, consistent(t))
	const waiting = 4
	got := make(chan error)
	for range waiting {
		go func() { got <- w.lock.Lock(q.Owner, consistent(t)) }()
	}
	reached(t, "all wait", func() bool { return q.Waiting(w.lock) == waiting })
	require.False(t, q.Closed())
	q.Close()
	require.True(t, q.Closed())
	for range waiting {
		require.ErrorIs(t, <-got, psync.ErrClosed)
	}
	require.Equal(t, p.ID(), w.lock.Holder())
	require.Zero(t, q.Waiting(w.lock))
	w.lock.Unlock()
}

// Settle mends what a dead holder left, and also mends when the lock is free.
func TestMutex_Settle(t *testing.T) {
	w := heapWorld(t)
	dead, p := w.attach(t), w.attach(t)
	var mended atomic.Int64
	require.NoError(t, w.lock.Settle(p.Owner, mends(&mended)))
	require.EqualValues(t, 1, mended.Load())
	dead.acquire(t, consistent(t))
	dead.die(t)
	require.NoError(t, w.lock.Settle(p.Owner, mends(&mended)))
	require.Greater(t, mended.Load(), int64(1))
	require.True(t, w.lock.Consistent())

	bad := fmt.Errorf("%w: no sense in it", mem.ErrCorrupt)
	require.ErrorIs(t, w.lock.Settle(p.Owner, func() error { return bad }), mem.ErrCorrupt)
	require.Zero(t, w.lock.Holder())
	require.False(t, w.lock.Consistent(), "the next one mends")
}

// Settle does not wait long for a living holder, nor behind others who do.
func TestMutex_SettleBusy(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	p.acquire(t, consistent(t))
	require.ErrorIs(t, w.lock.Settle(q.Owner, consistent(t)), psync.ErrBusy)

	got := make(chan error)
	go func() { got <- w.lock.Lock(q.Owner, consistent(t)) }()
	reached(t, "one waits at the gate", func() bool { return q.Waiting(w.lock) == 1 })
	settled := make(chan error)
	go func() { settled <- w.lock.Settle(q.Owner, consistent(t)) }()
	select {
	case err := <-settled:
		require.ErrorIs(t, err, psync.ErrBusy)
	case <-time.After(10 * time.Second):
		t.Error("it waits as long as the holder pleases")
	}
	w.lock.Unlock()
	require.NoError(t, <-got)
	w.lock.Unlock()
}

// Who does not wait long, and loses the processor for all that time before he has looked
// who holds the lock, takes it over from the dead all the same: it is the living that he
// gives up for.
func TestMutex_SettleLate(t *testing.T) {
	w := heapWorld(t)
	dead, p := w.attach(t), w.attach(t)
	dead.acquire(t, consistent(t))
	got, err := w.lock.LockIn(p.Owner, consistent(t), 1) // ns: over before it begins
	require.NoError(t, err)
	require.False(t, got, "a living process has it")
	dead.die(t)
	var mended atomic.Int64
	got, err = w.lock.LockIn(p.Owner, mends(&mended), 1)
	require.NoError(t, err)
	require.True(t, got)
	require.EqualValues(t, 1, mended.Load())
	w.lock.Unlock()
}

// A word of any bits: whoever wants the lock gets it or an error, and holds it
// alone.
func TestMutex_DamagedWord(t *testing.T) {
	for _, word := range []uint64{4, 1 << 19, 1 << 63, 0x1234_0000_0000, 0xdead_beef_0000_0000, ^uint64(0), 0xffff_ffff_fff0_0000} {
		w := heapWorld(t)
		p, q := w.attach(t), w.attach(t)
		w.lock.Word().Store(word)
		require.NoError(t, w.lock.Lock(p.Owner, func() error { return nil }))
		require.Equal(t, p.ID(), w.lock.Holder(), "word %#x", word)
		require.ErrorIs(t, w.lock.Settle(q.Owner, nothingMore), psync.ErrBusy, "word %#x", word)
		w.lock.Unlock()
		require.True(t, w.lock.Consistent())
	}
}

func nothingMore() error { return nil }

func TestWait(t *testing.T) {
	w := heapWorld(t)
	psync.Wait(w.left, 1, time.Hour) // it holds 0: returns at once
	woken := make(chan struct{})
	go func() {
		for w.left.Load() == 0 {
			psync.Wait(w.left, 0, time.Second)
		}
		close(woken)
	}()
	w.left.Store(1)
	psync.Wake(w.left)
	<-woken
}

// The uncontended lock costs two atomic operations and no allocation.
func BenchmarkMutex(b *testing.B) {
	w := newWorld(shmtest.RawHeap(b, worldSize))
	p := w.attach(b)
	mend := func() error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		_ = w.lock.Lock(p.Owner, mend)
		w.lock.Unlock()
	}
}
