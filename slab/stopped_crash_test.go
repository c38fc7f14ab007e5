//go:build crash

package slab_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert" // where a test that ends would leave somebody stopped
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// Whoever is stopped has what he is at: the page that he is in, or about to enter, and
// the blocks that his records name. Everything else that is free others can have, at
// each of his ticks.

// stopAt runs do and calls f before its k-th tick; it reports whether that came.
func stopAt(k int64, do, f func()) (came bool) {
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(n int64) {
		if n == k {
			came = true
			f()
		}
	})
	do()
	return came
}

// sure returns how many blocks of a class are free in pages that nobody names, is in or
// is about to enter; except is one more page that does not count.
func sure(s *slab.Slab, class int, except uint64) (n int) {
	t := s.Floor().Pages
	busy := map[uint64]bool{except: true}
	for slot := range s.Floor().Slots.High() {
		for i := range intent.PerSlot {
			busy[s.Floor().Records.Record(slot, i).Inside().Load()-1] = true
		}
	}
	taken := make(map[uint64]bool) // in use, or freed and named
	for _, off := range s.Floor().Records.Named(nil) {
		taken[off] = true
	}
	t.Census(func(b pages.Block) { taken[b.Off] = true })
	for p := range t.Pages() {
		if !busy[p] {
			n += sureIn(s, p, class, taken)
		}
	}
	return n
}

func sureIn(s *slab.Slab, p uint64, class int, taken map[uint64]bool) int {
	t := s.Floor().Pages
	word := mem.Must[psync.Word64](s.Floor().View, t.Geometry().TableOff+p*pages.EntrySize).Load()
	kind := word & 0xff
	if psync.IDOf(word) != 0 || kind != 0 && kind < 16 {
		return 0 // somebody is in it; or it is part of a run
	}
	if kind == 0 {
		return int(t.Classes()[class].Blocks)
	}
	c := &t.Classes()[kind-16]
	used, free := 0, 0
	for i := range c.All {
		serves := int(kind - 16)
		if i == c.Blocks {
			serves = c.Lodger
		}
		if taken[t.RunAt(p)+c.Head+i*c.Size] {
			used++
		} else if serves == class {
			free++
		}
	}
	if used == 0 {
		return int(t.Classes()[class].Blocks)
	}
	return free
}

// haveAll takes all blocks of n bytes that can be had, and gives them back.
func haveAll(s *slab.Slab, n uint64) (refs []uint64, err error) {
	for {
		ref, full := grab(s, n)
		if full != nil {
			break
		}
		refs = append(refs, ref)
	}
	for _, ref := range refs {
		if e := s.Free(ref); e != nil {
			err = e
		}
	}
	return refs, err
}

// Somebody looks at a page whose blocks of three eighths are in use or named by a
// record, and goes. At each of his steps the lodger of the page is there for others.
func TestCrash_StoppedAtLodger(t *testing.T) {
	for k := int64(1); ; k++ {
		seg := shmtest.Segment(t, &arena.Options{Size: 52 << 10, Processes: 5, Objects: 8})
		var s []*slab.Slab
		for range 4 {
			s = append(s, slab.Of(shmtest.OnSegment(t, seg, nil)))
		}
		filler, owner, stopped, other := s[0], s[1], s[2], s[3]
		full := reserveAll(t, filler, 4096)
		require.NoError(t, filler.Free(full[0]))
		op, err := owner.Begin()
		require.NoError(t, err)
		one, err := op.Reserve(1500)
		require.NoError(t, err)
		two := mustGrab(t, owner, 1500)
		require.NoError(t, filler.Free(one)) // and named
		quarter, _ := filler.Floor().Pages.ClassFor(1000)
		came := stopAt(k, func() { _, _ = grab(stopped, 1500) }, func() {
			want := sure(other, quarter, pages.None)
			refs, err := haveAll(other, 1000)
			assert.NoError(t, err)
			assert.GreaterOrEqual(t, len(refs), want, "tick %d", k)
		})
		op.Record.Close()
		op.End()
		freeAll(t, filler, append(full[1:], two))
		if !came {
			t.Logf("%d ticks", k-1)
			return
		}
	}
}

// The same in random arenas that are nearly full, of anything that takes blocks or
// gives one back.
func TestCrash_StoppedAnywhere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	looks := 0
	for world := range uint64(1000) {
		if stoppedIn(t, rand.New(rand.NewPCG(seed, world))) {
			looks++
		}
	}
	t.Logf("%d looks", looks)
}

func stoppedIn(t *testing.T, rnd *rand.Rand) bool {
	t.Helper()
	sizes := []uint64{1536, 1024, 1536, 1024, 1536, 1024, 2048, 16, 1360}
	h := newHoard(t, rnd, sizes)
	defer h.end()
	stopped, other := h.s[0], h.s[1+rnd.IntN(2)]
	n, except := sizes[rnd.IntN(len(sizes))], pages.None
	do := func() { _, _ = grab(stopped, n) }
	if ref := h.any(); ref != 0 && rnd.IntN(4) == 0 {
		except = stopped.Floor().Pages.PageAt(ref)
		do = func() { _ = stopped.Free(ref) }
	}
	size := []uint64{1536, 1024, 1024, 2048, 1360, 512}[rnd.IntN(6)]
	class, _ := other.Floor().Pages.ClassFor(size)
	if rnd.IntN(2) == 0 {
		_, _ = haveAll(other, size) // and remembers where it has looked in vain
	}
	k := 1 + rnd.Int64N([]int64{8, 60, 60}[rnd.IntN(3)])
	return stopAt(k, do, func() {
		want := sure(other, class, except)
		refs, err := haveAll(other, size)
		assert.NoError(t, err)
		assert.GreaterOrEqual(t, len(refs), want, "blocks of %d, tick %d", size, k)
	})
}

// hoard is an arena with blocks in use, and operations that name some, also freed ones.
type hoard struct {
	s    []*slab.Slab
	refs map[uint64]bool
	ops  []slab.Op
}

func newHoard(t *testing.T, rnd *rand.Rand, sizes []uint64) *hoard {
	t.Helper()
	seg := shmtest.Segment(t, &arena.Options{Size: 40<<10 + rnd.Int64N(5)*4096, Processes: 4, Objects: 8})
	h := &hoard{refs: make(map[uint64]bool)}
	for range 3 {
		h.s = append(h.s, slab.Of(shmtest.OnSegment(t, seg, nil, shmtest.Unchecked)))
	}
	for range 20 + rnd.IntN(150) {
		s := h.s[rnd.IntN(3)]
		switch x := rnd.IntN(100); {
		case x < 60:
			if ref, err := grab(s, sizes[rnd.IntN(len(sizes))]); err == nil {
				h.refs[ref] = true
			}
		case x < 90:
			if ref := h.any(); ref != 0 {
				require.NoError(t, s.Free(ref))
				delete(h.refs, ref)
			}
		case x < 95 && len(h.ops) < 6:
			op, err := s.Begin()
			require.NoError(t, err)
			if ref, err := op.Reserve(sizes[rnd.IntN(6)]); err == nil && rnd.IntN(2) == 0 {
				require.NoError(t, h.s[rnd.IntN(3)].Free(ref))
			}
			h.ops = append(h.ops, op)
		case len(h.ops) > 0:
			h.ops[0].End()
			h.ops = h.ops[1:]
		}
	}
	return h
}

func (h *hoard) any() uint64 {
	for ref := range h.refs {
		return ref
	}
	return 0
}

func (h *hoard) end() {
	for i := range h.ops {
		h.ops[i].End()
	}
}
