package intent

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// Split is the change of one segment of a tree into others that hold what it
// held: two of one depth more, each for a half of its range, or a larger one of
// the same depth. It frees the segment, and not what its slots lead to.
type Split struct {
	Lock      uint64 // offset of the lock held: that of the range of hashes
	Tree      uint64 // offset of the tree's head
	Side      int    // which of its directories
	Hash      uint64 // any that the segment covers
	Old       uint64 // its word
	Low, High uint64 // the new words, of the lower and of the upper half; equal: one segment
}

// ApplySplit carries out the split s, under its lock. r is the record of the block
// of Low, second that of the block of High, or nil; both are closed then. With an
// error nothing has happened.
//
// Readers find the old segment, then the new ones. The first word is stored
// first, and tells a survivor which way to go.
func (t *Table) ApplySplit(r, second *Record, s *Split) error {
	return t.underTree(s, false, func(tr *tree.Tree) error {
		d, first, n, err := t.place(tr, s)
		if err != nil {
			return err
		}
		r.openSplit(s)
		if second != nil {
			second.Close() // survivor: only the record of the split names the block
		}
		t.replace(tr, s, d, first, n)
		return nil
	}, func() {
		t.free(s.Old) // survivor: sees it freed, and named
		r.Close()
	})
}

func (r *Record) openSplit(s *Split) {
	r.target.Put(s.Tree)
	r.old.Put(s.Old)
	r.new.Put(s.Low)
	r.version.Put(uint64(s.Side))
	r.count.Put(0)
	r.after.Put(s.Hash)
	r.extra.Put(s.High)
	r.op.StoreRelease(s.Lock<<8 | opSplit) // survivor: the first word holds old: frees the new ones
}

// split reads the record of a split.
func (r *Record) split() Split {
	return Split{
		Lock: r.op.Load() >> 8, Tree: r.target.Load(), Side: int(r.version.Load() & 1), Hash: r.after.Load(),
		Old: r.old.Load(), Low: r.new.Load(), High: r.extra.Load(),
	}
}

// settleSplit goes by the directory of now: it may have been doubled since the
// record was opened.
func (t *Table) settleSplit(r *Record, soon bool) error {
	s := r.split()
	published := false
	return t.underTree(&s, soon, func(tr *tree.Tree) error {
		d, first, n, err := t.place(tr, &s)
		if err != nil {
			return err
		}
		switch word := d.At(first).Load(); word {
		case s.Low:
			published = true
			t.replace(tr, &s, d, first, n)
		case s.Old:
		default:
			return fmt.Errorf("%w: word %d of the directory at %#x holds %#x, want old %#x or new %#x", mem.ErrCorrupt, first, d.Off, word, s.Old, s.Low)
		}
		return nil
	}, func() {
		if published {
			t.free(s.Old)
			return
		}
		t.free(s.Low)
		t.free(s.High)
	})
}

// place finds the words of the segment that is split.
func (t *Table) place(tr *tree.Tree, s *Split) (d tree.Dir, first, n uint64, err error) {
	t.pages.Refresh() // somebody else may have doubled the directory into space that he has added
	if d, err = tr.Open(tr.Dir(s.Side).Load()); err != nil {
		return d, 0, 0, err
	}
	if err := s.check(t.view, d.Bits); err != nil {
		return d, 0, 0, err
	}
	first, n = d.Range(s.Hash, tree.Parse(s.Old).Depth)
	return d, first, n, nil
}

// check says what is wrong with a split in a directory of so many bits: three
// segments, or two, of the right depths, that are not one another.
func (s *Split) check(v *mem.View, bits uint) error {
	old, low, high := tree.Parse(s.Old), tree.Parse(s.Low), tree.Parse(s.High)
	for _, seg := range [3]tree.Segment{old, low, high} {
		if err := seg.Check(v, bits); err != nil {
			return fmt.Errorf("a split of %#x into %#x and %#x: %w", s.Old, s.Low, s.High, err)
		}
	}
	deeper := uint(1)
	if s.Low == s.High {
		deeper = 0
	}
	if low.Depth != old.Depth+deeper || high.Depth != low.Depth || old.Off == low.Off || old.Off == high.Off || deeper != 0 && low.Off == high.Off {
		return fmt.Errorf("%w: a split of %#x into %#x and %#x", mem.ErrCorrupt, s.Old, s.Low, s.High)
	}
	return nil
}

// replace stores the words, and makes readers look again.
func (t *Table) replace(tr *tree.Tree, s *Split, d tree.Dir, first, n uint64) {
	for i := range n {
		d.At(first + i).Store(s.word(i, n)) // survivor: the first word decides; goes on from there
	}
	tr.Raise()
}

// word returns word i of the n that the segment had.
func (s *Split) word(i, n uint64) uint64 {
	if i < n/2 {
		return s.Low
	}
	return s.High
}

// Foresee returns the directory d of a side of a tree as it will be when the
// splits are done that have stored their first word: for one who reads it while
// they are under way, or were cut off.
func (t *Table) Foresee(tr *tree.Tree, side int, d tree.Dir) tree.Dir {
	ours := false
	for slot := range t.slots.High() {
		for i := range PerSlot {
			r := t.record(slot, i)
			if op := r.op.Load() & opMask; op != opSplit || r.target.Load() != tr.Off() {
				continue
			}
			s := r.split()
			if s.Side != side || s.check(t.view, d.Bits) != nil {
				continue
			}
			first, n := d.Range(s.Hash, tree.Parse(s.Old).Depth)
			if d.At(first).Load() != s.Low {
				continue
			}
			if !ours {
				d, ours = d.Copy(), true
			}
			for i := range n {
				if w := d.At(first + i); w.Load() == s.Old {
					w.Store(s.word(i, n))
				}
			}
		}
	}
	return d
}

// underTree runs f under the lock of the tree, and then, if it returned nil,
// after. soon: it gives up with ErrBusy when a living process keeps the lock.
func (t *Table) underTree(s *Split, soon bool, f func(*tree.Tree) error, after func()) error {
	tr, err := tree.At(t.view, s.Tree)
	if err != nil {
		return err
	}
	if s.Lock == tr.LockAt() {
		return fmt.Errorf("%w: a split in the tree at %#x under the lock of the tree", mem.ErrCorrupt, s.Tree)
	}
	mend := func() error { return t.SettleLock(tr.LockAt()) }
	if soon {
		var failed error // which leaves the lock as it was
		err = tr.Lock().Settle(t.owner, func() error {
			if err := mend(); err != nil {
				return err
			}
			failed = f(tr)
			return nil
		})
		if err == nil {
			err = failed
		}
	} else if err = tr.Lock().Lock(t.owner, mend); err == nil {
		err = unlocking(tr.Lock(), func() error { return f(tr) })
	}
	if err == nil {
		after()
	}
	return err
}

// unlocking runs f and gives the lock back, for mending if f panics.
func unlocking(m *psync.Mutex, f func() error) error {
	whole := false
	defer func() {
		if whole {
			m.Unlock()
		} else {
			m.Abandon()
		}
	}()
	err := f()
	whole = true
	return err
}
