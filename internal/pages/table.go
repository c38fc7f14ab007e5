package pages

import (
	"errors"
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// ErrNotAllocated says that an offset does not name a block in use: it was
// freed before, or lies inside a block, or was never handed out.
var ErrNotAllocated = errors.New("not an allocated block")

// Table is the page table of one attach.
type Table struct {
	g     Geometry
	view  *mem.View
	types classTable
	grown func() // looks for pages that another process has committed
}

// NewTable returns the page table of a segment. The geometry has been checked
// against the segment's header; the table and hints of the committed pages lie
// within the view.
//
// grown is called when a page beyond the view's limit turns up; it raises the
// limit if another process has grown the segment.
func NewTable(v *mem.View, g Geometry, grown func()) (*Table, error) {
	if err := g.check(v); err != nil {
		return nil, err
	}
	return &Table{g: g, view: v, types: newClassTable(g.Shift), grown: grown}, nil
}

// has reports whether page p is committed.
func (t *Table) has(p uint64) bool {
	if p < t.Pages() {
		return true
	}
	t.grown()
	return p < t.Pages()
}

// Refresh looks for pages that another process has committed.
func (t *Table) Refresh() { t.grown() }

// Geometry returns where everything lies.
func (t *Table) Geometry() Geometry { return t.g }

// Pages returns how many pages are committed.
func (t *Table) Pages() uint64 { return t.g.Pages(t.view.Limit()) }

// Classes returns the size classes.
func (t *Table) Classes() []Class { return t.types.classes }

// ClassFor returns the class for a block of n bytes, and false if the block
// needs a run.
func (t *Table) ClassFor(n uint64) (int, bool) {
	if n > t.g.PageSize()/2 {
		return 0, false
	}
	return int(t.types.by8[(n+7)/8]), true
}

// RunPages returns how many pages a run of n bytes takes.
func (t *Table) RunPages(n uint64) uint64 {
	pages := n >> t.g.Shift
	if n != pages<<t.g.Shift {
		pages++ // rounding n up could overflow
	}
	return pages
}

func (t *Table) entry(p uint64) *entry {
	return mem.Must[entry](t.view, t.g.TableOff+p*EntrySize)
}

func (t *Table) pageOff(p uint64) uint64 { return t.g.DataOff + p<<t.g.Shift }

// bits returns word w of a page's used and freed bits.
func (t *Table) bits(p uint64, c *Class, w uint64) (used, freed *psync.Word64) {
	if c.Head == 0 {
		e := t.entry(p)
		return &e.used, &e.freed
	}
	off := t.pageOff(p) + w*8
	return mem.Must[psync.Word64](t.view, off), mem.Must[psync.Word64](t.view, off+c.words*8)
}

// place is where a block's two bits are.
type place struct {
	page        uint64
	class       int // -1: a run
	used, freed *psync.Word64
	bit         uint64
}

// locate finds the bits of the block at off. It trusts nothing it reads.
func (t *Table) locate(off uint64) (place, error) {
	p := (off - t.g.DataOff) >> t.g.Shift
	if off < t.g.DataOff || !t.has(p) {
		return place{}, fmt.Errorf("offset %#x: %w: outside the data area [%#x, %#x)", off, ErrNotAllocated, t.g.DataOff, t.g.End(t.Pages()))
	}
	rel := off - t.pageOff(p)
	e := t.entry(p)
	switch kind := e.word.Load() & kindMask; {
	case kind == kindRun && rel == 0:
		return place{page: p, class: -1, used: &e.used, freed: &e.freed, bit: 1}, nil
	case kind >= kindClass && kind-kindClass < uint64(len(t.types.classes)):
		return t.locateIn(p, int(kind-kindClass), rel)
	default:
		return place{}, fmt.Errorf("offset %#x: %w: page %d is %s", off, ErrNotAllocated, p, kindName(kind))
	}
}

func (t *Table) locateIn(p uint64, class int, rel uint64) (place, error) {
	c := &t.types.classes[class]
	i, ok := c.index(rel - c.Head)
	if rel < c.Head || !ok {
		return place{}, fmt.Errorf("offset %#x: %w: inside a block of the %d-byte class", t.pageOff(p)+rel, ErrNotAllocated, c.Size)
	}
	u, f := t.bits(p, c, i/64)
	return place{page: p, class: class, used: u, freed: f, bit: 1 << (i % 64)}, nil
}

func kindName(kind uint64) string {
	switch kind {
	case kindFree:
		return "free"
	case kindRaw:
		return "being cut"
	case kindTail:
		return "inside a run"
	default:
		return fmt.Sprintf("of kind %d", kind)
	}
}

// InUse reports whether off names a block in use.
func (t *Table) InUse(off uint64) bool {
	at, err := t.locate(off)
	return err == nil && at.used.Load()&^at.freed.Load()&at.bit != 0
}

// Size returns the size of the block at off, which must be in use.
func (t *Table) Size(off uint64) (uint64, error) {
	at, err := t.locate(off)
	if err != nil {
		return 0, err
	}
	if at.used.Load()&^at.freed.Load()&at.bit == 0 {
		return 0, fmt.Errorf("offset %#x: %w: it is free", off, ErrNotAllocated)
	}
	if at.class < 0 {
		_, n, ok := t.Run(off)
		if !ok {
			return 0, fmt.Errorf("%w: the run at %#x has %d pages, but the arena ends at %#x", mem.ErrCorrupt, off, n, t.g.End(t.Pages()))
		}
		return n << t.g.Shift, nil
	}
	return t.types.classes[at.class].Size, nil
}

// Free gives the block at off back. Exactly one of several callers that free
// the same block succeeds; the others get ErrNotAllocated and change nothing.
func (t *Table) Free(off uint64) error {
	at, err := t.locate(off)
	if err != nil {
		return err
	}
	if at.used.Load()&at.bit == 0 {
		return fmt.Errorf("offset %#x: %w: it is free", off, ErrNotAllocated)
	}
	if at.freed.Or(at.bit)&at.bit != 0 { // survivor: free, and found by the next collector or a rescan
		return fmt.Errorf("offset %#x: %w: it was freed before", off, ErrNotAllocated)
	}
	t.hintFreed(at)
	return nil
}

// Settle frees the block at off if it is in use: what a survivor does about a
// block that an open record names. The record keeps the block from being handed
// out again, so freeing it twice is freeing it once (B1).
func (t *Table) Settle(off uint64) {
	if at, err := t.locate(off); err == nil && at.used.Load()&^at.freed.Load()&at.bit != 0 {
		at.freed.Or(at.bit) // survivor: as Free
		t.hintFreed(at)
	}
}

// hintFreed points allocators at a page that has just got a freed block, unless
// its lessee will see it anyway. The freer sets the bit and then reads the page
// word, the lessee gives up the lease and then reads the bits: one of them sees
// the other.
func (t *Table) hintFreed(at place) {
	if at.class < 0 {
		t.setHint(HintFreed, at.page)
		return
	}
	if psync.IDOf(t.entry(at.page).word.Load()) == 0 {
		t.hintPage(at.page, at.class)
	}
}

// hintPage sets the hints that fit a page without lessee.
func (t *Table) hintPage(p uint64, class int) {
	switch free, used := t.count(p, class); {
	case used == 0:
		t.setHint(HintEmpty, p)
		t.setHint(HintClass+class, p)
	case free > 0:
		t.setHint(HintClass+class, p)
	}
}

// count returns how many blocks of a page can be handed out after a collection,
// and how many are in use.
func (t *Table) count(p uint64, class int) (free, used int) {
	c := &t.types.classes[class]
	for w := range c.words {
		u, f := t.bits(p, c, w)
		used += onesIn(u.Load() &^ f.Load() & c.mask(w))
	}
	return int(c.Blocks) - used, used
}
