package slab_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// balanced checks what holds whenever nobody writes: each page is counted once.
func balanced(t testing.TB, a *arena.Arena, st *slab.Stats) {
	t.Helper()
	require.EqualValues(t, a.Size(), st.Committed)
	require.Equal(t, a.MaxSize(), st.Max)
	require.EqualValues(t, a.PageSize(), st.PageSize)
	require.Equal(t, st.Committed, st.Metadata+int64(st.Pages)*st.PageSize)
	n, bytes := st.FreePages+st.CutPages+st.Runs.Pages, int64(0)
	for _, c := range st.Classes {
		n += c.Pages
		require.LessOrEqual(t, c.Pages, c.MostPages)
		bytes += int64(c.Pages)*st.PageSize - int64(c.Used+c.Free)*c.Size - c.Waste
	}
	require.Zero(t, bytes, "what is in pages, and neither in blocks nor wasted")
	require.Equal(t, st.Pages, n)
	require.LessOrEqual(t, st.Runs.Pages, st.Runs.MostPages)
	require.LessOrEqual(t, st.LargestFree, st.FreePages)
	require.Equal(t, int64(st.LargestFree)*st.PageSize, st.LargestBytes)
}

// class returns the part of a request size.
func class(s *slab.Slab, st *slab.Stats, n uint64) *slab.ClassStats {
	i, ok := s.Floor().Pages.ClassFor(n)
	if !ok {
		panic("of no class")
	}
	return &st.Classes[i]
}

// Every class is counted by what was asked of it: blocks in use, pages, their
// most, requests and refusals.
func TestStats_Classes(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		a := shmtest.Heap(t, small(page))
		s := slab.Of(a)
		st := s.Stats()
		balanced(t, a, &st)
		require.Equal(t, st.Pages, st.FreePages)
		require.Equal(t, st.Pages, st.LargestFree)
		for i, c := range s.Floor().Pages.Classes() {
			refs := reserveAll(t, s, c.Size)
			st := s.Stats()
			balanced(t, a, &st)
			got, waste := st.Classes[i], int64(page)-int64(c.Blocks*c.Size)
			if c.Lodger != 0 {
				require.Equal(t, int64(page/4), waste)
				require.Equal(t, st.Pages, st.Classes[c.Lodger].Free, "one in each page")
				waste = 0
			}
			require.Equal(t, slab.ClassStats{
				Size: int64(c.Size), Pages: st.Pages, MostPages: st.Pages, Used: len(refs),
				Requests: uint64(len(refs)) + 1, Failures: 1, Waste: int64(st.Pages) * waste,
			}, got)
			require.Zero(t, st.FreePages)
			freeAll(t, s, refs)
			st = s.Stats()
			require.Equal(t, len(refs), st.Classes[i].Free, "until the pages serve somebody else")
			require.Zero(t, st.Classes[i].Used)
		}
		st = s.Stats()
		for i := range st.Classes[:len(st.Classes)-1] {
			require.Zero(t, st.Classes[i].Pages)
			require.Equal(t, st.Pages, st.Classes[i].MostPages)
		}
	})
}

func TestStats_Runs(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 256 << 10, MaxSize: 1 << 20, Processes: 4, Objects: 8})
	s := slab.Of(a)
	pages := s.Stats().Pages
	one, two := mustGrab(t, s, 5*4096), mustGrab(t, s, 2*4096+1)
	_, err := grab(s, 4<<20)
	require.ErrorIs(t, err, slab.ErrFull)
	st := s.Stats()
	balanced(t, a, &st)
	require.Equal(t, slab.RunStats{Count: 2, Pages: 8, MostPages: 8, Requests: 3, Failures: 1}, st.Runs)
	require.Equal(t, pages-8, st.FreePages)
	require.Equal(t, pages-8, st.LargestFree)
	require.NoError(t, s.Free(one))
	st = s.Stats()
	balanced(t, a, &st)
	require.Equal(t, slab.RunStats{Count: 2, Pages: 8, MostPages: 8, Freed: 1, FreedPages: 5, Requests: 3, Failures: 1}, st.Runs)
	three := mustGrab(t, s, uint64(pages-7)*4096) // larger than what is left: the freed one is taken apart
	st = s.Stats()
	balanced(t, a, &st)
	require.Equal(t, pages-4, st.Runs.Pages)
	require.Equal(t, 2, st.Runs.Count)
	require.Zero(t, st.Runs.Freed)
	require.GreaterOrEqual(t, st.FreePages, 5)
	freeAll(t, s, []uint64{two, three})
}

// Free pages that do not lie in a row are not taken for a large run.
func TestStats_LargestFree(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	n := s.Stats().Pages
	var refs []uint64
	for range n {
		refs = append(refs, mustGrab(t, s, 4096))
	}
	require.Zero(t, s.Stats().LargestFree)
	for _, i := range []int{2, 5, 6, 7, 9, 10} {
		require.NoError(t, s.Free(refs[i]))
		refs[i] = 0
	}
	refs = append(refs, mustGrab(t, s, 4096)) // the freed ones are taken apart, and the first page is taken again
	st := s.Stats()
	require.Equal(t, 5, st.FreePages)
	require.Equal(t, 3, st.LargestFree)
	for _, ref := range refs {
		if ref != 0 {
			require.NoError(t, s.Free(ref))
		}
	}
}

// Blocks of others are seen; what they have handed out may be told later, and is
// whole once they have looked themselves.
func TestStats_Shared(t *testing.T) {
	seg := shmtest.Segment(t, small(4096))
	a := shmtest.OnSegment(t, seg, nil)
	one, other := slab.Of(a), slab.Of(shmtest.OnSegment(t, seg, nil))
	var refs []uint64
	for range 350 {
		refs = append(refs, mustGrab(t, one, 100), mustGrab(t, other, 100))
	}
	st := one.Stats()
	balanced(t, a, &st)
	c := class(one, &st, 100)
	require.Equal(t, 700, c.Used)
	require.LessOrEqual(t, c.Requests, uint64(700))
	require.GreaterOrEqual(t, c.Requests, uint64(350), "our own are all there")
	require.EqualValues(t, 700, class(other, ptr(other.Stats()), 100).Requests)
	require.EqualValues(t, 700, class(one, ptr(one.Stats()), 100).Requests)
	freeAll(t, one, refs)
}

func ptr[T any](v T) *T { return &v }

// A process that may only read sees the same, and writes nothing.
func TestStats_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, small(4096))
	s := slab.Of(a)
	refs := []uint64{mustGrab(t, s, 100), mustGrab(t, s, 10000), mustGrab(t, s, 30)}
	want := s.Stats()
	require.EqualValues(t, 1, class(s, &want, 100).Requests)
	reader := slab.Of(shmtest.Again(t, a, &arena.Options{ReadOnly: true}))
	require.Equal(t, want, reader.Stats())
	freeAll(t, s, refs)
}

// Where the tallies are off, the pages are believed, and nothing is mended
// behind anybody's back.
func TestStats_Drift(t *testing.T) {
	a := shmtest.Heap(t, small(4096))
	s := slab.Of(a)
	refs := []uint64{mustGrab(t, s, 100), mustGrab(t, s, 10000)}
	want := s.Stats()
	tally := s.Floor().Tally
	for kind := range tally.Cut {
		tally.Cut[kind].Store(1 << 63)
		tally.Most[kind].Store(0)
	}
	before, err := a.Freeze()
	require.NoError(t, err)
	got := s.Stats()
	after, err := a.Freeze()
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, want, got)
	freeAll(t, s, refs)
}

// Whoever is in a page is named, also when nobody knows him.
func TestStats_Inside(t *testing.T) {
	a := shmtest.Heap(t, small(4096))
	s := slab.Of(a)
	ref := mustGrab(t, s, 100)
	require.Empty(t, s.Stats().Inside)
	self, ok := a.Self()
	require.True(t, ok)
	p := s.Floor().Pages.PageAt(ref &^ 4095)
	class, _ := s.Floor().Pages.ClassFor(100)
	var at psync.Word64
	require.True(t, s.Floor().Pages.Enter(p, class, s.Floor().Owner.ID(), &at))
	require.Equal(t, []slab.Inside{{Process: self, Pages: 1}}, s.Stats().Inside)
	s.Floor().Pages.Leave(p, class, &at)
	stranger := psync.MakeID(3, 77)
	require.True(t, s.Floor().Pages.Enter(p, class, stranger, &at))
	require.Equal(t, []slab.Inside{{Process: arena.ProcessInfo{Slot: 3, Incarnation: 77}, Pages: 1}}, s.Stats().Inside)
	s.Floor().Pages.Leave(p, class, &at)
	require.NoError(t, s.Free(ref))
}

// Pages with blocks at hand are counted as long as there are any.
func TestStats_Held(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	ref := mustGrab(t, s, 100)
	require.Equal(t, 1, s.Stats().HeldPages)
	refs := reserveAll(t, s, 100)
	require.Zero(t, s.Stats().HeldPages, "nothing is free")
	freeAll(t, s, append(refs, ref))
}

// What each process keeps at hand is told apart, also in the text.
func TestStats_HeldBy(t *testing.T) {
	seg := shmtest.Segment(t, small(4096))
	a, b := shmtest.OnSegment(t, seg, nil), shmtest.OnSegment(t, seg, nil)
	one, other := slab.Of(a), slab.Of(b)
	refs := []uint64{mustGrab(t, one, 100), mustGrab(t, other, 512), mustGrab(t, other, 1024), mustGrab(t, other, 1024)}
	self, _ := a.Self()
	second, _ := b.Self()
	want := []slab.Held{{Process: self, Pages: 1, Blocks: 35}, {Process: second, Pages: 2, Blocks: 7 + 2}}
	require.Equal(t, want, one.Stats().Held)
	require.Equal(t, want, other.Stats().Held)
	require.Equal(t, 3, one.Stats().HeldPages)
	var text strings.Builder
	require.NoError(t, one.Dump(&text))
	require.Contains(t, text.String(), fmt.Sprintf("kept at hand: 9 blocks in 2 pages by slot %d#%d, process %d", second.Slot, second.Incarnation, second.PID))

	// Who finds nothing else takes them.
	more := reserveAll(t, one, 512)
	want[1].Pages, want[1].Blocks = 1, 2
	require.Equal(t, want, one.Stats().Held)
	freeAll(t, one, append(refs, more...))
}

// Beside writers the numbers are not exact, but never nonsense; and nobody's
// count is lost by being looked at.
func TestRace_Stats(t *testing.T) {
	one, other := two(t, small(4096))
	rounds := 20000
	if mem.Race || testing.Short() {
		rounds = 2000
	}
	var writers, readers sync.WaitGroup
	var handed atomic.Uint64
	var done atomic.Bool
	for g := range 4 {
		s := []*slab.Slab{one, other}[g%2]
		writers.Go(func() {
			for i := range rounds {
				if ref, err := grab(s, uint64(16+i%100)); err == nil {
					handed.Add(1)
					if err := s.Free(ref); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for _, s := range []*slab.Slab{one, other} {
		readers.Go(func() {
			for !done.Load() {
				st := s.Stats()
				if st.FreePages > st.Pages || st.Runs.Pages != 0 {
					t.Errorf("%+v", st)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	one.Stats()
	st := other.Stats()
	var requests, failures uint64
	for _, c := range st.Classes {
		requests, failures = requests+c.Requests, failures+c.Failures
	}
	require.Equal(t, handed.Load(), requests-failures)
	require.Equal(t, uint64(4*rounds), requests)
}

// After Close there is nothing to be seen, and nothing to be hit.
func TestStats_Closed(t *testing.T) {
	seg := shmtest.Segment(t, small(4096))
	a, err := arena.Attach(seg, nil)
	require.NoError(t, err)
	s := slab.Of(a)
	require.NoError(t, a.Close())
	require.NotPanics(t, func() { s.Stats() })
}

// What describes the pages of an arena is small beside the blocks they hold: the
// page table, the hints, and the bits that lie in the pages themselves. An arena
// of a few pages has hint words that it does not fill.
func TestBound_Metadata(t *testing.T) {
	bounds := map[int64]struct{ small, large float64 }{ // blocks of 64 bytes; of 512 and more
		128 << 10: {2.5, 1.25},
		1 << 20:   {2.5, 1},
		16 << 20:  {2.5, 1},
		17 << 20:  {2.5, 1}, // a second group of hints, for the last pages of 4 KiB
	}
	for size, bound := range bounds {
		if mem.Race && size > 1<<20 {
			continue
		}
		for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
			s := slab.Of(shmtest.Heap(t, &arena.Options{Size: size, PageSize: page, Processes: 4, Objects: 8}))
			for _, n := range []uint64{64, 512, uint64(page) / 8, uint64(page) / 3 &^ 7, uint64(page) / 2} {
				share, padded := metadata(t, s, n)
				t.Logf("%5d KiB, pages of %2d KiB, blocks of %5d: %.3f %% (%.3f %% with the padding before the pages)",
					size>>10, page>>10, n, share, padded)
				limit := bound.large
				if n == 64 {
					limit = bound.small
				}
				require.LessOrEqual(t, share, limit)
			}
		}
	}
}

// docs/SPACE.md says what TestBound_Metadata bounds, rounded.
func TestBound_MetadataByHand(t *testing.T) {
	all, err := os.ReadFile("../docs/SPACE.md")
	require.NoError(t, err)
	for size, name := range map[int64]string{128 << 10: "128 KiB", 1 << 20: "1 MiB", 16 << 20: "16 MiB", 17 << 20: "17 MiB"} {
		if mem.Race && size > 1<<20 {
			continue
		}
		row := "| " + name + " |"
		for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
			s := slab.Of(shmtest.Heap(t, &arena.Options{Size: size, PageSize: page, Processes: 4, Objects: 8}))
			small, _ := metadata(t, s, 64)
			large, _ := metadata(t, s, 512)
			row += fmt.Sprintf(" %.2f, %.2f |", small, large)
		}
		require.True(t, strings.Contains(string(all), row+"\n"), "docs/SPACE.md has no row %s", row)
	}
}

// metadata fills an arena and returns what describes the pages, in percent of
// the bytes in blocks.
func metadata(t *testing.T, s *slab.Slab, n uint64) (share, padded float64) {
	t.Helper()
	refs := reserveAll(t, s, n)
	defer freeAll(t, s, refs)
	i, ok := s.Floor().Pages.ClassFor(n)
	require.True(t, ok)
	st := s.Stats()
	c, g := st.Classes[i], s.Floor().Pages.Geometry()
	require.EqualValues(t, g.MaxPages, c.Pages, "all pages are filled")
	require.Zero(t, c.Free)
	heads := uint64(c.Pages) * s.Floor().Pages.Classes()[i].Head
	table := g.HintsEnd(g.MaxPages) - g.HintsOff + g.MaxPages*pages.EntrySize
	percent := 100 / (float64(c.Used) * float64(c.Size))
	return float64(table+heads) * percent, float64(g.DataOff-g.HintsOff+heads) * percent
}

// What a block is larger than what was asked for, as a part of the block. It is a
// quarter at most, but for 17 bytes: blocks are multiples of 8.
func TestBound_ClassWaste(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		table := slab.Of(shmtest.Heap(t, small(page))).Floor().Pages
		var worst, total, bytes, asked float64
		var at uint64
		for n := uint64(16); n <= uint64(page)/2; n++ {
			class, ok := table.ClassFor(n)
			require.True(t, ok)
			size := table.Classes()[class].Size
			require.GreaterOrEqual(t, size, n)
			waste := float64(size-n) / float64(size)
			total, bytes, asked = total+waste, bytes+float64(size), asked+float64(n)
			if waste > worst {
				worst, at = waste, n
			}
			if n != 17 {
				require.LessOrEqual(t, waste, 0.25, "%d bytes in a block of %d", n, size)
			}
		}
		mean := total / float64(page/2-15)
		t.Logf("worst %.2f %% (%d bytes), mean of all sizes %.2f %%, of all bytes %.2f %%", 100*worst, at, 100*mean, 100*(bytes-asked)/bytes)
		require.Less(t, worst, 0.292)
		require.LessOrEqual(t, mean, 0.12)
	})
}
