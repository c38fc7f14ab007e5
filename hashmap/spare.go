package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// How an entry is written over without the allocator. A stripe keeps the block that
// the last write over an entry has left, its spare; the next one fills that, under
// the lock, and leaves its own:
//
//	1  lock the stripe; find the key; fill the spare, which leads nowhere yet
//	2  record: trade, with the slot, its old and its new word, the bucket's version,
//	   and the spare, which is to hold the old block
//	3  store the slot        the write has happened
//	4  raise the version     readers that saw the old entry start again
//	5  store the spare
//	6  close the record, unlock
//
// A survivor finds the slot with its old word: the spare is still that; or the new
// one: 4 to 6. A stripe without a spare gets its first one so too, but that the new
// block is reserved, as ever, and free again if the slot has its old word.
//
// The block of a spare is written again only after 4, as one that is freed. So the
// spare is no risk to a reader, whatever he is at.
//
// A spare is of the map: it is freed with it, or when there is no room. Small blocks
// only are kept, and no more of them than a small part of the arena.

const (
	// mostSpare is the size of the largest block that is kept.
	mostSpare = 512
	// spareShare is the part of the arena that the spares of a map take at most.
	spareShare = 64
)

// kindFor returns the high bits of the word of a spare for an entry of so many
// bytes, 0 if none is kept.
func (t *table) kindFor(size uint64) uint64 {
	if size > t.mostSpare {
		return 0
	}
	class, ok := t.floor.Pages.ClassFor(size)
	if !ok {
		return 0
	}
	return uint64(class+1) << offsetBits
}

// spareFor is kindFor, if the stripe of a hash has such a spare; else 0.
func (t *table) spareFor(h, size uint64) uint64 {
	kind := t.kindFor(size)
	if t.stripe(t.stripeAt(h)).spare.Load()&^offsetMask != kind {
		return 0
	}
	return kind
}

// overwrite is a write over an entry, in the spare of its stripe.
type overwrite struct {
	guard
	op    slab.Op
	ref   uint64 // of the spare
	begun bool   // op is to be ended
	held  bool   // the lock is to be given back
}

// overwrite begins a write of so many bytes over the entry of a key, with a spare of
// the kind. True: both are there, the stripe is locked, and the block at w.ref is to be
// filled and linked. The caller ends w in any case.
func (t *table) overwrite(w *overwrite, kind, size uint64, key mem.Ptr, n, h uint64) (ok bool, err error) {
	t.tend()
	if w.op, err = t.slab.Begin(); err != nil {
		return false, err
	}
	w.begun = true
	if err := t.lock(h, &w.guard); err != nil {
		return false, err
	}
	w.held = true
	at, err := w.locate(key, n, h)
	word := w.stripe.spare.Load()
	if err != nil || at.old == 0 || word&^offsetMask != kind {
		return false, err
	}
	if w.kept = w.kindOf(at.old); w.kept == 0 {
		return false, nil
	}
	if w.ref = word & offsetMask; !t.reaches(w.ref, size) && !t.within(w.ref, size) {
		return false, fmt.Errorf("hashmap %q: %w: the spare block of %d bytes at %#x lies outside the data area", t.object.Name(), ErrCorrupt, size, w.ref)
	}
	return true, nil
}

// end gives back what overwrite has taken.
func (w *overwrite) end() {
	if w.held {
		w.unlock()
	}
	if w.begun {
		w.op.End()
	}
}

// trade makes a change one that keeps the old block as the spare of the stripe, if
// the new one was that, or there is none.
func (g *guard) trade(c *intent.Change) bool {
	word := g.stripe.spare.Load()
	if c.Old == 0 || c.New == 0 || g.lock != g.off || word != 0 && (word^c.New)&offsetMask != 0 {
		return false
	}
	kind := g.kept
	if kind == 0 {
		if kind = g.kindOf(c.Old); kind == 0 {
			return false
		}
	}
	c.Count, c.After = g.off+spareOff, c.Old&offsetMask|kind
	return true
}

// kindOf returns the high bits of the word of a spare for the block of the entry that
// a slot leads to, 0 if it is not kept.
func (g *guard) kindOf(word uint64) uint64 {
	size := mem.Load64(g.t.base.Add(word & offsetMask))
	return g.t.kindFor(entryHeader + pad8(size&0xffffffff) + size>>32)
}

// freeSpares frees the spares of all stripes, or those for entries of one size only,
// and reports whether there were any.
func (t *table) freeSpares(kind uint64) bool {
	freed := false
	for i := range t.plan.stripes() {
		off := t.stripeOff + i*stripeSize
		if word := t.stripe(off).spare.Load(); word != 0 && (kind == 0 || word&^offsetMask == kind) {
			freed = t.freeSpare(off) || freed
		}
	}
	return freed
}

// freeSpare does not wait for who is stopped with the stripe: he keeps his spare.
func (t *table) freeSpare(off uint64) (freed bool) {
	op, err := t.slab.Begin()
	if err != nil {
		return false
	}
	defer op.End()
	if t.dead() {
		return false
	}
	s := t.stripe(off)
	err = s.lock.Settle(t.floor.Owner, func() error {
		if err := t.floor.Records.SettleLock(off); err != nil {
			return err
		}
		if word := s.spare.Load(); word != 0 {
			t.floor.Records.Apply(op.Record, &intent.Change{Lock: off, Target: off + spareOff, Old: word})
			freed = true
		}
		return nil
	})
	return freed && err == nil
}
