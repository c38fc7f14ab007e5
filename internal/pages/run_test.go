package pages

import (
	"math/rand/v2"
	"slices"
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
	require.EqualValues(t, 101, p, "fits exactly")
	p, ok = a.FindRun(100)
	require.True(t, ok)
	require.Zero(t, p)
	require.EqualValues(t, 99, a.FreeTail())
	_, ok = a.FindRun(1 << 40)
	require.False(t, ok)
}

// A placement says where to put a run of n pages, given the gaps in order.
type placement func(gaps [][2]uint64, n uint64) (p uint64, ok bool)

func firstFit(gaps [][2]uint64, n uint64) (uint64, bool) {
	for _, g := range gaps {
		if g[1]-g[0] >= n {
			return g[0], true
		}
	}
	return 0, false
}

// bestFit is what FindRun does, from the low end or from the high one.
func bestFit(high bool) placement {
	return func(gaps [][2]uint64, n uint64) (p uint64, ok bool) {
		var best [2]uint64
		for _, g := range gaps {
			size, least := g[1]-g[0], best[1]-best[0]
			if size >= n && (!ok || size < least || high && size == least) {
				best, ok = g, true
			}
		}
		if high {
			return best[1] - n, ok
		}
		return best[0], ok
	}
}

// gaps returns the stretches of free pages.
func (a *attach) gaps() (all [][2]uint64) {
	for p := range a.Pages() {
		if a.entry(p).word.Load() != kindFree {
			continue
		}
		if last := len(all) - 1; last >= 0 && all[last][1] == p {
			all[last][1]++
		} else {
			all = append(all, [2]uint64{p, p + 1})
		}
	}
	return all
}

// fullTable makes an arena of n pages that cannot grow, with none free.
func fullTable(t *testing.T, n uint64) *attach {
	a := newTable(t, 12, n, n+8)
	a.g.MaxPages = n
	for p := range n {
		a.entry(p).word.Store(kindTail)
		a.clearFreeHint(p)
	}
	return a
}

// open makes pages [from, to) free.
func (a *attach) open(from, to uint64) {
	for p := from; p < to; p++ {
		a.entry(p).word.Store(kindFree)
	}
	a.setFree(from, to)
}

// The smallest gap, the last of several, the last place in it; across words and
// groups, and with groups that have none.
func TestFindRun_BestFit(t *testing.T) {
	const n = 3*groupPages + 100
	a := fullTable(t, n)
	_, ok := a.FindRun(1)
	require.False(t, ok)
	gaps := [][2]uint64{{0, 3}, {10, 20}, {60, 70}, {100, 300}, {groupPages - 5, groupPages + 5}, {3*groupPages - 70, 3*groupPages + 1}, {n - 2, n}}
	for _, g := range gaps {
		a.open(g[0], g[1])
	}
	for want, p := range map[uint64]uint64{
		1: n - 1, 2: n - 2, 3: 0, 4: groupPages + 1, 10: groupPages - 5,
		11: 3*groupPages + 1 - 11, 71: 3*groupPages - 70, 72: 300 - 72, 200: 100,
	} {
		got, ok := a.FindRun(want)
		require.True(t, ok)
		require.Equal(t, p, got, "%d pages", want)
	}
	_, ok = a.FindRun(201)
	require.False(t, ok)
}

// As long as the arena can grow, a run at its end leaves what remains of the gap
// to the pages that will follow.
func TestFindRun_Tail(t *testing.T) {
	a := fullTable(t, 100)
	a.open(50, 100)
	p, ok := a.FindRun(10)
	require.True(t, ok)
	require.EqualValues(t, 90, p)
	a.g.MaxPages = 101
	p, ok = a.FindRun(10)
	require.True(t, ok)
	require.EqualValues(t, 50, p)
}

// The same as by the simple model, with hints of pages that are not free among
// them. Those are gone after that, and no other ones.
func TestFindRun_Random(t *testing.T) {
	const n = groupPages + 300
	rnd, model := rand.New(rand.NewPCG(1, 2)), bestFit(true)
	rounds := 300
	if testing.Short() || mem.Race {
		rounds = 30
	}
	for range rounds {
		a := fullTable(t, n)
		for range rnd.IntN(200) {
			from := rnd.Uint64N(n)
			a.open(from, min(n, from+1+rnd.Uint64N(40)))
		}
		for range 100 {
			size := 1 + rnd.Uint64N(60)
			want, fits := model(a.gaps(), size)
			p, ok := a.FindRun(size)
			require.Equal(t, fits, ok)
			if ok {
				require.Equal(t, want, p)
				require.True(t, a.MakeRun(p, size, a.me))
			}
		}
		free := 0
		for _, g := range a.gaps() {
			free += int(g[1] - g[0])
		}
		for range 20 { // wrong ones
			a.setHint(HintFree, rnd.Uint64N(n))
		}
		for size := uint64(60); size > 0; size-- {
			_, fits := model(a.gaps(), size)
			p, ok := a.FindRun(size)
			require.Equal(t, fits, ok)
			require.True(t, !ok || a.allFree(p, p+size))
		}
		for p, ok := a.FindRun(1); ok; p, ok = a.FindRun(1) {
			require.True(t, a.MakeRun(p, 1, a.me))
			free--
		}
		require.Zero(t, free)
	}
}

const (
	mixPages = 2048
	mixRun   = 32
)

// mix lets runs of 1 to 32 pages and single pages come and go in an arena that
// is full to the given degree. It returns how often a run of 32 pages was looked
// for with twice the memory free, and how often there was no place.
func mix(t *testing.T, where placement, full, runs int, seed uint64, steps int) (looks, failed int) {
	a := newTable(t, 12, mixPages, mixPages)
	a.g.MaxPages = mixPages
	if where == nil {
		where = func(_ [][2]uint64, n uint64) (uint64, bool) { return a.FindRun(n) }
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	var live [][2]uint64 // page, pages
	free := uint64(mixPages)
	for step := range steps {
		gaps := a.gaps()
		if step > steps/4 && free >= 2*mixRun {
			looks++
			if !slices.ContainsFunc(gaps, func(g [2]uint64) bool { return g[1]-g[0] >= mixRun }) {
				failed++
			}
		}
		switch n := 1 + rnd.Uint64N(mixRun); {
		case int(mixPages-free)*100 > full*mixPages:
			i := rnd.IntN(len(live))
			a.giveUp(t, live[i][0], live[i][1])
			free += live[i][1]
			live = slices.Delete(live, i, i+1)
		case rnd.IntN(100) >= runs:
			live = append(live, [2]uint64{a.page(t, of64), 1})
			free--
		default:
			if p, ok := where(gaps, n); ok {
				require.True(t, a.MakeRun(p, n, a.me))
				live = append(live, [2]uint64{p, n})
				free -= n
			}
		}
	}
	return looks, failed
}

// giveUp makes a run, or a page of blocks, free.
func (a *attach) giveUp(t *testing.T, p, n uint64) {
	if a.IsRun(p) {
		a.BreakRun(p, n, a.me)
		return
	}
	require.True(t, a.Take(p, of64, a.me, &a.at))
	a.Discard(p, a.me, &a.at)
}

// Why best fit from the high end: how often there is no place for a run of 32
// pages with memory for it, by placement.
func TestFindRun_Mix(t *testing.T) {
	steps := 3000
	if testing.Short() || mem.Race {
		steps = 500
	}
	var sum [4]int
	for _, full := range []int{80, 85, 90} {
		for _, runs := range []int{10, 50, 90} { // of a hundred
			var share [4]float64
			for i, where := range []placement{firstFit, bestFit(false), bestFit(true), nil} {
				looks, failed := 1, 0
				for seed := range uint64(2) {
					l, f := mix(t, where, full, runs, seed, steps)
					looks, failed = looks+l, failed+f
				}
				share[i] = 100 * float64(failed) / float64(looks)
				sum[i] += failed
			}
			t.Logf("%d%% full, %d%% runs: no place %5.1f%% first fit, %5.1f%% best fit low, %5.1f%% best fit high, %5.1f%% FindRun",
				full, runs, share[0], share[1], share[2], share[3])
		}
	}
	require.Equal(t, sum[2], sum[3], "FindRun is best fit from the high end")
	require.Less(t, sum[3], sum[0]*8/10)
}

func BenchmarkFindRun(b *testing.B) {
	const n = 1 << 18 // 1 GiB
	a := newTable(b, 12, n, n+1000)
	for b.Loop() {
		if _, ok := a.FindRun(1); !ok {
			b.Fatal("no place")
		}
	}
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
		"bits beyond":         func(a *attach) { a.entry(2).word.Store(kindClass + half); a.entry(2).used.Store(4) },
	}
	for name, do := range damage {
		a := newTable(t, 12, 4, 4)
		do(a)
		require.NotEmpty(t, a.Census(func(Block) {}).Problems, name)
	}
}
