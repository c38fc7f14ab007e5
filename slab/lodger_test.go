package slab_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
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
