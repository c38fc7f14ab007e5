package tree

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// A walk believes nothing: every offset is checked before it is followed, and
// what does not fit is reported with its place. It is exact while nobody writes.

// Part is a segment with the words of a directory that lead to it. While a tree
// is built, or taken down, some of them are 0.
type Part struct {
	Segment
	First, N uint64 // its words
	Last     uint64 // the last one of them that is not 0
}

// End returns the first word behind those of the part.
func (p *Part) End() uint64 { return p.First + p.N }

// Next returns the segment that the first word of [i, to) leads to that is not 0;
// false: they are all 0. Behind an error one can go on at End of the part.
func (d *Dir) Next(v *mem.View, i, to uint64) (Part, bool, error) {
	for to = min(to, d.Len()); i < to; i++ {
		if word := d.At(i).Load(); word != 0 {
			p := Part{Segment: Parse(word), First: i, N: 1, Last: i}
			err := d.part(v, &p, to)
			return p, true, err
		}
	}
	return Part{}, false, nil
}

// part finds the words of the segment that word p.First leads to.
func (d *Dir) part(v *mem.View, p *Part, to uint64) error {
	at := p.First
	if err := p.Check(v, d.Bits); err != nil {
		return fmt.Errorf("word %d of the directory at %#x: %w", at, d.Off, err)
	}
	n := uint64(1) << (d.Bits - p.Depth)
	first := at &^ (n - 1)
	if first+n > to {
		return fmt.Errorf("%w: word %d of the directory at %#x is %#x: its segment has the words up to %d, but they end at %d", mem.ErrCorrupt, at, d.Off, p.Word, first+n, to)
	}
	for i := first; i < first+n; i++ {
		switch word := d.At(i).Load(); word {
		case p.Word:
			p.Last = i
		case 0:
		default:
			return fmt.Errorf("%w: word %d of the directory at %#x is %#x, but word %d of the same segment is %#x", mem.ErrCorrupt, i, d.Off, word, at, p.Word)
		}
	}
	p.First, p.N = first, n
	return d.checkBeside(p)
}

// checkBeside looks for the commonest way to have a segment twice: a word that
// is wrong about the depth.
func (d *Dir) checkBeside(p *Part) error {
	for _, i := range [2]uint64{p.First - 1, p.End()} {
		if i < d.Len() && d.At(i).Load()&refMask == p.Off {
			return fmt.Errorf("%w: word %d of the directory at %#x leads to the segment at %#x, and so do words %d to %d, which are all it should have", mem.ErrCorrupt, i, d.Off, p.Off, p.First, p.End()-1)
		}
	}
	return nil
}

// Slots calls f with every slot that is not 0 of a segment that was checked,
// until f returns false.
func (s *Segment) Slots(v *mem.View, f func(at, word uint64) bool) {
	for i := range s.Buckets {
		for slot := range uint64(Slots) {
			at := s.SlotAt(i, slot)
			if word := mem.Cast[psync.Word64](v.Base().Add(at)).Load(); word != 0 && !f(at, word) {
				return
			}
		}
	}
}

// Copy returns the directory with its words in memory of this process.
func (d *Dir) Copy() Dir {
	c := *d
	b := make([]byte, DirSize(d.Bits))
	mem.CopyOut(b, d.words)
	c.words = mem.PtrOf(b)
	return c
}

// A Walk is what to do with all that one side of a tree leads to.
type Walk struct {
	// Whole says that no word of the directory may be 0: the side is current.
	Whole bool
	// Foresee, if set, returns the directory to walk in place of the one found.
	Foresee func(d Dir) Dir
	// Reach is called with each place that leads to a block, before what is in
	// the block; if it returns false the walk does not go in.
	Reach func(p Place) bool
	// Damage is called with what is wrong; the walk goes on behind it.
	Damage func(err error)
}

// Place is a word that leads to a block.
type Place struct {
	What string // the block is one: "directory", "segment" or "entry"
	At   uint64 // offset of the word
	Word uint64 // what it holds
	Off  uint64 // of the block
	Size uint64 // what the block has at least
}

// Place returns the place of the directory d of a side.
func (t *Tree) Place(side int, d *Dir) Place {
	return Place{What: "directory", At: t.DirAt(side), Word: d.Ref, Off: d.Off, Size: DirSize(d.Bits)}
}

// Place returns the place of a segment.
func (d *Dir) Place(p *Part) Place {
	return Place{What: "segment", At: d.WordAt(p.Last), Word: p.Word, Off: p.Off, Size: Size(p.Buckets)}
}

// EntryAt returns the place of an entry, in the slot at at.
func EntryAt(at, word uint64) Place {
	return Place{What: "entry", At: at, Word: word, Off: word & refMask, Size: 8}
}

// Walk walks over one side of the tree. Several words that lead to one segment
// are one place.
func (t *Tree) Walk(side int, w *Walk) {
	at, ref := t.DirAt(side), t.Dir(side).Load()
	if ref == 0 {
		if w.Whole {
			w.Damage(fmt.Errorf("%w: the tree at %#x has no directory: the word at %#x is 0", mem.ErrCorrupt, t.off, at))
		}
		return
	}
	d, err := t.Open(ref)
	if err != nil {
		w.Damage(err)
		return
	}
	if !w.Reach(t.Place(side, &d)) {
		return
	}
	if w.Foresee != nil {
		d = w.Foresee(d)
	}
	if i, ok := d.firstZero(); ok && w.Whole {
		w.Damage(fmt.Errorf("%w: word %d of the directory at %#x is 0", mem.ErrCorrupt, i, d.Off))
	}
	for i := uint64(0); ; {
		p, ok, err := d.Next(t.view, i, d.Len())
		if !ok {
			return
		}
		if err != nil {
			w.Damage(err)
		} else if w.Reach(d.Place(&p)) {
			t.walkSegment(&p.Segment, w)
		}
		i = p.End()
	}
}

func (d *Dir) firstZero() (uint64, bool) {
	for i := range d.Len() {
		if d.At(i).Load() == 0 {
			return i, true
		}
	}
	return 0, false
}

func (t *Tree) walkSegment(s *Segment, w *Walk) {
	s.Slots(t.view, func(at, word uint64) bool {
		p := EntryAt(at, word)
		if err := t.view.Check(p.Off, p.Size, 8); err != nil {
			w.Damage(fmt.Errorf("the slot at %#x: %w", at, err))
			return true
		}
		w.Reach(p)
		return true
	})
}

// Check says what is wrong with the head, but for what only the tree's structure
// can tell.
func (t *Tree) Check() error {
	for i := range t.head.spare {
		if word := t.head.spare[i].Load(); word != 0 {
			return fmt.Errorf("%w: spare word %d of the tree at %#x is %#x, want 0", mem.ErrCorrupt, i, t.off, word)
		}
	}
	return nil
}
