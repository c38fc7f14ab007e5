package hashmap

import (
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// insertion links the entry of a key that plainly is not there: its home bucket has no
// such tag, sends nobody further, and has a free slot. It is for insertions what
// overwrite is for the other writes, and for the same reason: what a guard does for all
// of them is done with the same stores in the same order, and nothing that this one does
// not need. Whatever is out of the ordinary is left to a guard.
type insertion struct {
	grip
	off    uint64 // of the stripe
	side   int    // of the tree
	seg    tree.Segment
	bucket *bucket
	at     uint64 // offset of the bucket
	slot   uint64
}

// insert links a filled entry, if its key plainly is not there.
func (t *table) insert(op *slab.Op, h, ref uint64) bool {
	var w insertion
	defer w.release()
	if !w.find(t, h) {
		return false
	}
	w.commit(op.Record, h, ref)
	return true
}

// find locks the stripe and finds the slot.
func (w *insertion) find(t *table, h uint64) bool {
	w.t, w.off = t, t.stripeAt(h)
	w.stripe = t.stripe(w.off)
	if t.plan.limit != 0 || t.dead() || !w.stripe.lock.TryLock(t.floor.Owner) {
		return false
	}
	w.held = true
	d := t.dir.Load()
	w.seg = tree.Parse(d.Word(h).Load())
	s := &w.seg
	if t.version.Load() != d.Version || s.Depth < t.plan.stripeBits || s.Buckets == 0 || s.Off&(bucketSize-1) != 0 {
		return false
	}
	w.side, w.at = tree.SideOf(d.Version), s.Bucket(homeOf(h, s.Buckets))
	if s.Off < t.low || w.at >= t.end.Load() {
		return false
	}
	b := mem.Cast[bucket](t.base.Add(w.at))
	if tags := b.tags.Load(); matches(tags, h) != 0 || tags >= overflowed {
		return false
	}
	for slot := range b.slots {
		if b.slots[slot].Load() == 0 {
			w.bucket, w.slot = b, uint64(slot)
			return true
		}
	}
	return false
}

// commit has the slot lead to the entry. These are the stores of guard.link and
// guard.apply.
func (w *insertion) commit(r *intent.Record, h, ref uint64) {
	t, s, b := w.t, w.stripe, w.bucket
	entries, count := &mem.Cast[first](t.base.Add(w.seg.Off)).count, &s.count[w.side]
	c := intent.Change{
		Lock: w.off, Target: w.seg.SlotAt(homeOf(h, w.seg.Buckets), w.slot), New: ref | slotBits(h)<<offsetBits, Version: w.at,
		Count: w.off + countOff + 8*uint64(w.side), After: count.Load() + 1,
	}
	now := entries.Load() + 1
	entries.Put(now) // survivor: one more or less than there are
	if now > full(w.seg.Buckets) {
		t.crowd(h)
	}
	b.tags.Put(marked(b.tags.Load(), w.slot, tagOf(h), 0)) // survivor: a tag without its slot: nobody misses it
	if until := t.deadline(ref).Load(); until != 0 {
		lapses(t.earliest(&w.seg, homeOf(h, w.seg.Buckets)), until)
	}
	w.half, w.done = true, true
	beginChange(&s.changes)
	r.Replace(&c)                                // survivor: rolls back
	b.slots[w.slot].StoreRelease(c.New)          // survivor: rolls forward
	b.version.StoreRelease(b.version.Load() + 1) // survivor: raises it once more
	count.StoreRelease(c.After)                  // survivor: stores the same
	s.end()
	r.Close() // survivor: nothing to mend
	w.half = false
}
