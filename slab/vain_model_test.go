package slab_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// Three attaches of a small arena take and free blocks of a few sizes at random, and keep
// some reserved, or reserved and freed. Whenever one is refused, there is nothing.
func TestVain_Model(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	refused := 0
	for world := range uint64(modelOps(100)) {
		refused += refusals(t, rand.New(rand.NewPCG(seed, world)))
	}
	t.Logf("%d refusals", refused)
}

func refusals(t *testing.T, rnd *rand.Rand) (refused int) {
	size := int64(64+rnd.IntN(200)) << 10
	o := &arena.Options{Size: size, MaxSize: size + rnd.Int64N(2)<<16, Processes: 5, Objects: 8}
	w := &refusing{t: t, rnd: rnd}
	seg := shmtest.Segment(t, o)
	for range 3 {
		w.s = append(w.s, slab.Of(shmtest.OnSegment(t, seg, o, shmtest.Unchecked)))
	}
	all := []uint64{16, 64, 100, 512, 700, 1024, 1365, 1500, 2048, 3000, 4096, 5000, 9000, 20000}
	for range 2 + rnd.IntN(5) {
		w.sizes = append(w.sizes, all[rnd.IntN(len(all))])
	}
	if rnd.IntN(2) == 0 {
		w.sizes = append(w.sizes[:1], 1024, 1500, 1536) // pages with lodgers
	}
	defer func() {
		for i := range w.ops {
			w.ops[i].End()
		}
	}()
	for range 500 + rnd.IntN(2000) {
		w.step()
	}
	return w.refused
}

type refusing struct {
	t       *testing.T
	rnd     *rand.Rand
	s       []*slab.Slab
	sizes   []uint64
	refs    []uint64
	ops     []slab.Op
	less    bool // more is freed than taken
	refused int
}

func (w *refusing) step() {
	s, x := w.s[w.rnd.IntN(3)], w.rnd.IntN(100)
	if w.rnd.IntN(150) == 0 {
		w.less = !w.less
	}
	if w.less && x < 30 {
		x = 65
	}
	switch {
	case x < 60:
		w.take(s, w.size())
	case x < 90 && len(w.refs) > 0:
		w.free(s, w.refs[w.rnd.IntN(len(w.refs))], w.rnd.IntN(4) == 0)
	case x < 95 && len(w.ops) < 6:
		op, err := s.Begin()
		require.NoError(w.t, err)
		w.ops = append(w.ops, op)
		if ref, err := op.Reserve(w.size()); err == nil && w.rnd.IntN(2) == 0 {
			require.NoError(w.t, w.s[w.rnd.IntN(3)].Free(ref))
		}
	case len(w.ops) > 0:
		i := w.rnd.IntN(len(w.ops))
		w.ops[i].End()
		w.ops = append(w.ops[:i], w.ops[i+1:]...)
	}
}

func (w *refusing) size() uint64 { return w.sizes[w.rnd.IntN(len(w.sizes))] }

func (w *refusing) take(s *slab.Slab, n uint64) {
	ref, err := grab(s, n)
	if err == nil {
		w.refs = append(w.refs, ref)
		return
	}
	require.ErrorIs(w.t, err, slab.ErrFull)
	w.refused++
	if class, ok := s.Floor().Pages.ClassFor(n); ok {
		require.Zero(w.t, sum(idle(s, class)), "%d bytes: %v", n, idle(s, class))
		return
	}
	row, need := uint64(0), s.Floor().Pages.RunPages(n)
	for _, blocks := range idle(s, pages.NoClass) {
		if row++; blocks == 0 {
			row = 0
		}
		require.Less(w.t, row, need, "%d bytes", n)
	}
}

// free frees one block, or all of its page.
func (w *refusing) free(s *slab.Slab, one uint64, all bool) {
	p, rest := s.Floor().Pages.PageAt(one), w.refs[:0]
	for _, ref := range w.refs {
		if ref == one || all && s.Floor().Pages.PageAt(ref) == p {
			require.NoError(w.t, s.Free(ref))
		} else {
			rest = append(rest, ref)
		}
	}
	w.refs = rest
}

func sum(of []uint64) (n uint64) {
	for _, x := range of {
		n += x
	}
	return n
}

// idle returns for each page how many blocks of a class are to be had there, when nobody
// is at anything: 1 for a page that is free or could be, also for NoClass.
func idle(s *slab.Slab, class int) (free []uint64) {
	t := s.Floor().Pages
	taken := make(map[uint64]bool) // in use, or freed and named
	for _, off := range s.Floor().Records.Named(nil) {
		taken[off] = true
	}
	t.Census(func(b pages.Block) { taken[b.Off] = true })
	for p := uint64(0); p < t.Pages(); p = uint64(len(free)) {
		switch page := t.Page(p); page.Kind {
		case pages.PageFree:
			free = append(free, 1)
		case pages.PageRun:
			for range page.Run {
				free = append(free, one(!taken[t.RunAt(p)]))
			}
		case pages.PageClass:
			free = append(free, idleIn(t, p, page.Class, class, taken))
		default:
			panic(fmt.Sprintf("page %d is of kind %d, and nobody is at anything", p, page.Kind))
		}
	}
	return free
}

func idleIn(t *pages.Table, p uint64, is, class int, taken map[uint64]bool) (n uint64) {
	c, used := t.Classes()[is], false
	for i := range c.All {
		serves := is
		if i == c.Blocks {
			serves = c.Lodger
		}
		switch free := !taken[t.RunAt(p)+c.Head+i*c.Size]; {
		case !free:
			used = true
		case serves == class:
			n++
		}
	}
	return max(n, one(!used))
}

func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}
