package slab_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// modelOps is how many operations a model test runs.
func modelOps(full int) int {
	switch {
	case mem.Race || testing.Short():
		return full / 50
	default:
		return full
	}
}

// live is what the model knows of the blocks in the cells.
type live struct{ ref, n, seed uint64 }

// randomSize is small mostly, now and then large, rarely a run.
func randomSize(rnd *rand.Rand) uint64 {
	switch x := rnd.IntN(1000); {
	case x < 900:
		return 16 + rnd.Uint64N(400)
	case x < 998:
		return 16 + rnd.Uint64N(4000)
	default:
		return 4096 + rnd.Uint64N(64<<10)
	}
}

// Random operations on cells against a map of what should be in them: contents
// whole, sizes right, blocks apart, full an error that changes nothing.
func TestModel(t *testing.T) {
	for _, page := range []int{4096, 16384, 65536} {
		t.Run(fmt.Sprintf("%dKiB", page>>10), func(t *testing.T) {
			a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, MaxSize: 6 << 20, PageSize: page, Processes: 4, Objects: 8})
			runModel(t, a, createCells(t, a, 20000), modelOps(500_000), rand.New(rand.NewPCG(uint64(page), 7)))
		})
	}
}

func runModel(t *testing.T, a *arena.Arena, c *cells, ops int, rnd *rand.Rand) {
	model := make(map[int]live)
	full := 0
	for op := range ops {
		// First the arena fills, then it empties, and so on.
		i, grow := rnd.IntN(c.n), op/(c.n*3)%2 == 0
		if was, ok := model[i]; ok {
			n, seed, err := c.get(i)
			require.NoError(t, err)
			require.Equal(t, was, live{c.ref(i), n, seed}, "cell %d, operation %d", i, op)
		} else {
			require.Zero(t, c.ref(i))
		}
		if rnd.IntN(10) < 3 || !grow && rnd.IntN(10) < 6 {
			require.NoError(t, c.del(i))
			delete(model, i)
			continue
		}
		n, seed := randomSize(rnd), rnd.Uint64()
		err := c.put(i, n, seed)
		if err != nil {
			require.ErrorIs(t, err, slab.ErrFull)
			full++
			continue // what was there stays
		}
		model[i] = live{c.ref(i), n, seed}
		size, err := c.s.Size(c.ref(i))
		require.NoError(t, err)
		require.GreaterOrEqual(t, size, n)
		if op%(ops/10) == 0 {
			apart(t, c)
			shmtest.Clean(t, a)
		}
	}
	apart(t, c)
	c.check(t)
	t.Logf("%d operations, full %d times, %d cells in use", ops, full, len(model))
	require.True(t, full > 0 || ops < 10*c.n, "it should have been full now and then")
	for i := range c.n {
		require.NoError(t, c.del(i))
	}
	r := shmtest.Clean(t, a)
	require.Equal(t, 1, r.Blocks, "the root of the cells")
	quiet(t, c.s)
}

// apart checks that no two blocks share a byte.
func apart(t *testing.T, c *cells) {
	t.Helper()
	var spans [][2]uint64
	for i := range c.n {
		if ref := c.ref(i); ref != 0 {
			size, err := c.s.Size(ref)
			require.NoError(t, err)
			spans = append(spans, [2]uint64{ref, ref + size})
		}
	}
	slices.SortFunc(spans, func(a, b [2]uint64) int { return int(int64(a[0] - b[0])) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			t.Fatalf("blocks %#x and %#x overlap", spans[i-1], spans[i])
		}
	}
}

// Runs of random lengths, freed in random order: the pages merge again.
func TestRuns_Random(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 4 << 20, Processes: 4, Objects: 8})
	s, rnd := slab.Of(a), rand.New(rand.NewPCG(3, 4))
	pages := s.Floor().Pages.Pages()
	var refs []uint64
	for range modelOps(20000) {
		if n := len(refs); n > 0 && rnd.IntN(5) < 2 {
			i := rnd.IntN(n)
			require.NoError(t, s.Free(refs[i]))
			require.ErrorIs(t, s.Free(refs[i]), slab.ErrNotAllocated)
			refs[i] = refs[n-1]
			refs = refs[:n-1]
			continue
		}
		n := 2049 + rnd.Uint64N(100<<10)
		ref, err := grab(s, n)
		if err != nil {
			require.ErrorIs(t, err, slab.ErrFull)
			freeAll(t, s, refs)
			refs = refs[:0]
			whole, err := grab(s, pages<<12)
			require.NoError(t, err, "everything is free")
			require.NoError(t, s.Free(whole))
			continue
		}
		size, err := s.Size(ref)
		require.NoError(t, err)
		require.Equal(t, (n+4095)&^4095, size)
		refs = append(refs, ref)
	}
	freeAll(t, s, refs)
}

// A span is what a block in use covers.
type span struct{ start, end uint64 }

// spans is the whole model: what is in use, in order and apart.
type spans []span

func (m spans) search(off uint64) (int, bool) {
	return slices.BinarySearchFunc(m, off, func(s span, off uint64) int { return cmp.Compare(s.start, off) })
}

// world is some attaches of one arena, and the model of what is in use there.
type world struct {
	t      testing.TB
	a      *arena.Arena
	s      []*slab.Slab
	used   spans
	freed  []uint64 // some that were freed lately
	held   []held   // operations that have not ended: what they name stays as it is
	full   int
	refuse int
}

// held is an operation with the block it has reserved.
type held struct {
	op  *slab.Op
	ref uint64
}

func newWorld(t testing.TB, o *arena.Options, attaches int) *world {
	w := &world{t: t}
	seg := shmtest.Segment(t, o)
	for range attaches {
		w.a = shmtest.OnSegment(t, seg, o)
		w.s = append(w.s, slab.Of(w.a))
	}
	return w
}

func (w *world) table() *pages.Table { return w.s[0].Floor().Pages }

func (w *world) word(off uint64) *psync.Word64 {
	return mem.Must[psync.Word64](w.s[0].View(), off)
}

// alloc takes a block of n bytes by attach i.
func (w *world) alloc(i int, n uint64) {
	ref, err := grab(w.s[i], n)
	w.got(i, n, ref, err)
}

// got enters the result of an allocation in the model.
func (w *world) got(i int, n, ref uint64, err error) {
	if err != nil {
		require.ErrorIs(w.t, err, slab.ErrFull)
		w.full++
		if w.full%16 == 1 && len(w.held) == 0 {
			require.False(w.t, w.fits(n), "full, but there is room for %d bytes", n)
		}
		return
	}
	w.s[i].Floor().Pages.Refresh()
	size, err := w.s[i].Size(ref)
	require.NoError(w.t, err)
	at := span{ref, ref + size}
	g := w.table().Geometry()
	w.table().Refresh()
	k, twice := w.used.search(ref)
	if twice || size < n || ref%8 != 0 || ref < g.DataOff || at.end > g.End(w.table().Pages()) ||
		k > 0 && w.used[k-1].end > ref || k < len(w.used) && w.used[k].start < at.end {
		w.t.Fatalf("%d bytes: given [%#x, %#x), which is in use, too small or outside", n, at.start, at.end)
	}
	w.used = slices.Insert(w.used, k, at)
	w.word(ref).Store(^ref) // the last bytes as well
	w.word(at.end - 8).Store(ref)
}

// free gives the k-th block in use back by attach i.
func (w *world) free(i, k int) {
	s := w.used[k]
	w.whole(s)
	require.NoError(w.t, w.s[i].Free(s.start))
	w.gone(k)
}

func (w *world) whole(s span) {
	if s.end-s.start > 8 && w.word(s.start).Load() != ^s.start || w.word(s.end-8).Load() != s.start {
		w.t.Fatalf("somebody has written into the block [%#x, %#x)", s.start, s.end)
	}
}

func (w *world) gone(k int) {
	if w.freed = append(w.freed, w.used[k].start); len(w.freed) > 64 {
		w.freed = w.freed[1:]
	}
	w.used = slices.Delete(w.used, k, k+1)
}

// misuse frees something that is no block in use.
func (w *world) misuse(i int, off uint64) {
	if _, ok := w.used.search(off); ok {
		return
	}
	require.ErrorIs(w.t, w.s[i].Free(off), slab.ErrNotAllocated, "%#x", off)
	w.refuse++
}

// wrong returns an offset that is most likely not that of a block in use.
func (w *world) wrong(kind, x uint64) uint64 {
	g := w.table().Geometry()
	switch kind % 6 {
	case 0: // freed before
		if len(w.freed) != 0 {
			return w.freed[x%uint64(len(w.freed))]
		}
	case 1, 2: // inside a block
		if len(w.used) != 0 {
			s := w.used[x%uint64(len(w.used))]
			off := s.start + 1 + x/7%(s.end-s.start-1)
			return off &^ (7 * (kind % 2))
		}
	case 3: // any in the data area
		return g.DataOff + x%(g.End(w.table().Pages())-g.DataOff)
	case 4: // before it
		return x % g.DataOff
	}
	return g.End(w.table().Pages()) + x // behind it
}

// fits reports whether there is room for n bytes, nobody being at anything.
func (w *world) fits(n uint64) bool {
	t := w.table()
	if class, ok := t.ClassFor(n); ok {
		return room(w.s[0], class) > 0 || t.Pages() < t.Geometry().MaxPages
	}
	need, free, k := t.RunPages(n), uint64(0), 0
	for p := range t.Geometry().MaxPages {
		for k < len(w.used) && w.used[k].end <= t.RunAt(p) {
			k++
		}
		if free++; k < len(w.used) && w.used[k].start < t.RunAt(p+1) {
			free = 0
		}
		if free == need {
			return true
		}
	}
	return false
}

// compare checks that the arena has in use just what the model has.
func (w *world) compare() {
	k := 0
	c := w.table().Census(func(b pages.Block) {
		if k == len(w.used) || w.used[k] != (span{b.Off, b.Off + b.Size}) {
			w.t.Fatalf("the block of %d bytes at %#x is in use, but not in the model", b.Size, b.Off)
		}
		w.whole(w.used[k])
		k++
	})
	require.Empty(w.t, c.Problems)
	require.Equal(w.t, len(w.used), k, "blocks in use")
}

// end frees everything, and finds all of the arena free, and to be had.
func (w *world) end() {
	w.compare()
	for i := 0; len(w.used) > 0; i++ {
		w.free(i%len(w.s), len(w.used)-1)
	}
	w.compare()
	r := shmtest.Clean(w.t, w.a)
	require.Zero(w.t, r.UsedBytes)
	quiet(w.t, w.s[0])
	for _, s := range w.s {
		run, err := grab(s, w.table().Pages()*w.table().Geometry().PageSize())
		require.NoError(w.t, err, "everything is free")
		require.NoError(w.t, s.Free(run))
	}
}

// size is mostly small, up to 40 KiB.
func (w *world) size(rnd *rand.Rand) uint64 {
	switch x := rnd.IntN(100); {
	case x < 70:
		return 1 + rnd.Uint64N(300)
	case x < 95:
		return 1 + rnd.Uint64N(3000)
	default:
		return 1 + rnd.Uint64N(40<<10)
	}
}

// step does one random thing. First the arena fills, then it empties, and so on.
func (w *world) step(rnd *rand.Rand, grow bool) {
	i, allocate := rnd.IntN(len(w.s)), 35
	if grow {
		allocate = 60
	}
	switch x := rnd.IntN(100); {
	case x < allocate && len(w.used) < 8000:
		w.alloc(i, w.size(rnd))
	case x < 90 && len(w.used) > 0:
		w.free(i, rnd.IntN(len(w.used)))
	default:
		w.misuse(i, w.wrong(rnd.Uint64(), rnd.Uint64()>>20))
	}
}

// spanOps is how many operations all the arenas of TestModel_Spans get, at least.
func spanOps() int {
	if os.Getenv("SHMKIT_TORTURE") != "" {
		return 10_000_000
	}
	return modelOps(300_000)
}

// Random operations of several attaches against a sorted list of what is in use:
// all that is given out lies apart and inside the arena, all that is no block in
// use is refused and changes nothing, full is what is full.
func TestModel_Spans(t *testing.T) {
	begin, total := time.Now(), 0
	for _, page := range []int{4096, 16384, 65536} {
		for _, o := range []arena.Options{{Size: 900 << 10}, {Size: 200 << 10, MaxSize: 8 << 20}} {
			o.PageSize, o.Processes, o.Objects = page, 4, 8
			t.Run(fmt.Sprintf("%dKiB of %dKiB", page>>10, max(o.Size, o.MaxSize)>>10), func(t *testing.T) {
				w := newWorld(t, &o, 3)
				rnd := rand.New(rand.NewPCG(uint64(page), uint64(o.Size)))
				ops := (spanOps() + 5) / 6
				total += ops
				for op := range ops {
					w.step(rnd, op/20000%2 == 0)
					if op%(ops/20+1) == 0 {
						w.compare()
					}
				}
				blocks := len(w.used)
				w.end()
				t.Logf("%d operations, %d refused, full %d times, %d blocks left at the end", ops, w.refuse, w.full, blocks)
			})
		}
	}
	require.GreaterOrEqual(t, total, spanOps())
	t.Logf("%d operations in %v", total, time.Since(begin).Round(time.Millisecond))
}
