package arena

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// Objects that grow keep their blocks in a tree. Its shape is known here, so
// that anybody can account for them and free them; what is in the blocks is not.

// treeOf returns the tree of an object, nil if it has none. The trace is read
// once and checked.
func (c *core) treeOf(o int) (*tree.Tree, error) {
	e := c.object(o)
	if e.traceCount.Load()&traceTree == 0 {
		return nil, nil
	}
	root, size, first := e.ref.Load()&intent.RefMask, e.size.Load(), e.traceOff.Load()
	if first%8 != 0 || size < tree.HeadSize || first > size-tree.HeadSize {
		return nil, fmt.Errorf("%w: object %d: a tree at offset %d of %d bytes", ErrCorrupt, o, first, size)
	}
	if err := c.view.Check(root, size, 8); err != nil {
		return nil, err
	}
	return tree.At(c.view, root+first)
}

// collectTree frees the blocks of the tree of an object that is garbage: side by
// side, each from its entries to its directory. It stops when *left is 0. Nobody
// is in the tree: no handle is open, and what the dead had open is settled, since
// their pins are dropped only then.
func (a *Arena) collectTree(r *intent.Record, o int, at *cursor, left *int) error {
	a.refresh()
	tr, err := a.treeOf(o)
	if tr == nil || err != nil {
		return err
	}
	for side := range 2 {
		ref := tr.Dir(side).Load()
		if ref == 0 {
			continue
		}
		if err := a.collectSide(r, tr, side, ref, at, left); err != nil || *left <= 0 {
			return err
		}
	}
	return nil
}

func (a *Arena) collectSide(r *intent.Record, tr *tree.Tree, side int, ref uint64, at *cursor, left *int) error {
	d, err := tr.Open(ref)
	if err != nil {
		return err
	}
	if err := a.records.Drainable(tr.Place(side, &d)); err != nil {
		return err
	}
	if at.dir != ref {
		at.dir, at.from = ref, 0
	}
	for at.from < d.Len() && d.At(at.from).Load() == 0 {
		at.from++
	}
	if done, err := a.records.DrainWords(r, dirOff, d, at.from, d.Len(), left); !done || err != nil {
		return err
	}
	if err := a.records.DrainDir(r, dirOff, tr, side); err != nil {
		return err
	}
	*left--
	return nil
}

// tree follows every word of the tree of an object, if it has one.
func (c *checker) tree(o int) {
	tr, err := c.treeOf(o)
	if err == nil && tr != nil {
		err = c.treeHead(tr)
	}
	if err != nil {
		c.problem("%v", err)
	}
	if tr == nil {
		return
	}
	version := tr.Version().Load()
	for side := range 2 {
		tr.Walk(side, &tree.Walk{
			Whole:   side == tree.SideOf(version) && version != 0 && c.named(o), // at 0 there has been no tree yet
			Foresee: func(d tree.Dir) tree.Dir { return c.records.Foresee(tr, side, d) },
			Reach:   c.reach,
			Damage:  func(err error) { c.problem("%v", err) },
		})
	}
}

// reach accounts for a block of a tree, and reports whether it can be what it is
// said to be.
func (c *checker) reach(p tree.Place) bool {
	b := c.refer(p.Off, "the word at %#x", int(p.At))
	if b == nil {
		return false
	}
	if b.size < p.Size {
		c.problem("the word at %#x leads to a %s of %d bytes at %#x, in a block of %d", p.At, p.What, p.Size, p.Off, b.size)
		return false
	}
	return b.refs == 1
}

// treeHead says what is wrong with the head of a tree, beside what it leads to.
func (c *checker) treeHead(tr *tree.Tree) error {
	for _, at := range [2]uint64{tr.LockAt(), tr.SwapAt()} {
		word := mem.Must[psync.Word64](c.view, at).Load()
		if slot := psync.IDOf(word).Slot(); word&^uint64(psync.IDMask) > lockFlags || slot >= int(c.plan.slots) || slot < 0 && word > lockFlags {
			return fmt.Errorf("%w: the lock of a tree at %#x is %#x, which is nobody's", ErrCorrupt, at, word)
		}
	}
	return tr.Check()
}

// lockFlags are the bits of a lock word beside its holder.
const lockFlags = 3
