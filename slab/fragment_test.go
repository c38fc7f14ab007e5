package slab_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// fragmented is an arena full of blocks of one class.
type fragmented struct {
	t          *testing.T
	one, other *slab.Slab
	size       uint64
	kept       []uint64 // one block of each page
	pages      int
}

// TestFragmentation is what nginx's slab and lua_shared_dict are known for: no
// memory with memory free. An arena is filled with blocks of one class, and all
// but one of each page are freed, half of them by another process.
func TestFragmentation(t *testing.T) {
	for _, page := range []int{4096, 65536} {
		for _, size := range []uint64{16, 64, 512, 2048} {
			if mem.Race && uint64(page)/size > 128 {
				continue // one goroutine, and many blocks
			}
			t.Run(fmt.Sprintf("%dKiB/%d", page>>10, size), func(t *testing.T) {
				f := newFragmented(t, page, size)
				f.sparse()
				f.halfEmpty()
				freeAll(t, f.other, f.kept)
				quiet(t, f.one)
			})
		}
	}
}

func newFragmented(t *testing.T, page int, size uint64) *fragmented {
	o := &arena.Options{Size: int64(40*page) + 64<<10, PageSize: page, Processes: 4, Objects: 8}
	f := &fragmented{t: t, size: size}
	f.one, f.other = two(t, o)
	f.pages = int(f.one.Floor().Pages.Pages())
	refs := reserveAll(t, f.one, size)
	require.Len(t, refs, f.pages*f.blocks(size))
	has := make(map[uint64]bool)
	for i, ref := range refs {
		p := f.one.Floor().Pages.PageAt(ref)
		if !has[p] {
			has[p] = true
			f.kept = append(f.kept, ref)
			continue
		}
		require.NoError(t, f.by(i).Free(ref))
	}
	require.Len(t, f.kept, f.pages)
	return f
}

func (f *fragmented) by(i int) *slab.Slab {
	if i%2 == 0 {
		return f.one
	}
	return f.other
}

// blocks returns how many blocks of a size a page has; a run is one of one page.
func (f *fragmented) blocks(size uint64) int {
	t := f.one.Floor().Pages
	if class, ok := t.ClassFor(size); ok {
		return int(t.Classes()[class].Blocks)
	}
	return 1
}

// take takes all it can get, by each attach in turn, and requires at least what
// theory allows with pages that do not move.
func (f *fragmented) take(what string, size uint64, theory int) {
	f.t.Helper()
	for i := range 2 {
		refs := reserveAll(f.t, f.by(i), size)
		share := 100.0
		if theory > 0 {
			share = 100 * float64(len(refs)) / float64(theory)
		}
		f.t.Logf("%s, %5d bytes: %6d of %6d, %5.1f %%", what, size, len(refs), theory, share)
		require.GreaterOrEqual(f.t, len(refs), theory)
		freeAll(f.t, f.by(i+1), refs)
	}
}

// sparse: one block is left in each page.
func (f *fragmented) sparse() {
	page := f.one.Floor().Pages.Geometry().PageSize()
	for _, size := range []uint64{16, 64, 512, 2048, page} {
		theory := 0
		if size == f.size {
			theory = f.pages * (f.blocks(size) - 1)
		}
		f.take("one block left a page", size, theory)
	}
}

// halfEmpty: and in every second page none. The empty pages are good for
// everything.
func (f *fragmented) halfEmpty() {
	kept := f.kept[:0]
	for i, ref := range f.kept {
		if i%2 == 1 {
			kept = append(kept, ref)
			continue
		}
		require.NoError(f.t, f.by(i/2).Free(ref))
	}
	empty := f.pages - len(kept)
	f.kept = kept
	page := f.one.Floor().Pages.Geometry().PageSize()
	for _, size := range []uint64{page, 2048, 512, 64, 16, f.size, page} {
		theory := empty * f.blocks(size)
		if size == f.size {
			theory += len(kept) * (f.blocks(size) - 1)
		}
		f.take("every second page empty", size, theory)
	}
	f.take("every second page empty", 2*page, 0)
}
