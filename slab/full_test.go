package slab_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

func small(page int) *arena.Options {
	return &arena.Options{Size: 100 << 10, PageSize: page, Processes: 4, Objects: 8}
}

func eachPage(t *testing.T, test func(t *testing.T, page int)) {
	for page := 4096; page <= 65536; page *= 2 {
		t.Run(fmt.Sprintf("%dKiB", page>>10), func(t *testing.T) { test(t, page) })
	}
}

// An arena of 100 KiB can be used up in every class, one after the other: what
// is freed comes back for every other class, and for runs. Full is an error at
// once, which names the class and the limit.
func TestFull_EveryClass(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		a := shmtest.Heap(t, small(page))
		s := slab.Of(a)
		n := s.Floor().Pages.Pages()
		for round := range 2 {
			for class, c := range s.Floor().Pages.Classes() {
				require.Equal(t, int(n*c.Blocks), room(s, class))
				refs := reserveAll(t, s, c.Size)
				require.Equal(t, int(n*c.Blocks), len(refs), "class %d, round %d", c.Size, round)
				_, err := grab(s, c.Size)
				require.ErrorIs(t, err, slab.ErrFull)
				require.Contains(t, err.Error(), fmt.Sprintf("%d-byte class", c.Size))
				require.Contains(t, err.Error(), fmt.Sprintf("%d pages", n))
				freeAll(t, s, refs)
			}
			run, err := grab(s, n*uint64(page))
			require.NoError(t, err, "all pages are free, so a run of all of them fits")
			_, err = grab(s, 16)
			require.ErrorIs(t, err, slab.ErrFull)
			_, err = grab(s, uint64(page))
			require.ErrorIs(t, err, slab.ErrFull)
			require.Contains(t, err.Error(), "run of 1 pages")
			require.NoError(t, s.Free(run))
		}
		quiet(t, s)
	})
}

// Blocks of many sizes at a time, in one small arena: a page that lies idle in
// one class serves another one before the arena is said to be full.
func TestFull_EmptyPagesOfOtherClasses(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		a := shmtest.Heap(t, small(page))
		s := slab.Of(a)
		for round := range 3 {
			for _, c := range s.Floor().Pages.Classes() {
				ref, err := grab(s, c.Size)
				require.NoError(t, err, "class %d, round %d: everything is free", c.Size, round)
				require.NoError(t, s.Free(ref))
			}
		}
	})
}

// The same across two processes: one lets its empty pages lie.
func TestFull_EmptyPagesOfOthers(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		seg := shmtest.Segment(t, small(page))
		s, other := slab.Of(shmtest.OnSegment(t, seg, nil)), slab.Of(shmtest.OnSegment(t, seg, nil))
		n := s.Floor().Pages.Pages()
		for range n {
			for _, c := range s.Floor().Pages.Classes() {
				if ref, err := grab(s, c.Size); err == nil {
					require.NoError(t, s.Free(ref))
				}
			}
		}
		for _, c := range other.Floor().Pages.Classes() {
			refs := reserveAll(t, other, c.Size)
			require.Equal(t, int(n*c.Blocks), len(refs), "class %d", c.Size)
			freeAll(t, s, refs)
		}
		run, err := grab(other, n*uint64(page))
		require.NoError(t, err)
		require.NoError(t, s.Free(run))
	})
}

func TestFull_HugeSizes(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	for _, n := range []uint64{1 << 20, 1 << 43, 1 << 44, 1 << 62, 1<<64 - 4096, 1<<64 - 7, 1<<64 - 1} {
		_, err := grab(s, n)
		require.ErrorIs(t, err, slab.ErrFull, "%d bytes", n)
	}
}

// When the file system is full the error says so, and nothing is lost.
func TestFull_NoSpace(t *testing.T) {
	seg := shmtest.Segment(t, &arena.Options{Size: 128 << 10, MaxSize: 16 << 20, Processes: 4, Objects: 8})
	s := slab.Of(shmtest.OnSegment(t, seg, nil))
	size, err := seg.Size()
	require.NoError(t, err)
	seg.SetAllocateLimit(size + 64<<10)
	var refs []uint64
	for {
		ref, err := grab(s, 1000)
		if err != nil {
			require.ErrorIs(t, err, arena.ErrNoSpace)
			break
		}
		refs = append(refs, ref)
	}
	_, err = grab(s, 100<<10)
	require.ErrorIs(t, err, arena.ErrNoSpace)
	seg.SetAllocateLimit(1 << 40)
	ref, err := grab(s, 100<<10)
	require.NoError(t, err)
	freeAll(t, s, append(refs, ref))
}

func TestGrow(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 128 << 10, MaxSize: 24 << 20, Processes: 4, Objects: 8})
	s := slab.Of(a)
	refs := reserveAll(t, s, 1000)
	require.Equal(t, s.Floor().Pages.Geometry().MaxPages, s.Floor().Pages.Pages())
	require.Equal(t, int(s.Floor().Pages.Geometry().MaxPages*4), len(refs))
	freeAll(t, s, refs)
	run, err := grab(s, 20<<20)
	require.NoError(t, err)
	require.NoError(t, s.Free(run))
}

// A run larger than one step of growth, and one that uses what is free at the
// end already.
func TestGrow_Run(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 128 << 10, MaxSize: 32 << 20, Processes: 4, Objects: 8})
	s := slab.Of(a)
	one, err := grab(s, 9<<20)
	require.NoError(t, err)
	require.Less(t, a.Size(), int64(10<<20))
	two, err := grab(s, 9<<20)
	require.NoError(t, err)
	require.Less(t, a.Size(), int64(22<<20))
	freeAll(t, s, []uint64{one, two})
	three, err := grab(s, 18<<20)
	require.NoError(t, err)
	require.Less(t, a.Size(), int64(22<<20), "neighbouring runs become one")
	require.NoError(t, s.Free(three))
}
