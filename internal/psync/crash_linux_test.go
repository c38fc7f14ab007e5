//go:build crash

package psync_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["stopper"] = stopper
	roles["attacher"] = attacher
}

// settle has the lock of the dead mended, as an arena does.
func (w *world) settle(me *psync.Owner, _ psync.ID) error {
	return w.lock.Settle(me, w.mend)
}

// stopper attaches and stops itself at a tick.
func stopper(args []string) int {
	k, err := strconv.ParseInt(args[1], 10, 64)
	shmtest.Must(err)
	w := newWorld(shmtest.OpenRaw(args[0]))
	locks, err := w.seg.Locks()
	shmtest.Must(err)
	fault.SetHook(func(n int64) {
		if n == k {
			shmtest.StopHere()
		}
	})
	o, err := w.table(locks).Attach(w.settle)
	shmtest.Must(err)
	fault.SetHook(nil)
	shmtest.Say("%d", uint64(o.ID()))
	shmtest.Hear()
	return 0
}

// attacher attaches, changes the pair under the lock, and detaches.
func attacher(args []string) int {
	w := newWorld(shmtest.OpenRaw(args[0]))
	locks, err := w.seg.Locks()
	shmtest.Must(err)
	shmtest.Arm()
	shmtest.Must(w.visit(locks))
	return 0
}

// visit is the whole life of a process.
func (w *world) visit(locks psync.Bytes) error {
	table := w.table(locks)
	o, err := table.Attach(w.settle)
	if err != nil {
		return err
	}
	if _, err := table.Recover(o, w.settle); err != nil {
		return err
	}
	if err := w.lock.Lock(o, w.mend); err != nil {
		return err
	}
	w.left.Store(w.left.Load() + 1)
	w.right.Store(w.right.Load() + 1)
	w.lock.Unlock()
	return table.Detach(o.ID())
}

// crowded is a world that has one slot left: that of somebody who died inside
// the lock, in the middle of a change.
func crowded(t testing.TB, seg segment) (w *world, p *process) {
	w = newWorld(seg)
	p = w.attach(t)
	dead := w.attach(t)
	w.attach(t)
	w.attach(t)
	dead.acquire(t, consistent(t))
	w.left.Store(w.left.Load() + 1)
	dead.die(t)
	return w, p
}

// Somebody attaches to the slot of the dead and is stopped between any two
// steps. Whoever waits for the lock of the dead gets it meanwhile, as long as
// the stopped one has not itself taken it over; and it is never robbed.
func TestCrash_AttachStopped(t *testing.T) {
	for k := int64(1); ; k++ {
		seg := shmtest.RawNamed(t, worldSize)
		w, p := crowded(t, seg)
		c := shmtest.Start(t, "stopper", seg.Name(), strconv.FormatInt(k, 10))
		line, ok := c.Line()
		require.True(t, ok)
		if line != "stopped" {
			t.Logf("%d ticks", k-1)
			return
		}
		c.Stopped()
		holder := w.lock.Holder()
		err := w.lock.Settle(p.Owner, w.mend)
		if holder.Slot() == 1 && holder.Incarnation() == 2 {
			require.ErrorIs(t, err, psync.ErrBusy, "tick %d: robbed", k)
		} else {
			require.NoError(t, err, "tick %d", k)
			require.Equal(t, w.left.Load(), w.right.Load())
		}
		claimed, err := p.locks.Held(psync.ClaimByte(1), 1)
		require.NoError(t, err)
		lives, err := p.locks.Held(psync.LifeByte(1), 1)
		require.NoError(t, err)
		n, err := p.table.Recover(p.Owner, nothing)
		require.NoError(t, err)
		require.Equal(t, !claimed && !lives, n == 1, "tick %d: the slot was recovered", k)
		c.Cont()
		require.Equal(t, psync.MakeID(1, 2), holderID(t, c))
		require.NoError(t, w.lock.Settle(p.Owner, w.mend))
		require.Equal(t, w.left.Load(), w.right.Load())
		c.Tell("end")
		require.False(t, c.Wait())
	}
}

// A process is killed at every step of its life: the next one has the same slot,
// another id, and the lock.
func TestCrash_AttachKilled(t *testing.T) {
	for _, full := range []bool{false, true} {
		var seg segment
		var name string
		shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
			raw := shmtest.RawNamed(t, worldSize)
			seg, name = raw, raw.Name()
			if full {
				crowded(t, raw)
			}
			return shmtest.ArmedAt(t, k, "attacher", name)
		}, func(bool) {
			w := newWorld(seg)
			locks, err := w.seg.Locks()
			require.NoError(t, err)
			defer locks.Close()
			before := slotWords(w)
			require.NoError(t, w.visit(locks))
			w.requireSound(t, before)
		})
	}
}

func slotWords(w *world) (words [worldSlots]uint64) {
	for s := range words {
		words[s] = w.word(s).Load()
	}
	return words
}

// requireSound checks what must hold when nobody is inside.
func (w *world) requireSound(t testing.TB, before [worldSlots]uint64) {
	t.Helper()
	require.Equal(t, w.left.Load(), w.right.Load())
	require.True(t, w.lock.Consistent())
	raised := 0
	for s, word := range slotWords(w) {
		require.GreaterOrEqual(t, word>>32, before[s]>>32)
		if word>>32 > before[s]>>32 {
			raised++
		}
	}
	require.NotZero(t, raised, "somebody attached, and no incarnation rose")
}

// The same in frozen frames, and in the frames of their recoveries.
func TestCrash_AttachFrozen(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full ", full), func(t *testing.T) {
			seg := shmtest.RawHeap(t, worldSize)
			w := newWorld(seg)
			if full {
				crowded(t, seg)
			}
			visit := func(w *world) func() {
				locks, err := w.seg.Locks()
				require.NoError(t, err)
				return func() {
					require.NoError(t, w.visit(locks))
					require.NoError(t, locks.Close())
				}
			}
			frames, ticks := shmtest.Freeze(seg, visit(w))
			second := 0
			for _, f := range frames {
				seg2 := shmtest.Thaw(f, seg)
				w2 := newWorld(seg2)
				before := slotWords(w2)
				frames2, n := shmtest.Freeze(seg2, visit(w2))
				w2.requireSound(t, before)
				ticks += n
				for _, g := range frames2 {
					w3 := newWorld(shmtest.Thaw(g, seg))
					before := slotWords(w3)
					visit(w3)()
					w3.requireSound(t, before)
					second++
				}
			}
			t.Logf("%d ticks, %d different frames, %d in their recoveries", ticks, len(frames), second)
		})
	}
}

// A waiter that was woken, or slept, or took the lock over, is killed: nobody
// else sleeps for ever.
func TestCrash_WaiterKilled(t *testing.T) {
	shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
		seg := shmtest.RawNamed(t, worldSize)
		w := newWorld(seg)
		p, q := w.attach(t), w.attach(t)
		p.acquire(t, consistent(t))
		c := shmtest.ArmedAt(t, k, "attacher", seg.Name())
		got := make(chan error)
		var mended atomic.Int64
		go func() { got <- w.lock.Lock(q.Owner, mends(&mended)) }()
		reached(t, "a waiter", func() bool { return w.lock.Word().Load()&psync.Waiters != 0 })
		w.lock.Unlock()
		require.NoError(t, <-got)
		w.lock.Unlock()
		return c
	}, func(bool) {})
}
