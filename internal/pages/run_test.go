package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
)

func (a *attach) census(t *testing.T) (Census, []Block) {
	t.Helper()
	var blocks []Block
	c := a.Census(func(b Block) { blocks = append(blocks, b) })
	require.Empty(t, c.Problems)
	return c, blocks
}

func TestRun_MakeBreak(t *testing.T) {
	for shift := uint(MinShift); shift <= MaxShift; shift++ {
		a := newTable(t, shift, 70, 70)
		for n := uint64(1); n <= 70; n++ {
			p, ok := a.FindRun(n)
			require.True(t, ok)
			require.True(t, a.MakeRun(p, n, a.me))
			off := a.RunAt(p)
			require.Equal(t, p, a.PageAt(off))
			size, err := a.Size(off)
			require.NoError(t, err)
			require.Equal(t, n<<shift, size)
			head, length, ok := a.Run(off)
			require.True(t, ok)
			require.Equal(t, [2]uint64{p, n}, [2]uint64{head, length})
			c, blocks := a.census(t)
			require.Equal(t, []Block{{Off: off, Size: n << shift}}, blocks)
			require.Equal(t, 70-n, c.Free)
			require.NoError(t, a.Free(off))
			require.ErrorIs(t, a.Free(off), ErrNotAllocated)
			got, length, ok := a.TakeFreed(&a.rotor)
			require.True(t, ok)
			require.Equal(t, [2]uint64{p, n}, [2]uint64{got, length})
			a.BreakRun(p, n, a.me)
			c, blocks = a.census(t)
			require.Empty(t, blocks)
			require.EqualValues(t, 70, c.Free)
			require.EqualValues(t, 70, c.LargestFree)
		}
	}
}

// Runs that are neighbours, freed in any order, become one free run again.
func TestRun_Merge(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
		a := newTable(t, 12, 20, 20)
		var offs [4]uint64
		for i := range offs {
			p, ok := a.FindRun(5)
			require.True(t, ok)
			require.True(t, a.MakeRun(p, 5, a.me))
			offs[i] = a.RunAt(p)
		}
		_, ok := a.FindRun(1)
		require.False(t, ok)
		for _, i := range order {
			require.NoError(t, a.Free(offs[i]))
			p, n, ok := a.TakeFreed(&a.rotor)
			require.True(t, ok)
			a.BreakRun(p, n, a.me)
		}
		p, ok := a.FindRun(20)
		require.True(t, ok)
		require.Zero(t, p)
	}
}

// A page of the place that is taken meanwhile: nothing is left of the attempt.
func TestRun_PartialFailure(t *testing.T) {
	for bad := range uint64(6) {
		a := newTable(t, 12, 8, 8)
		b := a.other(1)
		a.entry(bad).word.Store(uint64(b.me) | kindClass)
		before := a.entry(bad).word.Load()
		require.False(t, a.MakeRun(0, 6, a.me))
		require.Equal(t, before, a.entry(bad).word.Load())
		for p := range uint64(8) {
			if p != bad {
				require.Zero(t, a.entry(p).word.Load(), "page %d", p)
			}
		}
		require.Equal(t, uint64(7-bad) >= 6, func() bool { _, ok := a.FindRun(6); return ok }())
		a.entry(bad).word.Store(kindFree)
		a.setHint(HintFree, bad)
		require.EqualValues(t, 8, a.drain(HintFree))
	}
}

// BreakClaimed takes apart what the slot has begun, and nothing else.
func TestBreakClaimed_OnlyOwn(t *testing.T) {
	a := newTable(t, 12, 12, 12)
	b := a.other(1)
	require.True(t, a.MakeRun(0, 3, a.me))
	require.True(t, a.MakeRun(6, 3, a.me))
	mine := uint64(a.me) | busy | kindTail
	for p := uint64(3); p < 6; p++ {
		a.entry(p).word.Store(mine)
	}
	before := a.words(t)
	a.BreakClaimed(3, 3, b.me.Slot())
	a.BreakClaimed(0, 3, a.me.Slot())
	a.BreakClaimed(1, 2, a.me.Slot())
	a.BreakClaimed(99, 2, a.me.Slot())
	a.BreakClaimed(1<<50, 1<<20, a.me.Slot())
	require.Equal(t, before, a.words(t))
	a.BreakClaimed(3, 1<<20, a.me.Slot()) // a damaged length: stops at the run that follows
	c, blocks := a.census(t)
	require.Len(t, blocks, 2)
	require.EqualValues(t, 6, c.Free)
}

// A length that can't be is corruption, not a size.
func TestSize_DamagedRun(t *testing.T) {
	a := newTable(t, 12, 4, 4)
	require.True(t, a.MakeRun(1, 2, a.me))
	for _, n := range []uint64{0, 4, 1 << 40, 1 << 63, 1<<64 - 1} {
		a.entry(1).used.Store(n<<1 | 1)
		_, err := a.Size(a.RunAt(1))
		require.ErrorIs(t, err, mem.ErrCorrupt, "%d pages", n)
	}
}

// FindRun believes the page, not the hint.
func TestFindRun_Hints(t *testing.T) {
	a := newTable(t, 12, 200, 200)
	a.entry(100).word.Store(kindTail) // hinted as free, but not free
	p, ok := a.FindRun(101)
	require.False(t, ok, "found %d", p)
	p, ok = a.FindRun(99)
	require.True(t, ok)
	require.Zero(t, p)
	p, ok = a.FindRun(100)
	require.True(t, ok)
	require.Zero(t, p)
	require.EqualValues(t, 99, a.FreeTail())
	_, ok = a.FindRun(1 << 40)
	require.False(t, ok)
}

// A census of damaged pages reports and goes on.
func TestCensus_Damage(t *testing.T) {
	damage := map[string]func(a *attach){
		"free with bits":      func(a *attach) { a.entry(2).used.Store(1) },
		"unknown kind":        func(a *attach) { a.entry(2).word.Store(200) },
		"tail without a head": func(a *attach) { a.entry(2).word.Store(kindTail) },
		"run of none":         func(a *attach) { a.entry(2).word.Store(kindRun) },
		"run beyond the end":  func(a *attach) { a.entry(2).word.Store(kindRun); a.entry(2).used.Store(1<<60 | 1) },
		"run without tails":   func(a *attach) { a.entry(2).word.Store(kindRun); a.entry(2).used.Store(2<<1 | 1) },
		"bits beyond":         func(a *attach) { a.entry(2).word.Store(kindClass + 16); a.entry(2).used.Store(4) },
	}
	for name, do := range damage {
		a := newTable(t, 12, 4, 4)
		do(a)
		require.NotEmpty(t, a.Census(func(Block) {}).Problems, name)
	}
}
