package slab_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// How many sessions of 600 bytes with a body of 20 KiB does an arena hold, and
// how large is one for 1000 of them?
func ExamplePlan() {
	for _, n := range []uint64{100, 1000} {
		fit, err := slab.Plan(&arena.Options{Size: 4 << 20}, slab.Request{Size: 20 << 10, Count: n}, slab.Request{Size: 600, Count: n})
		fmt.Println(n, fit.OK, fit.Needed, "of", fit.Pages, "pages; room for", fit.Room(600), "more; least size", fit.Size, err)
	}
	// Output:
	// 100 true 517 of 987 pages; room for 2822 more; least size 2252800 <nil>
	// 1000 false 5167 of 987 pages; room for 0 more; least size 21475328 <nil>
}

// planned are arenas with all their memory from the start, and one that grows.
func planned(page int) []*arena.Options {
	return []*arena.Options{
		{Size: 100 << 10, PageSize: page, Processes: 4, Objects: 8},
		{Size: 4 << 20, PageSize: page},
		{Size: 100 << 10, MaxSize: 4 << 20, PageSize: page},
	}
}

// Exactly as many blocks as planned are had of a new arena, of every kind of size.
func TestPlan_Room(t *testing.T) {
	for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
		p := uint64(page)
		for _, o := range planned(page) {
			t.Run(fmt.Sprintf("%dKiB/%d-%d", page>>10, o.Size, o.MaxSize), func(t *testing.T) {
				for _, n := range []uint64{0, 16, 24, 100, 512, 2048, p/2 - 9, p / 2, p/2 + 1, p, 3*p - 1, 10 * p} {
					if mem.Race && n < p/2-9 && max(o.Size, o.MaxSize) > 1<<20 {
						continue // one goroutine, and many blocks
					}
					exactly(t, o, n)
				}
			})
		}
	}
}

func exactly(t *testing.T, o *arena.Options, n uint64) {
	t.Helper()
	fit, err := slab.Plan(o)
	require.NoError(t, err)
	require.True(t, fit.OK)
	s := slab.Of(shmtest.Heap(t, o))
	require.Equal(t, s.Floor().Pages.Geometry().MaxPages, fit.Pages)
	refs := reserveAll(t, s, n)
	require.EqualValues(t, fit.Room(n), len(refs), "blocks of %d bytes", n)
	freeAll(t, s, refs)
}

// The number is the same when several processes share the arena: what lies at
// hand with one of them is not lost to the others.
func TestPlan_Shared(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		o := &arena.Options{Size: 300 << 10, PageSize: page, Processes: 4, Objects: 8}
		fit, err := slab.Plan(o)
		require.NoError(t, err)
		for _, n := range []uint64{16, 100, 1000, uint64(page) / 2, uint64(page)} {
			one, other := two(t, o)
			var refs []uint64
			for i := range fit.Room(n) {
				refs = append(refs, mustGrab(t, []*slab.Slab{one, other, other}[i%3], n))
			}
			for _, s := range []*slab.Slab{one, other} {
				_, err = grab(s, n)
				require.ErrorIs(t, err, slab.ErrFull)
			}
			freeAll(t, one, refs)
		}
	})
}

// A list of requests is met by an arena of the least size, with room for exactly
// so many more, and not by one that is smaller.
func TestPlan_Requests(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	lists := 12
	if mem.Race {
		lists = 2
	}
	for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
		for range lists {
			requests := someRequests(rnd, uint64(page))
			for _, o := range []arena.Options{{PageSize: page}, {PageSize: page, Processes: 2, Objects: 4}, {PageSize: page, Processes: 200}} {
				t.Run(fmt.Sprintf("%d KiB, %d processes, %v", page>>10, o.Processes, requests), func(t *testing.T) {
					least(t, o, requests, uint64(16+rnd.IntN(2*page)))
				})
			}
		}
	}
}

// someRequests are blocks of a few sizes, the largest first.
func someRequests(rnd *rand.Rand, page uint64) (rs []slab.Request) {
	for _, most := range []uint64{5 * page, 2 * page, page / 2, 600, 100} {
		if rnd.IntN(3) > 0 {
			rs = append(rs, slab.Request{Size: most/2 + rnd.Uint64N(most/2), Count: rnd.Uint64N(30 * page / most * 5)})
		}
	}
	return rs
}

func least(t *testing.T, o arena.Options, requests []slab.Request, more uint64) {
	t.Helper()
	fit, err := slab.Plan(&o, requests...)
	require.NoError(t, err)
	o.Size, o.MaxSize = fit.Size, 0
	fit, err = slab.Plan(&o, requests...)
	require.NoError(t, err)
	require.True(t, fit.OK)
	require.Equal(t, o.Size, fit.Size, "it does not depend on the size asked about")
	s := slab.Of(shmtest.Heap(t, &o))
	refs := meet(t, s, requests)
	room := reserveAll(t, s, more)
	require.EqualValues(t, fit.Room(more), len(room), "%d bytes", more)
	freeAll(t, s, append(refs, room...))

	for o.Size > fit.Size-64<<10 && o.Size > 4096 { // none of the smaller ones
		o.Size -= 4096
		if less, err := slab.Plan(&o, requests...); err == nil {
			require.False(t, less.OK)
			require.Zero(t, less.Room(16))
			require.Equal(t, fit.Size, less.Size)
		}
	}
}

// meet allocates what is requested.
func meet(t *testing.T, s *slab.Slab, requests []slab.Request) (refs []uint64) {
	t.Helper()
	for _, r := range requests {
		for i := range r.Count {
			ref, err := grab(s, r.Size)
			if err != nil {
				require.NoError(t, err, "block %d of %v", i, r)
			}
			refs = append(refs, ref)
		}
	}
	return refs
}

// Blocks of sizes that share a class share its pages.
func TestPlan_SharedPages(t *testing.T) {
	o := &arena.Options{Size: 1 << 20}
	one, err := slab.Plan(o, slab.Request{Size: 100, Count: 20})
	require.NoError(t, err)
	require.EqualValues(t, 1, one.Needed)
	two, err := slab.Plan(o, slab.Request{Size: 100, Count: 20}, slab.Request{Size: 110, Count: 16})
	require.NoError(t, err)
	require.EqualValues(t, 1, two.Needed)
	require.Equal(t, (two.Pages-1)*36, two.Room(97))
	require.Equal(t, one.Room(97), two.Room(97)+16)
	two, err = slab.Plan(o, slab.Request{Size: 100, Count: 20}, slab.Request{Size: 110, Count: 17})
	require.NoError(t, err)
	require.EqualValues(t, 2, two.Needed)
}

// The least size is right where the header of the arena depends on it, and where
// it is large.
func TestPlan_LeastSize(t *testing.T) {
	for _, page := range []int{4 << 10, 64 << 10} {
		for _, n := range []uint64{1, 10, 20, 60, 100, 150, 200, 500, 5000, 1 << 20, 1 << 27} {
			o := &arena.Options{PageSize: page}
			fit, err := slab.Plan(o, slab.Request{Size: uint64(page), Count: n})
			require.NoError(t, err)
			o.Size = fit.Size
			g, err := arena.Layout(o)
			require.NoError(t, err)
			require.GreaterOrEqual(t, g.MaxPages, n)
			for range 100 {
				if o.Size -= 4096; o.Size <= 0 {
					break
				}
				if g, err := arena.Layout(o); err == nil {
					require.Less(t, g.MaxPages, n)
				}
			}
		}
	}
}

// Requests beyond everything are refused as such, with no number that has begun
// anew.
func TestPlan_Huge(t *testing.T) {
	for _, rs := range [][]slab.Request{
		{{Size: 16, Count: math.MaxUint64}},
		{{Size: 16, Count: math.MaxUint64}, {Size: 16, Count: math.MaxUint64}},
		{{Size: math.MaxUint64, Count: 1}},
		{{Size: math.MaxUint64, Count: math.MaxUint64}, {Size: 4096, Count: math.MaxUint64}},
		{{Size: 1 << 33, Count: 1 << 32}},
		{{Size: 4096, Count: 1 << 32}},
	} {
		fit, err := slab.Plan(&arena.Options{Size: 1 << 20}, rs...)
		require.ErrorIs(t, err, slab.ErrFull, "%v", rs)
		require.False(t, fit.OK)
		require.GreaterOrEqual(t, fit.Needed, uint64(1<<32))
		require.Zero(t, fit.Room(16))
	}
	fit, err := slab.Plan(&arena.Options{Size: 1 << 20})
	require.NoError(t, err)
	require.Zero(t, fit.Room(math.MaxUint64))
}

func TestPlan_Options(t *testing.T) {
	for _, o := range []*arena.Options{{PageSize: 5000}, {Size: -1}, {Size: 4096}, {Processes: 1 << 20}, {Objects: 1000}} {
		_, err := slab.Plan(o)
		require.Error(t, err, "%+v", o)
	}
	fit, err := slab.Plan(nil)
	require.NoError(t, err)
	require.Positive(t, fit.Room(16))
	require.Positive(t, fit.Size)
}
