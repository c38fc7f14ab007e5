package slab_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

func TestMain(m *testing.M) { shmtest.Main(m, roles) }

// roles are what child processes of these tests do.
var roles = map[string]func(args []string) int{}

// cells is a small structure: n reference words behind a lock, a version and a
// count. It is all that a real one does with the allocator.
type cells struct {
	s   *slab.Slab
	obj *arena.Object
	n   int
}

const (
	cellsLock    = 0 // offsets in the root block
	cellsVersion = 8
	cellsCount   = 16
	cellsFirst   = 64
)

func cellsSpec(n int) arena.Spec {
	return arena.Spec{
		Kind: arena.KindMap, Fingerprint: 1, Size: cellsFirst + uint64(n)*8,
		Trace: arena.Trace{First: cellsFirst, Stride: 8, Words: 1, Count: uint64(n)},
	}
}

func createCells(t testing.TB, a *arena.Arena, n int) *cells {
	t.Helper()
	s, spec := slab.Of(a), cellsSpec(n)
	obj, err := s.Create("cells", spec, func(p mem.Ptr) { mem.Zero(p, spec.Size) })
	require.NoError(t, err)
	return &cells{s: s, obj: obj, n: n}
}

func openCells(a *arena.Arena, n int) (*cells, error) {
	obj, err := a.OpenObject("cells", cellsSpec(n))
	return &cells{s: slab.Of(a), obj: obj, n: n}, err
}

func mustOpenCells(t testing.TB, a *arena.Arena, n int) *cells {
	t.Helper()
	c, err := openCells(a, n)
	require.NoError(t, err)
	return c
}

func (c *cells) at(i int) uint64 { return c.obj.Ref() + cellsFirst + uint64(i)*8 }

func (c *cells) word(off uint64) *psync.Word64 { return mem.Must[psync.Word64](c.s.Floor().View, off) }

func (c *cells) ref(i int) uint64 { return c.word(c.at(i)).Load() & intent.RefMask }

func (c *cells) locked(f func()) error {
	off := c.obj.Ref() + cellsLock
	lock := mem.Must[psync.Mutex](c.s.Floor().View, off)
	if err := lock.Lock(c.s.Floor().Owner, func() error { return c.s.Floor().Records.SettleLock(off) }); err != nil {
		return slab.CloseError(err)
	}
	f()
	lock.Unlock()
	return nil
}

// put stores a block of n bytes, filled with a pattern of seed, in cell i; the
// block that was there is freed.
func (c *cells) put(i int, n, seed uint64) error {
	op, err := c.s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	ref, err := op.Reserve(n)
	if err != nil {
		return err
	}
	c.fill(ref, n, seed)
	return c.publish(&op, i, ref)
}

func (c *cells) publish(op *slab.Op, i int, ref uint64) error {
	return c.locked(func() {
		ch := c.change(i, ref)
		c.s.Floor().Records.Apply(op.Record, &ch)
	})
}

func (c *cells) change(i int, ref uint64) intent.Change {
	old := c.word(c.at(i)).Load()
	count := c.word(c.obj.Ref() + cellsCount).Load()
	if old == 0 && ref != 0 {
		count++
	} else if old != 0 && ref == 0 {
		count--
	}
	root := c.obj.Ref()
	return intent.Change{
		Lock: root + cellsLock, Target: c.at(i), Old: old, New: ref,
		Version: root + cellsVersion, Count: root + cellsCount, After: count,
	}
}

// del empties cell i and frees its block.
func (c *cells) del(i int) error {
	op, err := c.s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	return c.publish(&op, i, 0)
}

// fill writes {size, seed} and a pattern of seed over the whole block.
func (c *cells) fill(ref, n, seed uint64) {
	b := make([]byte, max(16, n))
	binary.LittleEndian.PutUint64(b, n)
	binary.LittleEndian.PutUint64(b[8:], seed)
	for i := 16; i < len(b); i++ {
		b[i] = byte(seed) + byte(i)
	}
	mem.CopyIn(c.s.Floor().View.Base().Add(ref), b)
}

// get returns size and seed of cell i, having checked that the pattern is
// whole; 0, 0 for an empty cell.
func (c *cells) get(i int) (n, seed uint64, err error) {
	ref := c.ref(i)
	if ref == 0 {
		return 0, 0, nil
	}
	size, err := c.s.Size(ref)
	if err != nil {
		return 0, 0, err
	}
	b := make([]byte, size)
	mem.CopyOut(b, c.s.Floor().View.Base().Add(ref))
	n, seed = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if n > size {
		return 0, 0, fmt.Errorf("cell %d: %d bytes in a block of %d", i, n, size)
	}
	for j := 16; j < int(n); j++ {
		if b[j] != byte(seed)+byte(j) {
			return 0, 0, fmt.Errorf("cell %d: byte %d of %d is %#x, want the pattern of %#x", i, j, n, b[j], seed)
		}
	}
	return n, seed, nil
}

// check reads every cell, and compares the count.
func (c *cells) check(t testing.TB) {
	t.Helper()
	used := 0
	for i := range c.n {
		_, _, err := c.get(i)
		require.NoError(t, err)
		if c.ref(i) != 0 {
			used++
		}
	}
	require.EqualValues(t, used, c.word(c.obj.Ref()+cellsCount).Load(), "count")
}

// room returns how many more blocks of a class fit into the pages there are:
// free pages, empty ones, freed runs, and free blocks of pages of the class.
func room(s *slab.Slab, class int) int {
	t := s.Floor().Pages
	g := t.Geometry()
	used := make(map[uint64]uint64) // blocks by page; a run counts on each page
	ours := make(map[uint64]uint64) // of the class
	t.Census(func(b pages.Block) {
		for p := t.PageAt(b.Off); p <= t.PageAt(b.Off+b.Size-1); p++ {
			if used[p]++; b.Size == t.Classes()[class].Size {
				ours[p]++
			}
		}
	})
	n := uint64(0)
	for p := range t.Pages() {
		kind := mem.Must[psync.Word64](s.Floor().View, g.TableOff+p*pages.EntrySize).Load() & 0xff
		blocks := t.Classes()[class].Blocks
		switch {
		case used[p] == 0:
			n += blocks
		case kind == 16+uint64(class):
			n += blocks - ours[p]
		case kind >= 16 && class != 0 && t.Classes()[kind-16].Lodger == class:
			n += 1 - ours[p]
		}
	}
	return int(n)
}

// quiet checks that nobody is in any page: whoever was left inside would keep it
// for ever.
func quiet(t testing.TB, s *slab.Slab) {
	t.Helper()
	g := s.Floor().Pages.Geometry()
	for p := range s.Floor().Pages.Pages() {
		word := mem.Must[psync.Word64](s.Floor().View, g.TableOff+p*pages.EntrySize).Load()
		require.Zero(t, psync.IDOf(word), "somebody is in page %d: word %#x", p, word)
	}
}

// reserveAll reserves and keeps blocks of n bytes until the arena is full, and
// returns them. The blocks belong to nobody: they are freed by freeAll.
func reserveAll(t testing.TB, s *slab.Slab, n uint64) (refs []uint64) {
	t.Helper()
	for {
		ref, err := grab(s, n)
		if err != nil {
			require.ErrorIs(t, err, slab.ErrFull)
			return refs
		}
		refs = append(refs, ref)
	}
}

// grab allocates a block that nothing refers to.
func grab(s *slab.Slab, n uint64) (uint64, error) {
	op, err := s.Begin()
	if err != nil {
		return 0, err
	}
	defer op.End()
	ref, err := op.Reserve(n)
	if err == nil {
		op.Record.Close()
	}
	return ref, err
}

func freeAll(t testing.TB, s *slab.Slab, refs []uint64) {
	t.Helper()
	for _, ref := range refs {
		require.NoError(t, s.Free(ref))
	}
}

func dirLock(s *slab.Slab) *psync.Mutex { return mem.Must[psync.Mutex](s.View(), 256) }
