package slab_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// A run that is larger than the arena can ever be is refused at once: it is counted, and
// nothing else changes. The magazines of others stay what they are.
func TestFull_LargerThanArena(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		one, other := two(t, &arena.Options{Size: 1 << 20, MaxSize: 8 << 20, PageSize: page, Processes: 4, Objects: 8})
		ref := mustGrab(t, other, 100) // the page is empty after this, and at hand
		require.NoError(t, other.Free(ref))
		most := one.Floor().Pages.Geometry().MaxPages
		for i, n := range []uint64{most*uint64(page) + 1, 2 * most * uint64(page), 1 << 43, 1<<64 - 1} {
			before, looks := words(one), one.Looks()
			_, err := grab(one, n)
			require.ErrorIs(t, err, slab.ErrFull)
			require.Contains(t, err.Error(), fmt.Sprintf("run of %d pages", one.Floor().Pages.RunPages(n)))
			require.Contains(t, err.Error(), fmt.Sprintf("arena %q has at most %d pages of %d bytes", "", most, page))
			refused := &one.Floor().Tally.Refused[pages.MaxClasses]
			require.EqualValues(t, i+1, refused.Load())
			refused.Store(uint64(i))
			require.Equal(t, before, words(one))
			refused.Store(uint64(i + 1))
			require.Equal(t, looks, one.Looks())
		}
		require.EqualValues(t, 4, one.Stats().Runs.Failures)
		run, err := grab(one, most*uint64(page))
		require.NoError(t, err, "as large as the arena can be, after it has grown")
		require.NoError(t, other.Free(run))
	})
}

// words copies the segment, without the records, which a refused operation takes and
// gives back.
func words(s *slab.Slab) []uint64 {
	b := make([]byte, s.Floor().View.Limit())
	mem.CopyOut(b, s.Floor().View.Base())
	w := make([]uint64, len(b)/8)
	for i := range w {
		w[i] = binary.NativeEndian.Uint64(b[i*8:])
	}
	return w
}

// pair is two attaches of an arena whose blocks need not be freed.
func pair(t *testing.T, o *arena.Options) (one, other *slab.Slab) {
	t.Helper()
	seg := shmtest.Segment(t, o)
	return slab.Of(shmtest.OnSegment(t, seg, o, shmtest.Unchecked)), slab.Of(shmtest.OnSegment(t, seg, o, shmtest.Unchecked))
}

// holed is an arena that is full of blocks of 512 bytes, of which the other attach has
// freed one a page, and keeps it at hand.
func holed(t *testing.T, o *arena.Options) (one, other *slab.Slab, byPage map[uint64][]uint64) {
	one, other = pair(t, o)
	byPage = make(map[uint64][]uint64)
	for _, ref := range reserveAll(t, other, 512) {
		p := one.Floor().Pages.PageAt(ref)
		byPage[p] = append(byPage[p], ref)
	}
	for p, refs := range byPage {
		require.NoError(t, other.Free(refs[0]))
		byPage[p] = refs[1:]
	}
	return one, other, byPage
}

// Who is refused again and again in an arena full of pages that have free blocks of
// another size does not look at them again and again.
func TestVain_LooksOnce(t *testing.T) {
	one, _, byPage := holed(t, &arena.Options{Size: 4 << 20, Processes: 4, Objects: 8})
	full := len(byPage)
	require.Greater(t, full, 900)
	others := []uint64{16, 100, 1024, 2048, 4096, 5000, 100 << 10}
	for _, n := range others {
		before := one.Looks()
		_, err := grab(one, n)
		require.ErrorIs(t, err, slab.ErrFull)
		require.LessOrEqual(t, int(one.Looks()-before), full, "%d bytes, for the first time", n)
		before = one.Looks()
		for range 100 {
			_, err := grab(one, n)
			require.ErrorIs(t, err, slab.ErrFull)
		}
		require.Zero(t, one.Looks()-before, "%d bytes", n)
	}
}

// A page that was looked at in vain is found when it has become one of the class, though
// all its free blocks are kept by another process: also if the class has lost another
// page meanwhile, so that it has as many as before.
func TestVain_CutAnew(t *testing.T) {
	one, other, byPage := holed(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	cut := func(p, n uint64, free int) { // page p becomes one of blocks of n bytes
		freeAll(t, other, byPage[p])
		class, _ := one.Floor().Pages.ClassFor(n)
		for byPage[p] = nil; len(byPage[p]) < int(one.Floor().Pages.Classes()[class].Blocks)-free; {
			ref := mustGrab(t, other, n)
			require.Equal(t, p, one.Floor().Pages.PageAt(ref))
			byPage[p] = append(byPage[p], ref)
		}
	}
	find := func(p uint64) {
		t.Helper()
		ref, err := grab(one, 1024)
		require.NoError(t, err, "the other has one at hand")
		require.Equal(t, p, one.Floor().Pages.PageAt(ref))
		byPage[p] = append(byPage[p], ref)
		_, err = grab(one, 1024)
		require.ErrorIs(t, err, slab.ErrFull)
	}
	var all []uint64
	for p := range byPage {
		all = append(all, p)
	}
	_, err := grab(one, 1024)
	require.ErrorIs(t, err, slab.ErrFull)
	cut(all[0], 1024, 1)
	find(all[0])
	for i := range 50 {
		cut(all[i], 128, 0)
		cut(all[i+1], 1024, 1)
		find(all[i+1])
	}
}

// A page that was looked at in vain is found when it is empty, by whatever wants it.
func TestVain_Emptied(t *testing.T) {
	one, other, byPage := holed(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	sizes := []uint64{4096, 1024, 16, 3000, 2048, 512 * 8}
	for _, n := range sizes {
		_, err := grab(one, n)
		require.ErrorIs(t, err, slab.ErrFull)
	}
	i := 0
	for _, refs := range byPage {
		freeAll(t, other, refs)
		_, err := grab(one, sizes[i%len(sizes)])
		require.NoError(t, err, "%d bytes", sizes[i%len(sizes)])
		if i++; i == 50 {
			return
		}
	}
}

// Pages of three eighths are never passed by: what is freed there comes back by a hint
// that they have already.
func TestVain_Lodgers(t *testing.T) {
	for _, n := range []uint64{1536, 1024} {
		one, other := pair(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
		wide := reserveAll(t, other, 1536)
		refs, more := wide, wide
		if n == 1024 {
			refs = reserveAll(t, other, 1024)
		} else {
			more = reserveAll(t, other, 1024)
		}
		seen := make(map[uint64]bool)
		for _, ref := range more {
			if p := one.Floor().Pages.PageAt(ref); !seen[p] {
				seen[p] = true
				require.NoError(t, other.Free(ref))
			}
		}
		for range 3 {
			_, err := grab(one, n)
			require.ErrorIs(t, err, slab.ErrFull)
		}
		require.NoError(t, other.Free(refs[len(refs)/2]))
		_, err := grab(one, n)
		require.NoError(t, err, "%d bytes", n)
	}
}

// Who passes pages by while another one cuts a page for the class, and leaves it, says
// that he may have missed it.
func TestVain_CutMeanwhile(t *testing.T) {
	one, other, byPage := holed(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	require.False(t, one.Held(1024, func() {}))
	for _, refs := range byPage {
		freeAll(t, other, refs)
		require.True(t, one.Held(1024, func() { mustGrab(t, other, 1024) }))
		require.False(t, one.Held(1024, func() { mustGrab(t, other, 1024) }), "of the same page")
		return
	}
}

// Who has passed pages by, and sees only in the look after which he would give up that
// something has moved, looks at all of them before he says that the arena is full.
func TestVain_MovedLate(t *testing.T) {
	require.True(t, slab.GivesUp(0, 0, 0, 0))
	require.True(t, slab.GivesUp(time.Second, 0, 0))
	require.False(t, slab.GivesUp(0, 0, 0, 7))
	require.False(t, slab.GivesUp(time.Second, 0, 7))
	require.True(t, slab.GivesUp(time.Second, 0, 7, 8), "but once only")
}
