//go:build crash

package slab_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// A scene is an operation on cells that is cut off at every tick.
type scene struct {
	seg    *shm.Segment
	a      *arena.Arena
	c      *cells
	do     func()
	before map[int]live
	after  map[int]live
	class  uint64 // size of the blocks by which the room is measured

	crowded bool // somebody else takes what there is: full is no surprise
}

const sceneCells = 24

var sceneOptions = arena.Options{Size: 52 << 10, MaxSize: 52 << 10, Processes: 5, Objects: 8}

// scenes by name. Each makes its arena anew.
var scenes = map[string]func(t *testing.T) *scene{
	"fresh page":           sceneFreshPage,
	"current page":         sceneCurrentPage,
	"page given up":        scenePageFull,
	"after collect":        sceneCollect,
	"by class hint":        sceneClassHint,
	"recut an empty page":  sceneRecut,
	"page with a lodger":   sceneWide,
	"lodger":               sceneLodger,
	"by a lodger's hint":   sceneLodgerHint,
	"lodger offered":       sceneLodgerOffered,
	"steal":                sceneSteal,
	"shed idle pages":      sceneShed,
	"make a run":           sceneMakeRun,
	"replace a run":        sceneReplaceRun,
	"break a run":          sceneBreakRun,
	"empty pages to a run": sceneFreeEmpty,
	"delete":               sceneDelete,
	"replace":              sceneReplace,
	"reserve and give up":  sceneGiveUp,
	"full":                 sceneFull,
	"grow":                 sceneGrow,
	"close":                sceneClose,
}

func newScene(t *testing.T, o arena.Options) *scene {
	s := &scene{seg: shmtest.Segment(t, &o), class: 1024}
	s.a = shmtest.OnSegment(t, s.seg, nil)
	s.c = createCells(t, s.a, sceneCells)
	return s
}

// other is a second attach.
func (s *scene) other(t *testing.T) *arena.Arena {
	a, err := arena.Attach(s.seg, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func (s *scene) cells() map[int]live {
	m := make(map[int]live)
	for i := range s.c.n {
		if n, seed, err := s.c.get(i); err == nil && n != 0 {
			m[i] = live{0, n, seed}
		}
	}
	return m
}

// put is what the scene does at the end.
func (s *scene) put(t *testing.T, i int, n uint64) *scene {
	s.before = s.cells()
	s.after = s.cells()
	s.after[i] = live{0, n, 77}
	s.do = func() { s.done(t, s.c.put(i, n, 77)) }
	return s
}

// done checks the result of an operation.
func (s *scene) done(t *testing.T, err error) {
	if err != nil && s.crowded {
		require.ErrorIs(t, err, slab.ErrFull)
		return
	}
	require.NoError(t, err)
}

func sceneFreshPage(t *testing.T) *scene { return newScene(t, sceneOptions).put(t, 0, 1000) }

func sceneCurrentPage(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(1, 1000, 1))
	return s.put(t, 0, 1000)
}

func scenePageFull(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	for i := range 4 {
		require.NoError(t, s.c.put(i, 1000, 1))
	}
	return s.put(t, 5, 1000)
}

func sceneCollect(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	s.class = 16 // its bits are in the page
	for range 260 {
		require.NoError(t, s.c.put(1, 16, 1))
	}
	for i := range 4 {
		require.NoError(t, s.c.put(i, 1000, 1))
	}
	for i := range 3 {
		require.NoError(t, s.c.del(i))
	}
	return s.put(t, 0, 1000)
}

func sceneClassHint(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := s.other(t)
	c := mustOpenCells(t, b, sceneCells)
	for i := range 6 {
		require.NoError(t, c.put(i, 1000, 1))
	}
	require.NoError(t, c.del(4))
	require.NoError(t, b.Close())
	return s.put(t, 7, 1000)
}

func sceneRecut(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := s.other(t)
	freeAll(t, slab.Of(b), reserveAll(t, slab.Of(b), 16))
	require.NoError(t, b.Close())
	return s.put(t, 0, 1000)
}

func sceneWide(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	s.class = 1536
	return s.put(t, 0, 1500)
}

func sceneLodger(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(1, 1500, 1))
	return s.put(t, 0, 1000)
}

// The page is one that its process has left.
func sceneLodgerHint(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := s.other(t)
	require.NoError(t, mustOpenCells(t, b, sceneCells).put(1, 1500, 1))
	require.NoError(t, b.Close())
	return s.put(t, 0, 1000)
}

// The goroutine that takes the page has as many blocks of a quarter as it may keep.
func sceneLodgerOffered(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	freeAll(t, s.c.s, reserveAll(t, s.c.s, 1000))
	for i := range 4 {
		require.NoError(t, s.c.put(i, 1000, 1))
	}
	s.class = 1536
	return s.put(t, 5, 1500)
}

func sceneSteal(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	c := mustOpenCells(t, s.other(t), sceneCells)
	for i := range sceneCells {
		if err := c.put(i, 2048, 1); err != nil {
			break
		}
	}
	_, err := grab(c.s, 2048)
	require.ErrorIs(t, err, slab.ErrFull)
	page := c.s.Floor().Pages.PageAt(c.ref(0))
	for i := range sceneCells {
		if ref := c.ref(i); ref != 0 && c.s.Floor().Pages.PageAt(ref) == page {
			require.NoError(t, c.del(i))
		}
	}
	require.NoError(t, c.put(0, 2048, 1)) // the other half of its page is free, and kept by the other
	return s.put(t, 23, 2048)
}

func sceneShed(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := slab.Of(s.other(t))
	for _, c := range b.Floor().Pages.Classes() {
		if ref, err := grab(b, c.Size); err == nil {
			require.NoError(t, b.Free(ref))
		}
	}
	s.class = 512
	return s.put(t, 0, 5000)
}

func sceneMakeRun(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(1, 1000, 1))
	return s.put(t, 0, 13000)
}

func sceneReplaceRun(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(0, 9000, 1))
	return s.put(t, 0, 13000)
}

func sceneBreakRun(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(0, 5*4096, 1))
	require.NoError(t, s.c.put(1, 4096, 1))
	require.NoError(t, s.c.put(2, 4096, 1))
	require.NoError(t, s.c.del(0))
	require.NoError(t, s.c.del(2))
	return s.put(t, 0, 1000)
}

func sceneFreeEmpty(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := s.other(t)
	freeAll(t, slab.Of(b), reserveAll(t, slab.Of(b), 500))
	require.NoError(t, b.Close())
	return s.put(t, 0, 5*4096)
}

func sceneDelete(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(0, 1000, 1))
	require.NoError(t, s.c.put(1, 1000, 1))
	s.before, s.after = s.cells(), s.cells()
	delete(s.after, 0)
	s.do = func() { require.NoError(t, s.c.del(0)) }
	return s
}

func sceneReplace(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	require.NoError(t, s.c.put(0, 1000, 1))
	require.NoError(t, s.c.put(1, 1000, 1))
	return s.put(t, 0, 1000)
}

func sceneGiveUp(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	s.before, s.after = s.cells(), s.cells()
	s.do = func() {
		for _, n := range []uint64{100, 9000} {
			op, err := s.c.s.Begin()
			require.NoError(t, err)
			_, err = op.Reserve(n)
			op.End()
			s.done(t, err)
		}
	}
	return s
}

// sceneFull is an arena whose last user died, which is full, and in which a
// block is asked for: everything is looked at and nothing is found.
func sceneFull(t *testing.T) *scene {
	old := newScene(t, sceneOptions)
	require.NoError(t, old.c.put(0, 1000, 1))
	b, err := old.a.Freeze()
	require.NoError(t, err)
	s := &scene{seg: shm.HeapBytes(b, int64(len(b))), class: 1024}
	s.a = shmtest.OnSegment(t, s.seg, nil)
	s.c = mustOpenCells(t, s.a, sceneCells)
	require.EqualValues(t, 1, s.c.s.Floor().Deaths.Load())
	// To the brim: which pages are half full depends on the lanes.
	for i := range 20 {
		if s.c.put(i, 2000, 1) != nil {
			break
		}
	}
	for i := 20; i < sceneCells; i++ {
		_ = s.c.put(i, 1000, 1)
	}
	s.before, s.after = s.cells(), s.cells()
	s.do = func() {
		_, err := grab(s.c.s, 2000)
		require.ErrorIs(t, err, slab.ErrFull)
		_, err = grab(s.c.s, 9000)
		require.ErrorIs(t, err, slab.ErrFull)
	}
	return s
}

func sceneGrow(t *testing.T) *scene {
	o := sceneOptions
	o.MaxSize = 96 << 10
	s := newScene(t, o)
	for i := range 20 {
		if s.c.s.Floor().Pages.FreeTail() == 0 {
			break
		}
		require.NoError(t, s.c.put(i, 4096, 1))
	}
	return s.put(t, 23, 1000)
}

func sceneClose(t *testing.T) *scene {
	s := newScene(t, sceneOptions)
	b := s.other(t)
	c := mustOpenCells(t, b, sceneCells)
	for i, n := range []uint64{16, 100, 1000, 2000} {
		require.NoError(t, c.put(i, n, 1))
	}
	require.NoError(t, c.del(2))
	s.before, s.after = s.cells(), s.cells()
	s.do = func() { require.NoError(t, b.Close()) }
	return s
}

// verify checks contents, pages and room of a recovered frame.
func (s *scene) verify(t *testing.T, a *arena.Arena, whole bool) {
	c := mustOpenCells(t, a, sceneCells)
	c.check(t)
	quiet(t, c.s)
	got := (&scene{c: c}).cells()
	if whole {
		require.Equal(t, s.after, got)
	} else {
		for i := range sceneCells {
			require.True(t, got[i] == s.before[i] || got[i] == s.after[i], "cell %d holds %+v, want %+v or %+v", i, got[i], s.before[i], s.after[i])
		}
	}
	s.measure(t, c)
}

// measure takes all there should be of a class, and gives it back: no page and
// no block is out of reach.
func (s *scene) measure(t *testing.T, c *cells) {
	for _, n := range []uint64{s.class, 2048} {
		class, _ := c.s.Floor().Pages.ClassFor(n)
		free := room(c.s, class)
		refs := reserveAll(t, c.s, n)
		if c.s.Floor().Pages.Geometry().MaxPages == c.s.Floor().Pages.Pages() && len(refs) < free {
			require.Equal(t, free, len(refs), "blocks of %d bytes", n)
		}
		freeAll(t, c.s, refs)
	}
	require.NoError(t, c.obj.Close())
}

// Every tick of every scene, and every tick of every recovery.
func TestCrash_Slab(t *testing.T) {
	for name, build := range scenes {
		t.Run(name, func(t *testing.T) {
			shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
				s := build(t)
				return &shmtest.Run{Segment: s.seg, Do: s.do, Verify: s.verify}
			})
		})
	}
}

// Publishing an object.
func TestCrash_Slab_Create(t *testing.T) {
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		s := newScene(t, sceneOptions)
		s.before, s.after = s.cells(), s.cells()
		spec := arena.Spec{Kind: arena.KindValue, Size: 6000}
		return &shmtest.Run{
			Segment: s.seg,
			Do: func() {
				h, err := s.c.s.Create("new", spec, func(p mem.Ptr) { mem.Zero(p, spec.Size) })
				require.NoError(t, err)
				require.NoError(t, h.Close())
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				h, err := a.OpenObject("new", spec)
				if whole || err == nil {
					require.NoError(t, err)
					require.NoError(t, h.Close())
				}
				s.verify(t, a, whole)
			},
		}
	})
}

// bystander is a living process that takes everything it can get, and sees
// whether it keeps it.
type bystander struct {
	t    *testing.T
	a    *arena.Arena
	s    *slab.Slab
	refs []uint64
}

// grabAll takes blocks until the arena is full for it. Nobody holds the run
// lock: whoever does is stopped.
func (b *bystander) grabAll(sizes ...uint64) {
	if b.s == nil {
		b.s = slab.Of(b.a)
	}
	if b.s.Floor().RunLock.Holder() != 0 {
		return
	}
	for _, n := range sizes {
		refs := reserveAll(b.t, b.s, n)
		for _, ref := range refs {
			size, err := b.s.Size(ref)
			require.NoError(b.t, err)
			mem.Zero(b.s.View().Base().Add(ref), size)
			mem.CopyIn(b.s.View().Base().Add(ref), []byte("bystande"))
		}
		b.refs = append(b.refs, refs...)
	}
}

// giveBack frees what it took, all of which must still be its own.
func (b *bystander) giveBack(when int64) {
	slices.Sort(b.refs)
	for i, ref := range b.refs {
		require.True(b.t, i == 0 || b.refs[i-1] != ref, "tick %d: the block at %#x was given out twice", when, ref)
		require.NoError(b.t, b.s.Free(ref), "tick %d: a living process lost its block at %#x", when, ref)
	}
	b.refs = nil
}

// TestCrash_B1_RepairFreesLiveBlock kills the operation at every tick. At every
// tick of the recovery of each frame a living process comes, takes whatever
// block it can get, and then the recovery goes on: it must not free any of
// them (B1), nor give a page away whose records are not settled (B2,
// LEASEFIRST).
func TestCrash_B1_RepairFreesLiveBlock(t *testing.T) {
	for _, name := range []string{"fresh page", "current page", "after collect", "by class hint", "recut an empty page", "replace", "delete", "make a run", "replace a run", "break a run", "steal", "reserve and give up", "close"} {
		t.Run(name, func(t *testing.T) {
			s := scenes[name](t)
			frames, _ := shmtest.Freeze(s.seg, s.do)
			total := int64(0)
			for f, frame := range frames {
				ticks := s.recoverBeside(t, frame, 0, f == len(frames)-1)
				for k := int64(1); k <= ticks; k++ {
					s.recoverBeside(t, frame, k, f == len(frames)-1)
					total++
				}
			}
			t.Logf("%d frames, %d ticks", len(frames), total)
		})
	}
}

// recoverBeside recovers a frame; before tick k of that, if there is one, the
// bystander comes.
func (s *scene) recoverBeside(t *testing.T, frame []byte, k int64, whole bool) (ticks int64) {
	seg := shm.HeapBytes(frame, s.seg.Reserved())
	b := &bystander{t: t}
	ticks = atTick(k, func() {
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		defer a.Close()
		if b.a != nil {
			// Also one who comes later leaves them alone.
			_, err = a.Recover()
			require.NoError(t, err)
		}
	}, func() {
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		b.a = a
		b.grabAll(s.class)
	})
	if b.a == nil {
		return ticks
	}
	_, err := b.a.Recover()
	require.NoError(t, err)
	b.giveBack(k)
	shmtest.Clean(t, b.a)
	s.verify(t, b.a, whole)
	require.NoError(t, b.a.Close())
	return ticks
}

// atTick runs do and calls f before the store of tick k, if there is one. It
// returns the number of ticks.
func atTick(k int64, do, f func()) int64 {
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(n int64) {
		if n == k {
			f()
		}
	})
	do()
	fault.SetHook(nil)
	return fault.Count()
}

// TestCrash_StoppedInside stops the operation at every tick: a living process
// takes whatever block it can get meanwhile, the operation goes on, and
// neither takes anything from the other.
func TestCrash_StoppedInside(t *testing.T) {
	for name, build := range scenes {
		t.Run(name, func(t *testing.T) {
			ticks := atTick(0, build(t).do, nil)
			for k := int64(1); k <= ticks; k++ {
				s := build(t)
				b := &bystander{t: t, a: s.other(t)}
				s.crowded = true
				atTick(k, s.do, func() {
					if dirLock(s.c.s).Holder() != 0 {
						return
					}
					b.grabAll(1000)
				})
				b.giveBack(k)
				shmtest.Clean(t, b.a)
				quiet(t, s.c.s)
				s.c.check(t)
			}
			t.Logf("%d ticks", ticks)
		})
	}
}

// TestCrash_GrowerStopped stops one who grows the arena at every tick: the pages
// are there for others, but for one that he may be about to enter.
func TestCrash_GrowerStopped(t *testing.T) {
	ticks := atTick(0, sceneGrow(t).do, nil)
	for k := int64(1); k <= ticks; k++ {
		s := sceneGrow(t)
		b := &bystander{t: t, a: s.other(t)}
		s.crowded = true
		atTick(k, s.do, func() { b.grabAll(1000) })
		require.GreaterOrEqual(t, len(b.refs), 40, "tick %d: blocks in 11 new pages", k)
		b.giveBack(k)
	}
	t.Logf("%d ticks", ticks)
}

// Somebody frees a block twice, and between the look of the second one and its
// store another process collects the block: it is handed out once.
func TestCrash_DoubleFree(t *testing.T) {
	one, other := two(t, small(65536)) // one page
	sweep(t, one)
	refs := reserveAll(t, one, 96)
	b, table := refs[5], other.Floor().Pages
	fault.Reset()
	fault.SetHook(func(tick int64) {
		if tick != 1 {
			return
		}
		require.NoError(t, table.Free(b))
		require.NoError(t, table.Free(refs[0]))
		x, err := grab(other, 96) // has the other one in its magazine now
		require.NoError(t, err)
		require.Equal(t, refs[0], x)
	})
	_ = one.Free(b) // nobody can tell
	fault.Reset()
	got := append(reserveAll(t, other, 96), reserveAll(t, one, 96)...)
	require.Equal(t, []uint64{b}, got)
	_, err := one.Size(b)
	require.NoError(t, err)
	freeAll(t, one, refs)
	t.Logf("%d ticks", 1)
}
