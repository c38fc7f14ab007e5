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

	// What follows is for speed.
	entries, data, hints mem.Ptr // where they lie
	kinds, perKind       uint64  // of the hints
	groupBytes           uint64
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
	return &Table{
		g: g, view: v, types: newClassTable(g.Shift), grown: grown,
		entries: v.Base().Add(g.TableOff), data: v.Base().Add(g.DataOff), hints: v.Base().Add(g.HintsOff),
		kinds: g.kinds(), perKind: g.wordsPerKind(), groupBytes: g.groupBytes(),
	}, nil
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

// Usable returns how many bytes of a page of the class are in blocks.
func (t *Table) Usable(class int) uint64 { return t.types.bytes(&t.types.classes[class]) }

// ClassFor returns the class for a block of n bytes, and false if the block
// needs a run.
func (t *Table) ClassFor(n uint64) (int, bool) {
	if n > t.types.largest {
		return 0, false
	}
	return int(t.types.by8[(n+7)/8]), true
}

// BlockSize returns the bytes of the block that a request for n bytes gets.
func (t *Table) BlockSize(n uint64) uint64 {
	if class, ok := t.ClassFor(n); ok {
		return t.types.classes[class].Size
	}
	return t.RunPages(n) << t.g.Shift
}

// RunPages returns how many pages a run of n bytes takes.
func (t *Table) RunPages(n uint64) uint64 {
	pages := n >> t.g.Shift
	if n != pages<<t.g.Shift {
		pages++ // rounding n up could overflow
	}
	return pages
}

// entry returns the entry of a committed page. Whoever calls it knows that p is
// below Pages: from has, from a hint, from an offset below the view's limit.
func (t *Table) entry(p uint64) *entry { return mem.Cast[entry](t.entries.Add(p * EntrySize)) }

func (t *Table) pageOff(p uint64) uint64 { return t.g.DataOff + p<<t.g.Shift }

// bits returns word w of a page's used and freed bits.
func (t *Table) bits(p uint64, c *Class, w uint64) (used, freed *psync.Word64) {
	if c.Head == 0 {
		e := t.entry(p)
		return &e.used, &e.freed
	}
	at := t.data.Add(p<<t.g.Shift + w*8)
	return mem.Cast[psync.Word64](at), mem.Cast[psync.Word64](at.Add(c.words * 8))
}

// place is where a block's two bits are.
type place struct {
	page        uint64
	class       int16  // of the page; -1: a run
	serves      int16  // class of the block: another one if it is the lodger
	word        uint32 // of the page's bits
	used, freed *psync.Word64
	bit         uint64
}

// locate finds the bits of the block at off.
func (t *Table) locate(off uint64) (at place, err error) {
	err = t.locateIn(off, &at)
	return at, err
}

// locateIn is locate into *at: a struct that is returned is written in parts and
// then copied as a whole, which makes the processor wait. It trusts nothing it
// reads.
func (t *Table) locateIn(off uint64, at *place) error {
	rel := off - t.g.DataOff
	p := rel >> t.g.Shift
	if off < t.g.DataOff || off >= t.view.Limit() && !t.has(p) {
		return t.refuse(off)
	}
	e := t.entry(p)
	in := rel & (1<<t.g.Shift - 1)
	at.page, at.used, at.freed = p, &e.used, &e.freed
	class := e.word.Load()&kindMask - kindClass
	if class >= uint64(len(t.types.classes)) {
		if class+kindClass == kindRun && in == 0 {
			at.class, at.bit = -1, 1
			return nil
		}
		return t.refuse(off)
	}
	c := &t.types.classes[class]
	i, ok := c.index(in - c.Head)
	if !ok {
		return t.refuse(off)
	}
	if c.Head != 0 {
		at.used, at.freed = t.bits(p, c, i/64)
	}
	at.class, at.serves, at.word, at.bit = int16(class), int16(class), uint32(i/64), 1<<(i%64)
	if i == c.Blocks {
		at.serves = int16(c.Lodger)
	}
	return nil
}

// refuse says why off is not that of a block.
func (t *Table) refuse(off uint64) error {
	p := (off - t.g.DataOff) >> t.g.Shift
	if off < t.g.DataOff || !t.has(p) {
		return fmt.Errorf("offset %#x: %w: outside the data area [%#x, %#x)", off, ErrNotAllocated, t.g.DataOff, t.g.End(t.Pages()))
	}
	kind := t.entry(p).word.Load() & kindMask
	if class := kind - kindClass; class < uint64(len(t.types.classes)) {
		return fmt.Errorf("offset %#x: %w: inside a block of the %d-byte class", off, ErrNotAllocated, t.types.classes[class].Size)
	}
	return fmt.Errorf("offset %#x: %w: page %d is %s", off, ErrNotAllocated, p, kindName(kind))
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
		return 0, notInUse(off)
	}
	if at.class < 0 {
		_, n, ok := t.Run(off)
		if !ok {
			return 0, fmt.Errorf("%w: the run at %#x has %d pages, but the arena ends at %#x", mem.ErrCorrupt, off, n, t.g.End(t.Pages()))
		}
		return n << t.g.Shift, nil
	}
	return t.types.classes[at.serves].Size, nil
}

// Free gives the block at off back. Of several callers that free the same block
// one succeeds, and the others get ErrNotAllocated, as long as nobody collects the
// page meanwhile; the block is handed out once in any case.
func (t *Table) Free(off uint64) error {
	var at place
	if err := t.locateIn(off, &at); err != nil {
		return err
	}
	if !t.setFreed(&at, off) {
		return notInUse(off)
	}
	t.hintFreed(&at, false)
	return nil
}

// setFreed frees a block, and reports whether it was in use. If somebody else has
// freed it since we looked, and a third collected it, freed without used remains,
// which means free. Looking at the used bit again would not tell: once freed is
// set, it may be a third who has collected what we freed.
func (t *Table) setFreed(at *place, off uint64) bool {
	if at.used.Load()&^at.freed.Load()&at.bit == 0 {
		return false
	}
	t.poison(at, off)
	return at.freed.Or(at.bit)&at.bit == 0 // survivor: free, and found by the next collector or a rescan
}

func notInUse(off uint64) error {
	return fmt.Errorf("offset %#x: %w: it is free", off, ErrNotAllocated)
}

// Settle frees the block at off if it is in use: what a survivor does about a
// block that an open record names. The record keeps the block from being handed
// out again, so freeing it twice is freeing it once (B1).
func (t *Table) Settle(off uint64) {
	var at place
	if err := t.locateIn(off, &at); err == nil && at.used.Load()&^at.freed.Load()&at.bit != 0 {
		t.poison(&at, off)
		at.freed.Or(at.bit) // survivor: as FreeRound
		t.hintFreed(&at, false)
	}
}

// hintFreed points allocators at a page that has just got a freed block: those
// of all processes, or, if this one keeps it for itself, only those who find
// nothing else.
func (t *Table) hintFreed(at *place, held bool) {
	switch {
	case at.class < 0:
		t.setHint(HintFreed, at.page)
		return
	case held:
		t.setHint(HintHeld, at.page)
	default:
		t.setHint(HintClass+int(at.serves), at.page)
	}
	if at.used.Load()&^at.freed.Load() == 0 && t.empty(at.page, int(at.class)) {
		t.setHint(HintEmpty, at.page)
	}
}

// hintPage sets the hints that fit a page.
func (t *Table) hintPage(p uint64, class int) {
	c := &t.types.classes[class]
	free, lodger := t.free(p, c)
	if free > 0 {
		t.setHint(HintClass+class, p)
	}
	if lodger > 0 {
		t.setHint(HintClass+c.Lodger, p)
	}
	if free+lodger == c.All {
		t.setHint(HintEmpty, p)
	}
}

// empty reports whether no block of a page is in use.
func (t *Table) empty(p uint64, class int) bool {
	c := &t.types.classes[class]
	free, lodger := t.free(p, c)
	return free+lodger == c.All
}

// free returns how many blocks of a page are free, or will be once they have been
// collected: of its class, and of that of its lodger.
func (t *Table) free(p uint64, c *Class) (own, lodger uint64) {
	n, last := c.All, c.lodger() // in one word, read once: the two numbers are of one moment
	for w := range c.words {
		u, f := t.bits(p, c, w)
		inUse := u.Load() &^ f.Load() & c.mask(w)
		n -= uint64(onesIn(inUse))
		last &^= inUse
	}
	if last != 0 {
		lodger = 1
	}
	return n - lodger, lodger
}
