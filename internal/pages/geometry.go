package pages

import (
	"fmt"
	"math/bits"

	"github.com/shmkit/shmkit/internal/mem"
)

// Page sizes, as shifts.
const (
	MinShift = 12
	MaxShift = 16
)

// Geometry says where the page table, its hints and the data lie. It follows
// from a few numbers in the arena's header.
type Geometry struct {
	Shift    uint   // log2 of the page size
	MaxPages uint64 // pages the arena can grow to
	HintsOff uint64
	TableOff uint64
	DataOff  uint64 // of page 0, a multiple of 4096
}

// Plan lays page table, hints and data out from offset off on, within max
// bytes: as many pages as fit.
func Plan(off, max uint64, shift uint) (Geometry, error) {
	if shift < MinShift || shift > MaxShift {
		return Geometry{}, fmt.Errorf("page size %d: want a power of two from %d to %d", uint64(1)<<shift, 1<<MinShift, 1<<MaxShift)
	}
	// More pages never have smaller tables: the largest number that fits is found
	// by halving.
	fits, most := uint64(0), (max-min(max, off))>>shift
	for fits < most {
		n := most - (most-fits)/2
		if g := lay(off, n, shift); g.End(n) <= max {
			fits = n
		} else {
			most = n - 1
		}
	}
	if fits == 0 {
		return Geometry{}, fmt.Errorf("%d bytes leave no room for a page of %d bytes behind the header of %d", max, uint64(1)<<shift, off)
	}
	return lay(off, fits, shift), nil
}

// lay lays the tables of n pages out from offset off on.
func lay(off, n uint64, shift uint) Geometry {
	g := Geometry{Shift: shift, MaxPages: n, HintsOff: alignUp(off, 64)}
	g.TableOff = g.HintsOff + alignUp(g.hintBytes(n), 64)
	g.DataOff = alignUp(g.TableOff+n*EntrySize, 4096)
	return g
}

// PageSize returns the size of a page in bytes.
func (g Geometry) PageSize() uint64 { return 1 << g.Shift }

// Pages returns how many pages a segment of size bytes holds.
func (g Geometry) Pages(size uint64) uint64 {
	if size < g.DataOff {
		return 0
	}
	return min((size-g.DataOff)>>g.Shift, g.MaxPages)
}

// End returns the offset behind the first n pages.
func (g Geometry) End(n uint64) uint64 { return g.DataOff + n<<g.Shift }

// wordsPerKind is the number of hint words of one kind in a group.
func (g Geometry) wordsPerKind() uint64 { return min(64, (g.MaxPages+63)/64) }

// kinds is the number of hint kinds: the classes of this page size, and those
// before them.
func (g Geometry) kinds() uint64 { return HintClass + uint64(len(classSizes(g.Shift))) }

func (g Geometry) groupBytes() uint64 { return g.kinds() * 8 * (1 + g.wordsPerKind()) }

func (g Geometry) hintBytes(pages uint64) uint64 {
	return (pages + groupPages - 1) / groupPages * g.groupBytes()
}

// HintsEnd returns the offset behind the hints of the first n pages.
func (g Geometry) HintsEnd(n uint64) uint64 { return g.HintsOff + g.hintBytes(n) }

// TableEnd returns the offset behind the entries of the first n pages.
func (g Geometry) TableEnd(n uint64) uint64 { return g.TableOff + n*EntrySize }

func alignUp(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }

// Class describes the blocks of one size class.
type Class struct {
	Size   uint64 // of a block, in bytes
	Blocks uint64 // of this size in a page
	Head   uint64 // bytes at the start of the page that hold its bits
	Lodger int    // the class of one block more, the last of the page; 0: there is none
	All    uint64 // blocks in a page, with the lodger
	words  uint64 // of used bits, and of freed bits
	recip  uint64 // ceil(2^32 / Size): index = rel * recip >> 32
}

// Classes returns the size classes of a page size: four to each doubling, as
// multiples of 8 allow, so that no more than a fifth of a block is wasted (the
// spacing is that of jemalloc), and above an eighth of a page the whole fractions
// of it, so that a page of large blocks has no unused end.
//
// From a third to half of a page is far: a block for a request between them could
// be a third empty. There is one class more, of three eighths. Its page has room
// for two blocks and a quarter of a page, and that is a block of the class of that
// size: its lodger.
//
//	| three eighths | three eighths | quarter |
func Classes(shift uint) []Class {
	var cs []Class
	for _, size := range classSizes(shift) {
		cs = append(cs, newClass(size, 1<<shift))
	}
	wide, quarter := len(cs)-2, len(cs)-4
	cs[wide].Lodger, cs[wide].All = quarter, cs[wide].Blocks+1
	return cs
}

func classSizes(shift uint) (sizes []uint64) {
	page := uint64(1) << shift
	for p := uint64(16); p < page/8; p *= 2 {
		for size := p; size < 2*p; size += max(8, p/4) {
			sizes = append(sizes, size)
		}
	}
	for n := uint64(8); n >= 3; n-- {
		sizes = append(sizes, page/n&^7)
	}
	return append(sizes, page/8*3, page/2)
}

func newClass(size, page uint64) Class {
	c := Class{Size: size, Blocks: page / size, words: 1, recip: (1<<32 + size - 1) / size}
	if c.Blocks > 64 {
		for c.Head+c.Blocks*size > page || c.Head == 0 {
			c.words = (c.Blocks + 63) / 64
			c.Head = alignUp(2*8*c.words, 16)
			c.Blocks = (page - c.Head) / size
		}
		c.words = (c.Blocks + 63) / 64
	}
	c.All = c.Blocks
	return c
}

// classTable answers "which class for n bytes" by one lookup.
type classTable struct {
	classes []Class
	by8     []uint8 // index (n+7)/8, for n up to largest
	largest uint64  // half a page
}

func newClassTable(shift uint) classTable {
	t := classTable{classes: Classes(shift), largest: 1 << shift / 2}
	t.by8 = make([]uint8, 1<<shift/2/8+1)
	c := 0
	for i := range t.by8 {
		if uint64(i)*8 > t.classes[c].Size {
			c++
		}
		t.by8[i] = uint8(c)
	}
	return t
}

// bytes returns the bytes of a page of the class that are in blocks.
func (t *classTable) bytes(c *Class) uint64 {
	n := c.Blocks * c.Size
	if c.Lodger != 0 {
		n += t.classes[c.Lodger].Size
	}
	return n
}

// index returns which block of a page starts rel bytes behind the first one, and
// false if none does.
func (c *Class) index(rel uint64) (uint64, bool) {
	i := rel * c.recip >> 32
	return i, i < c.All && i*c.Size == rel
}

// mask returns the valid bits of word w of the class's bits.
func (c *Class) mask(w uint64) uint64 {
	if n := c.All - w*64; n < 64 {
		return 1<<n - 1
	}
	return ^uint64(0)
}

// lodger returns the bit of the lodger, in the only word there is then; 0 if there
// is none.
func (c *Class) lodger() uint64 {
	if c.Lodger == 0 {
		return 0
	}
	return 1 << c.Blocks
}

func lowest(x uint64) uint64 { return uint64(bits.TrailingZeros64(x)) }

func (g Geometry) check(v *mem.View) error {
	return v.Check(g.HintsOff, g.DataOff-g.HintsOff, 8)
}
