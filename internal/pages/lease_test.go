package pages

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/psync"
)

// What the page word allows: a busy lease is its lessee's alone, an idle one
// can be stolen, and then its old lessee has lost it.
func TestLease_Hands(t *testing.T) {
	a := newTable(t, 12, 4, 4)
	b := a.other(1)
	p := a.lease(t, 4)
	require.EqualValues(t, p+1, a.leases[4].Load(), "the lease list names it")
	require.True(t, a.Busy(p, 4, a.me))
	require.False(t, a.Busy(p, 4, a.me), "busy already")
	require.False(t, b.Steal(p, 4, a.me, b.me, &b.leases[4]), "a busy lease is never stolen")
	a.Idle(p, 4, a.me)
	require.False(t, b.Busy(p, 4, b.me), "not the lessee")
	require.False(t, b.Steal(p, 5, a.me, b.me, &b.leases[5]), "of another class")
	require.False(t, b.Steal(99, 4, a.me, b.me, &b.leases[4]), "no such page")
	require.True(t, b.Steal(p, 4, a.me, b.me, &b.leases[4]))
	require.False(t, a.Busy(p, 4, a.me), "stolen")
	b.Idle(p, 4, b.me)
	a.Pass(p, a.me.Slot())
	require.True(t, b.Busy(p, 4, b.me), "the old lessee's list can't give away what it lost")
	require.False(t, b.Worth(p, 5))
	require.True(t, b.Worth(p, 4))
}

// A page goes from class to class, keeping nothing.
func TestLease_Recut(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 1, 1)
		p := a.lease(t, 0)
		for class := range a.Classes() {
			if class > 0 {
				require.True(t, a.Busy(p, class-1, a.me))
				free, used := a.Collect(p, class-1, noNames)
				require.EqualValues(t, a.Classes()[class-1].Blocks, free)
				require.Zero(t, used)
				a.Recut(p, class, a.me)
			}
			var offs []uint64
			for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
				offs = append(offs, off)
			}
			require.Len(t, offs, int(a.Classes()[class].Blocks))
			for _, off := range offs {
				require.NoError(t, a.Free(off))
			}
		}
	})
}

// A freed block that a record names stays out of reach; the others come back.
func TestCollect_Named(t *testing.T) {
	for _, n := range []uint64{16, 64} { // bits in the page, bits in the table
		a := newTable(t, 12, 1, 1)
		class, _ := a.ClassFor(n)
		p := a.lease(t, class)
		var offs []uint64
		for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
			offs = append(offs, off)
		}
		for _, off := range offs {
			require.NoError(t, a.Free(off))
		}
		named := []uint64{offs[0], offs[len(offs)-1], offs[len(offs)/2], 0, 8, a.g.DataOff, a.g.End(1), 1 << 43}
		require.True(t, a.Busy(p, class, a.me))
		free, used := a.Collect(p, class, func() []uint64 { return named })
		require.Equal(t, 3, used)
		require.Equal(t, len(offs)-3, free)
		for {
			off, ok := a.Pick(p, class)
			if !ok {
				break
			}
			require.NotContains(t, named, off)
			a.Mark(p, class, off)
		}
		free, used = a.Collect(p, class, noNames)
		require.Equal(t, 3, free, "named no longer")
		require.Equal(t, len(offs)-3, used)
	}
}

// A collector that died between its two stores leaves freed without used: not
// in use, not handed out, cleaned by the next one.
func TestCollect_HalfDone(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.lease(t, 4)
	off := a.alloc(t, p, 4)
	require.NoError(t, a.Free(off))
	a.entry(p).used.Store(0)
	require.False(t, a.InUse(off))
	require.ErrorIs(t, a.Free(off), ErrNotAllocated)
	got, _ := a.Pick(p, 4)
	require.NotEqual(t, off, got)
	require.True(t, a.Busy(p, 4, a.me))
	free, used := a.Collect(p, 4, noNames)
	require.EqualValues(t, 64, free)
	require.Zero(t, used)
	got, _ = a.Pick(p, 4)
	require.Equal(t, off, got)
}

func TestRelease_Empty(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.lease(t, 0)
	require.NoError(t, a.Free(a.alloc(t, p, 0)))
	require.True(t, a.Busy(p, 0, a.me))
	_, used := a.Collect(p, 0, noNames)
	a.Release(p, 0, a.me, &a.leases[0], used, true)
	require.Zero(t, a.leases[0].Load())
	require.Empty(t, a.Census(func(Block) {}).Problems)
	require.EqualValues(t, 1, a.Census(func(Block) {}).Free)
	require.Equal(t, 1, a.drain(HintFree))
}

// A page that was full is found again when a block of it is freed by anybody.
func TestFree_HintsPageWithoutLessee(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.lease(t, 4)
	off := a.alloc(t, p, 4)
	for a.alloc(t, p, 4) != 0 {
	}
	require.True(t, a.Busy(p, 4, a.me))
	_, used := a.Collect(p, 4, noNames)
	a.Release(p, 4, a.me, &a.leases[4], used, true)
	_, ok := a.TakeClass(4, a.me, &a.leases[4], &a.rotor)
	require.False(t, ok, "it is full")
	require.NoError(t, a.other(1).Free(off))
	got, ok := a.TakeClass(4, a.me, &a.leases[4], &a.rotor)
	require.True(t, ok)
	require.Equal(t, p, got)
}

// Of many who free the same block one succeeds.
func TestFree_OneWins(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.lease(t, 4)
	for range 200 {
		off := a.alloc(t, p, 4)
		var wins atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if a.Free(off) == nil {
					wins.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, wins.Load())
		require.True(t, a.Busy(p, 4, a.me))
		a.Collect(p, 4, noNames)
		a.Idle(p, 4, a.me)
	}
}

// Passing on the leases of one who leaves, while somebody steals one of them:
// the thief keeps what it stole, or does not get it.
func TestPass_Steal(t *testing.T) {
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	a := newTable(t, 12, 1, 1)
	b := a.other(1)
	for range rounds {
		p, ok := a.TakeFree(4, a.me, &a.leases[4], &a.rotor)
		require.True(t, ok)
		var stolen, kept bool
		var all sync.WaitGroup
		all.Go(func() { a.Pass(p, a.me.Slot()) })
		all.Go(func() {
			if stolen = b.Steal(p, 4, a.me, b.me, &b.leases[4]); stolen {
				kept = psync.IDOf(a.entry(p).word.Load()) == b.me
			}
		})
		all.Wait()
		require.Equal(t, stolen, kept)
		if stolen {
			require.Equal(t, b.me, psync.IDOf(a.entry(p).word.Load()), "the thief's page was given away")
			b.Release(p, 4, b.me, &b.leases[4], 0, true)
		} else {
			got, _, ok := b.TakeEmpty(b.me, &b.leases[4], &b.rotor)
			require.True(t, ok)
			b.Release(got, 4, b.me, &b.leases[4], 0, true)
		}
	}
}
