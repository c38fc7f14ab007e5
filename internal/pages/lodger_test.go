package pages

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A page of three eighths comes with two rounds: one for its class, and one for the
// class of its lodger.
func TestLodger_Rounds(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, wide)
	rounds := a.rounds(t, p, wide)
	require.Len(t, rounds, 2)
	for i, want := range []struct{ class, blocks int }{{wide, 2}, {quarter, 1}} {
		require.Equal(t, want.class, rounds[i].Class())
		require.Equal(t, want.blocks, rounds[i].Blocks())
	}
	require.Zero(t, a.next(&rounds[1]), "the page is empty, and better cut anew for blocks of a quarter")
	one := a.next(&rounds[0])
	rounds = a.rounds(t, p, wide)
	off := a.next(&rounds[1])
	require.Equal(t, a.pageOff(p)+3072, off)
	require.NoError(t, a.Free(one))
	a.collect(t, p, wide)
	size, err := a.Size(off)
	require.NoError(t, err)
	require.EqualValues(t, 1024, size)
	require.Len(t, a.rounds(t, p, wide), 1)
	for _, wrong := range []uint64{off + 8, off + 512, off - 8, a.pageOff(p) + 1024, a.pageOff(p) + 2048} {
		require.ErrorIs(t, a.Free(wrong), ErrNotAllocated)
		require.False(t, a.InUse(wrong))
	}
	var blocks []Block
	c := a.Census(func(b Block) { blocks = append(blocks, b) })
	require.Equal(t, []Block{{off, 1024}}, blocks)
	require.Equal(t, ClassCensus{Size: 1536, Pages: 1, Free: 2}, c.Classes[wide])
	require.Equal(t, ClassCensus{Size: 1024, Used: 1}, c.Classes[quarter])
}

// Whoever wants a block of a quarter finds the page by the lodger, and who wants one
// of three eighths by the others, whatever the rest of the page is.
func TestLodger_Hints(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	b := a.other(1)
	p := a.page(t, wide)
	var offs []uint64
	for off := a.alloc(t, p, wide); off != 0; off = a.alloc(t, p, wide) {
		offs = append(offs, off)
	}
	require.Len(t, offs, 3)
	found := func(kind, class int) bool {
		got, is, ok := a.takeBy(kind, class)
		if ok {
			require.Equal(t, [2]uint64{p, wide}, [2]uint64{got, uint64(is)})
			a.Leave(p, wide, &a.at)
		}
		return ok
	}
	for _, kinds := range [][2]int{{HintClass + wide, HintClass + quarter}, {HintHeld, HintHeld}} {
		free := func(off uint64) {
			if kinds[0] == HintHeld {
				require.NoError(t, b.FreeRound(off, new(Round)))
			} else {
				require.NoError(t, b.Free(off))
			}
		}
		free(offs[2])
		require.False(t, found(kinds[0], wide), "only the lodger is free")
		require.True(t, found(kinds[1], quarter))
		a.collect(t, p, wide)
		rounds := a.rounds(t, p, wide)
		require.Equal(t, offs[2], a.next(&rounds[0]))
		a.drain(kinds[0])
		a.drain(kinds[1])
		free(offs[0])
		require.False(t, found(kinds[1], quarter), "only another one is")
		require.True(t, found(kinds[0], wide))
		a.collect(t, p, wide)
		rounds = a.rounds(t, p, wide)
		require.Equal(t, offs[0], a.next(&rounds[0]))
		a.drain(kinds[0])
		a.drain(kinds[1])
	}

	// It is empty when the lodger is free as well, and its hints are found again.
	require.NoError(t, a.Free(offs[0]))
	require.NoError(t, a.Free(offs[1]))
	require.Zero(t, a.drain(HintEmpty))
	require.NoError(t, a.Free(offs[2]))
	for range 2 {
		for _, kind := range []int{HintEmpty, HintClass + wide, HintClass + quarter} {
			require.Equal(t, 1, a.drain(kind), "kind %d", kind)
		}
		a.Rescan()
	}
}

// A lodger that an open record names stays out of reach, and does not keep the
// others.
func TestLodger_Named(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, wide)
	var offs []uint64
	for off := a.alloc(t, p, wide); off != 0; off = a.alloc(t, p, wide) {
		offs = append(offs, off)
	}
	var freed []Round
	for _, off := range offs {
		var r Round
		require.NoError(t, a.FreeRound(off, &r))
		freed = append(freed, r)
	}
	for i, off := range offs {
		for k := range freed {
			require.Equal(t, i == k, a.Names(&freed[k], []uint64{off}))
		}
	}
	free, used := a.collect(t, p, wide, offs[2])
	require.Equal(t, [2]int{2, 1}, [2]int{free, used})
	require.Len(t, a.rounds(t, p, wide), 1)
	free, used = a.collect(t, p, wide)
	require.Equal(t, [2]int{3, 0}, [2]int{free, used})
}

// Somebody inside a page of three eighths may leave a block of a quarter there.
func TestLodger_Inside(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, wide)
	a.alloc(t, p, wide)
	require.True(t, a.Enter(p, wide, a.me, &a.at))
	for class := range a.Classes() {
		_, ok := a.Inside(p, class)
		require.Equal(t, class == wide || class == quarter, ok, "class %d", class)
	}
	rounds := a.Rounds(p, wide, nil)
	a.Leave(p, wide, &a.at)
	a.next(&rounds[1])
	require.True(t, a.Enter(p, wide, a.me, &a.at))
	_, ok := a.Inside(p, quarter)
	require.False(t, ok, "the lodger is in use")
}

// beside runs toggle again and again, until f has returned.
func beside(t *testing.T, toggle, f func()) {
	t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !stop.Load() {
			toggle()
		}
	})
	f()
	stop.Store(true)
	all.Wait()
}

// A block of three eighths that is free all the time is seen as that, also while the
// lodger of its page comes and goes.
func TestLodger_FreeWhileLodgerMoves(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, wide)
	a.alloc(t, p, wide) // one of the two
	c := &a.types.classes[wide]
	e := a.entry(p)
	e.used.Or(c.lodger())
	wrong := 0
	beside(t, func() { e.freed.Or(c.lodger()); e.freed.And(^c.lodger()) }, func() {
		for range 3_000_000 {
			if own, _ := a.free(p, c); own != 1 {
				wrong++
			}
		}
	})
	require.Zero(t, wrong, "times the free block was not seen")
}

// A rescan finds the hint of a block that is free all the time.
func TestLodger_RescanWhileLodgerMoves(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, wide)
	a.alloc(t, p, wide)
	c := &a.types.classes[wide]
	e := a.entry(p)
	e.used.Or(c.lodger())
	lost := 0
	beside(t, func() { e.freed.Or(c.lodger()); e.freed.And(^c.lodger()) }, func() {
		for range 1_500_000 {
			a.leaf(HintClass+wide, 0, 0).And(0)
			a.Rescan()
			if a.leaf(HintClass+wide, 0, 0).Load() == 0 {
				lost++
			}
		}
	})
	require.Zero(t, lost, "rescans that left the free block without a hint")
}
