package slab_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// An arena full of blocks of three eighths of a page has room for one block of a
// quarter in each page, whoever asks, and none for any other class.
func TestLodger_Room(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		one, other := two(t, small(page))
		pages, wide, quarter := int(one.Floor().Pages.Pages()), uint64(page)*3/8, uint64(page)/4
		for range 2 {
			refs := reserveAll(t, one, wide)
			require.Len(t, refs, 2*pages)
			for _, c := range one.Floor().Pages.Classes() {
				if c.Size == quarter {
					continue
				}
				_, err := grab(other, c.Size)
				require.ErrorIs(t, err, slab.ErrFull, "%d bytes", c.Size)
			}
			lodgers := reserveAll(t, other, quarter)
			require.Len(t, lodgers, pages)
			_, err := grab(one, quarter)
			require.ErrorIs(t, err, slab.ErrFull)

			// What is free of the one is of no use to the other.
			freeAll(t, one, refs)
			_, err = grab(other, uint64(page))
			require.ErrorIs(t, err, slab.ErrFull, "there is a lodger in each page")
			refs = reserveAll(t, other, wide-7)
			require.Len(t, refs, 2*pages)
			freeAll(t, one, lodgers)
			freeAll(t, one, refs)

			// And then all of it serves everybody.
			refs = reserveAll(t, other, quarter)
			require.Len(t, refs, 4*pages)
			freeAll(t, one, refs)
			run := mustGrab(t, one, uint64(pages*page))
			require.NoError(t, other.Free(run))
		}
		quiet(t, one)
	})
}

// Lodgers that nobody asks for do not pile up in a goroutine's hands: those beyond
// what it may keep are everybody's, and taken before a free page is cut.
func TestLodger_Offered(t *testing.T) {
	one, other := two(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	const pages, kept = 200, 14 * 8 // by the lanes of a process: each a 128th of the arena
	var refs []uint64
	for range 2 * pages {
		refs = append(refs, mustGrab(t, one, 1500))
	}
	free := other.Stats().FreePages
	for range pages - kept {
		refs = append(refs, mustGrab(t, other, 1000))
	}
	require.Equal(t, free, other.Stats().FreePages)
	freeAll(t, one, refs)
}

// Blocks of a quarter are planned into the pages of three eighths first.
func TestPlan_Lodgers(t *testing.T) {
	for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
		wide, quarter := uint64(page)*3/8, uint64(page)/4
		for _, n := range []uint64{0, 1, 9, 10, 11, 14, 15, 40} {
			for _, more := range []uint64{quarter, wide, 100, uint64(page) / 2, uint64(page)} {
				t.Run(fmt.Sprintf("%dKiB/%d/%d", page>>10, n, more), func(t *testing.T) {
					requests := []slab.Request{{Size: wide, Count: 19}, {Size: quarter, Count: n}}
					least(t, arena.Options{PageSize: page, Processes: 4, Objects: 8}, requests, more)
				})
			}
		}
	}
	fit, err := slab.Plan(&arena.Options{Size: 1 << 20}, slab.Request{Size: 1500, Count: 19}, slab.Request{Size: 1024, Count: 14})
	require.NoError(t, err)
	require.EqualValues(t, 10+1, fit.Needed)
	require.Equal(t, 4*(fit.Pages-11), fit.Room(1024))
	require.Equal(t, 2*(fit.Pages-11)+1, fit.Room(1536))
}

// Writing and reading blocks of either kind stays within them.
func TestLodger_Span(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	one, two, lodger := mustGrab(t, s, 1400), mustGrab(t, s, 1400), mustGrab(t, s, 900)
	require.EqualValues(t, 3072, lodger-min(one, two))
	require.NoError(t, s.Write(lodger, 0, make([]byte, 1024)))
	require.Error(t, s.Write(lodger, 0, make([]byte, 1025)))
	require.NoError(t, s.Write(one, 0, make([]byte, 1536)))
	freeAll(t, s, []uint64{one, two, lodger})
}

// Nothing is in use: all of the arena is there for blocks of a quarter, though the
// process has the lodgers of empty pages at hand.
func TestLodger_AtHandInEmptyPages(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		s := slab.Of(shmtest.Heap(t, &arena.Options{Size: 100<<10 + int64(page)*4, PageSize: page, Processes: 4, Objects: 8}))
		pages, wide, quarter := int(s.Floor().Pages.Pages()), uint64(page)*3/8, uint64(page)/4
		freeAll(t, s, append(reserveAll(t, s, wide), reserveAll(t, s, quarter)...))
		refs := reserveAll(t, s, quarter)
		require.Len(t, refs, 4*pages)
		freeAll(t, s, refs)
	})
}

// The dump accounts for all of the pages: also for lodgers of a class that nobody has
// asked for.
func TestDump_FreeLodgers(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	refs := reserveAll(t, s, 1500)
	var b strings.Builder
	require.NoError(t, s.Dump(&b))
	freeAll(t, s, refs)
	require.Regexp(t, `(?m)^ *1024 `, b.String())
}

// reference counts the pages by hand: another way than Plan's.
func reference(page uint64, rs []slab.Request) (need uint64) {
	shift := uint(12)
	for 1<<shift != page {
		shift++
	}
	cs := pages.Classes(shift)
	counts := make(map[uint64]uint64) // by size of block
	for _, r := range rs {
		if r.Size > page/2 {
			need += (r.Size + page - 1) / page * r.Count
			continue
		}
		for _, c := range cs {
			if r.Size <= c.Size {
				counts[c.Size] += r.Count
				break
			}
		}
	}
	w := (counts[page/8*3] + 1) / 2
	need += w
	counts[page/4] -= min(counts[page/4], w)
	for _, c := range cs {
		if c.Size != page/8*3 {
			need += (counts[c.Size] + c.Blocks - 1) / c.Blocks
		}
	}
	return need
}

// Any list of requests, the largest first: Plan's size is what is needed, and not a
// page more, and Room is exact afterwards.
func TestPlan_Random(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 11))
	lists := 12
	if mem.Race {
		lists = 2
	}
	for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
		p := uint64(page)
		for range lists {
			var rs []slab.Request
			for _, size := range []uint64{p * 3 / 8, p / 4} { // nearly always
				if rnd.IntN(5) > 0 {
					rs = append(rs, slab.Request{Size: size - rnd.Uint64N(8), Count: rnd.Uint64N(30)})
				}
			}
			for range rnd.IntN(6) {
				n := 1 + rnd.Uint64N(p/2)
				if rnd.IntN(3) == 0 {
					n = p/5 + rnd.Uint64N(p/3)
				}
				if rnd.IntN(4) == 0 {
					n = 1 + rnd.Uint64N(3*p)
				}
				rs = append(rs, slab.Request{Size: n, Count: rnd.Uint64N(20)})
			}
			slices.SortFunc(rs, func(a, b slab.Request) int { return int(b.Size) - int(a.Size) })
			o := arena.Options{PageSize: page, Processes: 2 + rnd.IntN(8), Objects: 8}
			fit, err := slab.Plan(&o, rs...)
			require.NoError(t, err)
			require.Equal(t, reference(p, rs), fit.Needed, "%v", rs)
			o.Size = fit.Size
			if rnd.IntN(2) == 0 {
				o.Size += int64(rnd.IntN(5)) * int64(page)
			}
			name := fmt.Sprintf("%d %v", page, rs)
			fit, err = slab.Plan(&o, rs...)
			require.NoError(t, err)
			require.True(t, fit.OK)
			for _, more := range []uint64{p * 3 / 8, p / 4, p / 2, 1 + rnd.Uint64N(p/2), p, 2*p + 1, p/3 - 8} {
				s := slab.Of(shmtest.Heap(t, &o))
				refs := meet(t, s, rs)
				room := reserveAll(t, s, more)
				require.EqualValues(t, fit.Room(more), len(room), "%s: %d bytes more", name, more)
				freeAll(t, s, append(refs, room...))
			}
		}
	}
}

// Several attaches and goroutines take and free blocks of both classes, and runs of a
// page, in an arena that is nearly always full. Whenever all are at rest, what is free
// can be had, by whoever asks; and when nothing is in use, all of it.
func TestLodger_Stress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rounds := 20
	if mem.Race {
		rounds = 5
	}
	for _, page := range []int{4096, 16384} {
		t.Run(fmt.Sprintf("%dKiB", page>>10), func(t *testing.T) {
			c := newCrowd(t, page, seed)
			for round := range rounds {
				c.work(round)
				c.account()
				for _, n := range []uint64{c.wide, c.quarter} {
					c.takeAll(round, n)
				}
				if round%4 == 3 {
					c.giveUp()
					c.takeAll(round, []uint64{c.wide, c.quarter, c.quarter}[round/4%3])
					run := mustGrab(t, c.s[0], c.table.Pages()*uint64(page))
					require.NoError(t, c.s[1].Free(run))
				}
			}
			c.giveUp()
		})
	}
}

// crowd are goroutines with three attaches, and the blocks of each.
type crowd struct {
	t             *testing.T
	s             []*slab.Slab
	table         *pages.Table
	mine          [8]map[uint64]bool
	page          uint64
	wide, quarter uint64
	seed          uint64
}

func newCrowd(t *testing.T, page int, seed uint64) *crowd {
	o := &arena.Options{Size: int64(page)*9 + 40<<10, PageSize: page, Processes: 6, Objects: 8}
	seg := shmtest.Segment(t, o)
	c := &crowd{t: t, page: uint64(page), wide: uint64(page) * 3 / 8, quarter: uint64(page) / 4, seed: seed}
	for range 3 {
		c.s = append(c.s, slab.Of(shmtest.OnSegment(t, seg, o)))
	}
	c.table = c.s[0].Floor().Pages
	for g := range c.mine {
		c.mine[g] = make(map[uint64]bool)
	}
	return c
}

func (c *crowd) work(round int) {
	var all sync.WaitGroup
	for g := range c.mine {
		rnd := rand.New(rand.NewPCG(c.seed+uint64(round), uint64(g)))
		all.Go(func() {
			for range 1000 {
				c.step(rnd, c.mine[g], round%3 != 0)
			}
		})
	}
	all.Wait()
}

// step is one operation of a goroutine.
func (c *crowd) step(rnd *rand.Rand, mine map[uint64]bool, runs bool) {
	s := c.s[rnd.IntN(3)]
	n := []uint64{c.wide, c.quarter}[rnd.IntN(2)]
	switch x := rnd.IntN(100); {
	case x == 0:
		c.free(s, mine, len(mine))
	case x == 1: // freed while it is named
		op, err := s.Begin()
		if err != nil {
			c.t.Error(err)
			return
		}
		if ref, err := op.Reserve(n); err == nil && rnd.IntN(2) == 0 {
			_ = op.Free(ref)
		}
		op.End()
	case x < 42:
		c.free(s, mine, 1)
	default:
		if x < 48 && runs {
			n = c.page
		}
		if ref, err := grab(s, n); err == nil {
			mine[ref] = true
		}
	}
}

func (c *crowd) free(s *slab.Slab, mine map[uint64]bool, n int) {
	for ref := range mine {
		if n--; n < 0 {
			break
		}
		if err := s.Free(ref); err != nil {
			c.t.Error(err)
		}
		delete(mine, ref)
	}
}

func (c *crowd) giveUp() {
	for g := range c.mine {
		c.free(c.s[g%3], c.mine[g], len(c.mine[g]))
	}
}

// account finds in use what the goroutines have.
func (c *crowd) account() {
	want, found := make(map[uint64]bool), make(map[uint64]bool)
	for g := range c.mine {
		for ref := range c.mine[g] {
			require.False(c.t, want[ref], "handed out twice")
			want[ref] = true
		}
	}
	census := c.table.Census(func(b pages.Block) { found[b.Off] = true })
	require.Empty(c.t, census.Problems)
	require.Equal(c.t, want, found)
	quiet(c.t, c.s[0])
}

// takeAll gets as many blocks as are free.
func (c *crowd) takeAll(round int, n uint64) {
	class, _ := c.table.ClassFor(n)
	free := room(c.s[0], class)
	refs := reserveAll(c.t, c.s[round%3], n)
	require.Len(c.t, refs, free, "blocks of %d", n)
	freeAll(c.t, c.s[(round+1)%3], refs)
}
