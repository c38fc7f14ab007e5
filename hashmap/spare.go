package hashmap

import (
	"math/bits"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
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
	return uint64(t.kinds[(size+7)/8%uint64(len(t.kinds))]) << offsetBits
}

// setKinds fills in what kindFor answers.
func (t *table) setKinds() {
	t.mostSpare = min(mostSpare, uint64(t.slab.MaxSize())/spareShare/t.plan.stripes())
	for i := range t.kinds {
		if class, ok := t.floor.Pages.ClassFor(uint64(i) * 8); ok {
			t.kinds[i] = uint8(class + 1)
		}
	}
}

// overwrite is a write over an entry, into the spare of its stripe: the write that most
// maps see most. What a guard does for all writes is done here for this one, with the
// same stores in the same order, and nothing that it does not need. A processor has some
// four hundred instructions under way: what a write takes beyond that, it does not share
// with the cache misses of the next one. Whatever is out of the ordinary is left to a
// guard, who also says what is wrong.
type overwrite struct {
	grip
	op      slab.Op
	off     uint64 // of the stripe
	kind    uint64 // high bits of the word that the old block gets as a spare
	version *psync.Word64
	slot    *psync.Word64
	bucket  uint64        // its offset, that of its version
	slotAt  uint64        // offset of the slot
	old     uint64        // what the slot holds
	ref     uint64        // of the spare
	row     uint64        // of a map with a limit: offset of the bucket's row
	lapse   *psync.Word64 // what its segment knows of deadlines there
	begun   bool          // op is to be ended
}

// grip is the lock of a stripe as a write on a path of its own has it.
type grip struct {
	t      *table
	stripe *stripe
	held   bool // the lock is ours
	half   bool // a change was begun and not ended
	done   bool // something was changed
}

// release gives the stripe back; for mending, if a panic cut a change short.
func (g *grip) release() {
	switch {
	case !g.held:
	case g.half:
		g.stripe.lock.Abandon()
	default:
		if g.stripe.lock.Unlock(); g.done {
			g.t.ring()
		}
	}
}

// hasSpare reports whether there is a spare for a write over the entry of a key, and
// may be such an entry: a key that is not there seldom has its tag in its home.
func (t *table) hasSpare(n, h, size uint64) bool {
	kind := t.kindFor(entryHeader + pad8(n) + size)
	if kind == 0 || t.stripe(t.stripeAt(h)).spare.Load()&^offsetMask != kind {
		return false
	}
	tags, b := t.touchBucket(h)
	return b != nil && (matches(tags, h) != 0 || tags >= overflowed)
}

// overwrite begins a write of a value of so many bytes over that of a key, if there is a
// spare for it. Then the stripe is locked, and the spare, at w.ref, is to be filled and
// committed. The caller ends w in any case.
func (t *table) overwrite(w *overwrite, key mem.Ptr, n, h, size uint64) bool {
	t.tend()
	op, err := t.slab.Begin()
	if err != nil {
		return false
	}
	off, need := t.stripeAt(h), entryHeader+pad8(n)+size
	s, kind := t.stripe(off), t.kindFor(need)
	w.t, w.op, w.off, w.stripe, w.kind, w.begun = t, op, off, s, kind, true
	if t.dead() || !s.lock.TryLock(t.floor.Owner) && t.lockSlow(off) != nil {
		return false
	}
	w.held = true
	if t.rings != nil {
		w.hear(h)
	}
	word := s.spare.Load()
	w.ref = word & offsetMask
	return kind != 0 && word&^offsetMask == kind && t.reaches(w.ref, need) && w.find(key, n, h, n|size<<32) && w.ref != w.old&offsetMask
}

// find finds the entry that is to be written over, which lives; lengths are those of the
// new one.
func (w *overwrite) find(key mem.Ptr, n, h, lengths uint64) bool {
	t := w.t
	d := t.dir.Load()
	s := tree.Parse(d.Word(h).Load())
	if t.version.Load() != d.Version || s.Depth < t.plan.stripeBits || s.Off&(bucketSize-1) != 0 || s.Off < t.low {
		return false
	}
	i, end := homeOf(h, s.Buckets), t.end.Load()
	for range min(s.Buckets, t.reach) {
		at := s.Bucket(i)
		if at < t.low || at >= end {
			return false
		}
		p := t.base.Add(at)
		b := mem.Cast[bucket](p)
		tags := b.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			slot := slotsOff + uint64(bits.TrailingZeros64(match))&^7
			w.slot = mem.Cast[psync.Word64](p.Add(slot))
			if w.old = w.slot.Load(); (w.old^h)>>offsetBits == 0 && w.isEntry(w.old&offsetMask, key, n, lengths) {
				w.version, w.bucket, w.slotAt, w.lapse = &b.version, at, at+slot, t.earliest(&s, i)
				return t.plan.limit == 0 || w.findRow(&s, i)
			}
		}
		if tags < overflowed {
			return false
		}
		i = next(&s, i)
	}
	return false
}

// isEntry reports whether there plainly is an entry of the key at off, which has not
// expired, and whose block is kept: if it has other lengths, as a spare of another kind.
func (w *overwrite) isEntry(off uint64, key mem.Ptr, n, lengths uint64) bool {
	t := w.t
	if off < t.low || off&7 != 0 || off+n >= t.end.Load() {
		return false
	}
	e := t.base.Add(off)
	is, text := mem.Load64(e), e.Add(entryHeader)
	if is&0xffffffff != n || t.expired(e) {
		return false
	}
	if n-8 <= 8 {
		if (mem.Load64(text)^mem.Load64(key))|(mem.Load64(text.Add(n-8))^mem.Load64(key.Add(n-8))) != 0 {
			return false
		}
	} else if !equalBytes(key, text, n) {
		return false
	}
	if is != lengths {
		w.kind = t.kindFor(entryHeader + pad8(n) + is>>32)
	}
	return w.kind != 0
}

// commit has the key lead to the spare, which was filled, and the stripe keep the old
// block. These are the stores of guard.apply.
func (w *overwrite) commit(h uint64) {
	s, r := w.stripe, w.op.Record
	c := intent.Change{
		Lock: w.off, Target: w.slotAt, Old: w.old, New: w.ref | slotBits(h)<<offsetBits, Version: w.bucket,
		Count: w.off + spareOff, After: w.old&offsetMask | w.kind,
	}
	if until := w.t.deadline(w.ref).Load(); until != 0 {
		lapses(w.lapse, until)
	}
	if w.row != 0 {
		w.use()
	}
	w.half, w.done = true, true
	beginChange(&s.changes)
	r.Trade(&c)                                  // survivor: rolls back
	w.slot.StoreRelease(c.New)                   // survivor: rolls forward
	w.version.StoreRelease(w.version.Load() + 1) // survivor: raises it once more
	s.spare.StoreRelease(c.After)                // survivor: stores the same
	s.end()
	r.Close() // survivor: nothing to mend
	w.half = false
}

// end gives back what overwrite has taken.
func (w *overwrite) end() {
	w.release()
	if w.begun {
		w.op.End()
	}
}

// hear has the stripe hear what was gathered for it, as lock does.
//
//go:noinline
func (w *overwrite) hear(h uint64) {
	if g := (guard{t: w.t, lock: w.off, off: w.off, stripe: w.stripe}); g.enter(h) == nil {
		g.hear()
	}
}

// findRow finds the row of bucket i.
func (w *overwrite) findRow(s *tree.Segment, i uint64) bool {
	w.row = s.Off + tree.Size(s.Buckets) + i*rowSize
	return w.row < w.t.end.Load()
}

// use counts the write as a use of the entry.
//
//go:noinline
func (w *overwrite) use() {
	r, slot := mem.Cast[row](w.t.base.Add(w.row)), (w.slotAt-w.bucket-slotsOff)/8
	r.setHint(slot, w.stripe.hint(r.hint(slot)&useMask+1))
}

// trade makes a change one that keeps the old block as the spare of the stripe, if
// the new one was that, or there is none.
func (g *guard) trade(c *intent.Change) bool {
	word := g.stripe.spare.Load()
	if c.Old == 0 || c.New == 0 || g.lock != g.off || word != 0 && (word^c.New)&offsetMask != 0 {
		return false
	}
	kind := g.kindOf(c.Old)
	if kind == 0 {
		return false
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
