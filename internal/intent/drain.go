package intent

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

// A tree is taken down from its entries to its directory, one block at a time,
// each under a record: first the word that leads to it is 0, then it is free. So
// what is left is always a tree, whose words all lead to blocks in use, and
// whoever comes next goes on with it.

// DrainWords frees what the words [from, to) of a directory lead to, under the
// lock whose word is at lock and which the caller holds. The range begins and
// ends where segments do. For each block that is freed *left is counted down; at 0
// it returns, not done, and is called again to go on. With an error it has freed
// what comes before the damage.
func (t *Table) DrainWords(r *Record, lock uint64, d tree.Dir, from, to uint64, left *int) (done bool, err error) {
	t.pages.Refresh()
	for {
		p, ok, err := d.Next(t.view, from, to)
		if !ok || err != nil {
			return !ok, err
		}
		if done, err := t.drainSegment(r, lock, &d, &p, left); !done || err != nil {
			return false, err
		}
		from = p.End()
	}
}

// drainSegment frees the entries of a segment, then the segment. Its last word
// is the one that leads to it until it goes.
func (t *Table) drainSegment(r *Record, lock uint64, d *tree.Dir, p *tree.Part, left *int) (done bool, err error) {
	if err := t.Drainable(d.Place(p)); err != nil {
		return false, err
	}
	p.Slots(t.view, func(at, word uint64) bool {
		if *left <= 0 {
			return false
		}
		if err = t.Drainable(tree.EntryAt(at, word)); err != nil {
			return false
		}
		t.Apply(r, &Change{Lock: lock, Target: at, Old: word}) // survivor: an entry less
		*left--
		return true
	})
	if *left <= 0 || err != nil {
		return false, err
	}
	if err := t.Drainable(d.Place(p)); err != nil { // a slot that was wrong led to it
		return false, err
	}
	for i := p.First; i < p.Last; i++ {
		if w := d.At(i); w.Load() != 0 {
			w.Store(0) // survivor: an empty segment with words less, of which the last one leads to it still
		}
	}
	t.Apply(r, &Change{Lock: lock, Target: d.WordAt(p.Last), Old: p.Word}) // survivor: a segment less
	*left--
	return true, nil
}

// DrainDir frees the directory of a side, all of whose words are 0, under the
// lock whose word is at lock and which the caller holds: the one that is taken
// before another directory is put there. No lock under which words were drained
// may be held by the dead any more: his record has its target in the directory.
func (t *Table) DrainDir(r *Record, lock uint64, tr *tree.Tree, side int) error {
	t.pages.Refresh()
	ref := tr.Dir(side).Load()
	if ref == 0 {
		return nil
	}
	d, err := tr.Open(ref)
	if err != nil {
		return err
	}
	if p, ok, err := d.Next(t.view, 0, d.Len()); err != nil {
		return err
	} else if ok {
		return fmt.Errorf("%w: the directory at %#x is to be freed, but its word %d is %#x", mem.ErrCorrupt, d.Off, p.Last, p.Word)
	}
	if err := t.Drainable(tr.Place(side, &d)); err != nil {
		return err
	}
	t.Apply(r, &Change{Lock: lock, Target: tr.DirAt(side), Old: ref}) // survivor: a side without a directory
	return nil
}

// Drainable says what is wrong with a reference to a block that is to be freed
// with its tree. That it is a block in use can be told, not whose it is.
func (t *Table) Drainable(p tree.Place) error {
	has, err := t.pages.Size(p.Off)
	if err != nil {
		return fmt.Errorf("%w: the word at %#x leads to a %s: %w", mem.ErrCorrupt, p.At, p.What, err)
	}
	if has < p.Size {
		return fmt.Errorf("%w: the word at %#x leads to a %s of %d bytes at %#x, in a block of %d", mem.ErrCorrupt, p.At, p.What, p.Size, p.Off, has)
	}
	return nil
}
