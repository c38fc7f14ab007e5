package psync_test

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/psync"
)

func TestTable_Attach(t *testing.T) {
	w := heapWorld(t)
	var all []*process
	for s := range worldSlots {
		p := w.attach(t)
		require.Equal(t, s, p.ID().Slot())
		require.EqualValues(t, 1, p.ID().Incarnation())
		require.Equal(t, s+1, p.table.High())
		all = append(all, p)
	}
	_, err := w.tryAttach(t, nil, nothing)
	require.ErrorIs(t, err, psync.ErrNoSlot)
	require.ErrorContains(t, err, "all 4 are in use")

	all[2].detach(t)
	p := w.attach(t)
	require.Equal(t, psync.MakeID(2, 2), p.ID(), "the slot that is free, raised")
	require.Equal(t, worldSlots, p.table.High())
	id, used := p.table.Current(2)
	require.True(t, used)
	require.Equal(t, p.ID(), id)
}

func TestTable_Alive(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	judge := func(want bool, id psync.ID) {
		t.Helper()
		alive, err := q.Alive(id)
		require.NoError(t, err)
		require.Equal(t, want, alive)
	}
	judge(true, p.ID())
	judge(true, q.ID())
	judge(false, psync.MakeID(0, 2))    // not yet
	judge(false, psync.MakeID(3, 1))    // never
	judge(false, psync.MakeID(4, 1))    // beyond the table
	judge(false, psync.MakeID(4000, 1)) // a damaged word
	judge(false, psync.ID(0))
	anyone, err := q.table.AnyAlive()
	require.NoError(t, err)
	require.True(t, anyone)

	p.die(t)
	judge(false, p.ID())
	anyone, err = q.table.AnyAlive()
	require.NoError(t, err)
	require.False(t, anyone, "nobody but the one who asks")
	again := w.attach(t)
	require.Equal(t, 2, again.ID().Slot(), "free slots first")
	judge(false, p.ID())
}

// A full table has room for one more when somebody is dead; what the dead left
// is settled under the identity of the new one.
func TestTable_AttachToDead(t *testing.T) {
	w := heapWorld(t)
	var all []*process
	for range worldSlots {
		all = append(all, w.attach(t))
	}
	all[1].die(t)
	var settled []psync.ID
	p := w.attachWith(t, nil, func(me *psync.Owner, dead psync.ID) error {
		require.Equal(t, psync.MakeID(1, 2), me.ID())
		alive, err := me.Alive(dead)
		require.NoError(t, err)
		require.False(t, alive)
		settled = append(settled, dead)
		return nil
	})
	require.Equal(t, []psync.ID{psync.MakeID(1, 1)}, settled)
	require.Equal(t, psync.MakeID(1, 2), p.ID())
}

func TestTable_AttachRefused(t *testing.T) {
	w := heapWorld(t)
	for range worldSlots {
		w.attach(t).die(t)
	}
	bad := errors.New("not today")
	_, err := w.tryAttach(t, nil, func(*psync.Owner, psync.ID) error { return bad })
	require.ErrorIs(t, err, psync.ErrNoSlot)
	require.ErrorIs(t, err, bad)
	// What was refused is still there for the next one.
	n := 0
	w.attachWith(t, nil, func(*psync.Owner, psync.ID) error { n++; return nil })
	require.Equal(t, 1, n)
}

func TestTable_Recover(t *testing.T) {
	w := heapWorld(t)
	p, q, r := w.attach(t), w.attach(t), w.attach(t)
	q.die(t)
	var dead []psync.ID
	settle := func(me *psync.Owner, id psync.ID) error {
		require.Equal(t, r.ID(), me.ID())
		dead = append(dead, id)
		return nil
	}
	n, err := r.table.Recover(r.Owner, settle)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []psync.ID{q.ID()}, dead)
	require.Equal(t, psync.SlotWord(1, psync.SlotFree), w.word(1).Load(), "free, and the incarnation as it was")
	n, err = r.table.Recover(r.Owner, settle)
	require.NoError(t, err)
	require.Zero(t, n)
	alive, err := r.Alive(p.ID())
	require.NoError(t, err)
	require.True(t, alive)
}

func TestTable_RecoverRefused(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	p.die(t)
	bad := errors.New("not today")
	n, err := q.table.Recover(q.Owner, func(*psync.Owner, psync.ID) error { return bad })
	require.ErrorIs(t, err, bad)
	require.Zero(t, n)
	n, err = q.table.Recover(q.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Whoever is stopped while it claims a slot is skipped, not awaited, by others
// who attach and by those who recover.
func TestTable_StoppedClaimer(t *testing.T) {
	w := heapWorld(t)
	w.attach(t).die(t) // slot 0 waits for recovery
	stopped, err := w.seg.Locks()
	require.NoError(t, err)
	for _, s := range []int{0, 1} {
		ok, err := stopped.TryLock(psync.ClaimByte(s))
		require.NoError(t, err)
		require.True(t, ok)
	}
	p := w.attach(t)
	require.Equal(t, 2, p.ID().Slot())
	n, err := p.table.Recover(p.Owner, nothing)
	require.NoError(t, err)
	require.Zero(t, n)

	require.NoError(t, stopped.Close(), "killed at last")
	n, err = p.table.Recover(p.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Two recoverers meet: one settles, the other passes by.
func TestTable_TwoRecoverers(t *testing.T) {
	w := heapWorld(t)
	dead, p, q := w.attach(t), w.attach(t), w.attach(t)
	dead.die(t)
	n, err := p.table.Recover(p.Owner, func(*psync.Owner, psync.ID) error {
		n, err := q.table.Recover(q.Owner, func(*psync.Owner, psync.ID) error {
			t.Error("two recover one slot")
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, n)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A recoverer that dies in the middle leaves the slot to the next one.
func TestTable_RecovererDies(t *testing.T) {
	w := heapWorld(t)
	dead, p, q := w.attach(t), w.attach(t), w.attach(t)
	dead.die(t)
	_, err := p.table.Recover(p.Owner, func(*psync.Owner, psync.ID) error {
		p.die(t)
		return errors.New("died")
	})
	require.Error(t, err)
	n, err := q.table.Recover(q.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

// Byte locks do not conflict within one holder, so two goroutines that recover
// at a time would both get the claim byte.
func TestB6_TwoGoroutinesRecover(t *testing.T) {
	w := heapWorld(t)
	var started, inside, most atomic.Int64
	p := w.attach(t)
	for range 200 {
		w.attach(t).die(t)
		started.Store(0)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				started.Add(1)
				for started.Load() < 2 {
					runtime.Gosched()
				}
				_, err := p.table.Recover(p.Owner, func(*psync.Owner, psync.ID) error {
					if n := inside.Add(1); n > most.Load() {
						most.Store(n)
					}
					for range 10 {
						runtime.Gosched()
					}
					inside.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	require.EqualValues(t, 1, most.Load(), "goroutines that settle one slot at a time")
}

// A process that recovers must not judge itself by its own byte, which looks
// free to it.
func TestB6_RecoverSparesItself(t *testing.T) {
	w := heapWorld(t)
	p := w.attach(t)
	n, err := p.table.Recover(p.Owner, func(_ *psync.Owner, dead psync.ID) error {
		t.Errorf("%s settled itself", dead)
		return nil
	})
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, psync.SlotWord(1, psync.SlotLive), w.word(0).Load())
}

// The same process attaches twice: two identities, each alive to the other.
func TestTable_SameProcessTwice(t *testing.T) {
	w := heapWorld(t)
	p, q := w.attach(t), w.attach(t)
	require.NotEqual(t, p.ID(), q.ID())
	for _, pair := range [][2]*process{{p, q}, {q, p}} {
		alive, err := pair[0].Alive(pair[1].ID())
		require.NoError(t, err)
		require.True(t, alive)
		n, err := pair[0].table.Recover(pair[0].Owner, nothing)
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

// Whenever somebody takes a life byte, the incarnation of the slot was raised
// before: so if it is stopped right there, the id that was in the slot is dead
// to everybody, and what that one held can be taken over.
func TestB7_IncarnationBeforeLife(t *testing.T) {
	w := heapWorld(t)
	var all []*process
	for range worldSlots {
		all = append(all, w.attach(t))
	}
	dead, judge := all[0], all[3]
	dead.acquire(t, consistent(t))
	dead.die(t)
	stops := 0
	p := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, after: func(op string, at uint64) {
			if op != "lock" || at != psync.LifeByte(0) {
				return
			}
			stops++ // and here it is stopped
			alive, err := judge.Alive(dead.ID())
			require.NoError(t, err)
			require.False(t, alive, "the dead id came alive")
		}}
	}, nothing)
	require.Equal(t, 1, stops)
	require.Equal(t, 0, p.ID().Slot())
	var mended atomic.Int64
	judge.acquire(t, mends(&mended))
	require.EqualValues(t, 1, mended.Load())
}

// A recoverer that is stopped must not look like the one it recovers.
func TestB7_RecovererTakesNoLife(t *testing.T) {
	w := heapWorld(t)
	dead := w.attach(t)
	watching := false
	p := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, before: func(op string, at uint64) {
			if watching && op == "lock" && at >= psync.LifeByte(0) && at < psync.LifeByte(worldSlots) {
				t.Errorf("a recoverer takes the life byte of slot %d", at-psync.LifeByte(0))
			}
		}}
	}, nothing)
	dead.die(t)
	watching = true
	n, err := p.table.Recover(p.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Anyone who may read the file can take read locks. He can keep a slot from
// being used, but nobody takes him for alive.
func TestTable_ForeignReader(t *testing.T) {
	w := heapWorld(t)
	dead := w.attach(t)
	dead.die(t)
	rogue, err := w.seg.Locks()
	require.NoError(t, err)
	for _, b := range []uint64{psync.LifeByte(0), psync.LifeByte(1), psync.ClaimByte(2)} {
		ok, err := rogue.TryRLock(b)
		require.NoError(t, err)
		require.True(t, ok)
	}
	p := w.attach(t)
	require.Equal(t, 3, p.ID().Slot(), "the only slot it can have")
	alive, err := p.Alive(dead.ID())
	require.NoError(t, err)
	require.False(t, alive, "a read lock feigns life")
	anyone, err := p.table.AnyAlive()
	require.NoError(t, err)
	require.False(t, anyone)

	n, err := p.table.Recover(p.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 2, n, "slot 0 and the try at slot 1")
	require.NoError(t, rogue.Close())
	require.Equal(t, 0, w.attach(t).ID().Slot())
}

// An incarnation is never used twice: the slot is given up instead.
func TestTable_IncarnationsUsedUp(t *testing.T) {
	w := heapWorld(t)
	w.word(0).Store(psync.SlotWord(math.MaxUint32-1, psync.SlotFree))
	p := w.attach(t)
	require.Equal(t, psync.MakeID(0, math.MaxUint32), p.ID())
	p.die(t)
	q := w.attach(t)
	require.Equal(t, 1, q.ID().Slot())
	_, err := q.table.Recover(q.Owner, nothing)
	require.NoError(t, err)
	require.Equal(t, 2, w.attach(t).ID().Slot())
	require.Equal(t, psync.SlotWord(math.MaxUint32, psync.SlotRetired), w.word(0).Load())
	_, err = q.table.Recover(q.Owner, func(_ *psync.Owner, dead psync.ID) error {
		require.NotZero(t, dead.Slot())
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, psync.SlotWord(math.MaxUint32, psync.SlotRetired), w.word(0).Load(), "for good")
}

// A table of any bytes: no panic, no hang, and who attaches gets an id that
// nobody had.
func TestTable_DamagedSlots(t *testing.T) {
	for _, word := range []uint64{7, 0xff, 1 << 63, math.MaxUint64, 0x1234_5678_9abc_def0, psync.SlotWord(math.MaxUint32, psync.SlotLive)} {
		w := heapWorld(t)
		for s := range worldSlots {
			w.word(s).Store(word)
		}
		if p, err := w.tryAttach(t, nil, nothing); err == nil {
			require.NotEqual(t, uint32(word>>32), p.ID().Incarnation())
			_, err = p.table.Recover(p.Owner, nothing)
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, psync.ErrNoSlot)
		}
	}
}

func TestID(t *testing.T) {
	id := psync.MakeID(4094, math.MaxUint32)
	require.Equal(t, 4094, id.Slot())
	require.EqualValues(t, uint32(math.MaxUint32), id.Incarnation())
	require.Equal(t, id, psync.IDOf(uint64(id)|psync.Waiters|psync.Inconsistent))
	require.Equal(t, "slot 4094#4294967295", id.String())
	require.Equal(t, "nobody", psync.ID(0).String())
	require.Equal(t, psync.ID(0), psync.IDOf(psync.Waiters|psync.Inconsistent))
	require.Equal(t, -1, psync.ID(0).Slot())
}

// As many as there are slots come and go, and each of them always finds one.
func TestTable_AttachStorm(t *testing.T) {
	w := heapWorld(t)
	var all sync.WaitGroup
	for range worldSlots {
		all.Go(func() {
			for range 300 {
				locks, err := w.seg.Locks()
				if err != nil {
					t.Error(err)
					return
				}
				table := w.table(locks)
				o, err := table.Attach(nothing)
				if err != nil {
					t.Error(err)
				} else if err := table.Detach(o.ID()); err != nil {
					t.Error(err)
				}
				_ = locks.Close()
			}
		})
	}
	all.Wait()
}

// Somebody else enters the slot after it looked free and before it was claimed.
// Its incarnation must not rise under that one.
func TestTable_ClaimedLate(t *testing.T) {
	w := heapWorld(t)
	var fast *process
	slow := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, before: func(op string, at uint64) {
			if op == "lock" && at == psync.ClaimByte(0) && fast == nil {
				fast = w.attach(t)
			}
		}}
	}, nothing)
	require.Equal(t, 0, fast.ID().Slot())
	require.Equal(t, 1, slow.ID().Slot())
	alive, err := slow.Alive(fast.ID())
	require.NoError(t, err)
	require.True(t, alive)
}

// The only free slot moves behind the one who looks for it.
func TestTable_FreeSlotMoves(t *testing.T) {
	w := heapWorld(t)
	first := w.attach(t)
	for range worldSlots - 1 {
		w.attach(t)
	}
	left := false
	p := w.attachWith(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, after: func(op string, at uint64) {
			if op == "probe" && at == psync.LifeByte(worldSlots-1) && !left {
				left = true
				first.detach(t)
			}
		}}
	}, nothing)
	require.Equal(t, psync.MakeID(0, 2), p.ID())
}

// Who looks for a slot does not touch the claim bytes of the living: for others
// their slots would not be free when they leave.
func TestTable_LivingAreNotClaimed(t *testing.T) {
	w := heapWorld(t)
	for range worldSlots {
		w.attach(t)
	}
	_, err := w.tryAttach(t, func(b psync.Bytes) psync.Bytes {
		return &watched{Bytes: b, before: func(op string, at uint64) {
			if op == "lock" {
				t.Errorf("takes position %#x", at)
			}
		}}
	}, nothing)
	require.ErrorIs(t, err, psync.ErrNoSlot)
}
