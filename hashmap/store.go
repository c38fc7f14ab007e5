package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// How a key is written. The block is reserved and filled before the lock is
// taken, so that nothing that takes long happens under it.
//
//	1  reserve a block, under the name of an intent record; fill it
//	2  lock the stripe; find the key, or a free slot
//	3  record: replace, with the slot, its old and its new word, the bucket's
//	   version and the stripe's count
//	4  store the slot        the write has happened
//	5  raise the version     readers that saw the old entry start again
//	6  free the old entry
//	7  store the count
//	8  close the record, unlock
//
// A survivor that takes the stripe's lock over finds the record and the slot:
// the slot holds the new word: 5 to 8; the old word: the new block is freed.

// Store sets the value of a key. When it returns nil the value is there, also
// if this process is killed at once; when it returns an error the old value is.
func (m *Map[K, V]) Store(k K, v V) error {
	key, n := m.key(&k)
	op, ref, err := m.begin(key, n, &v)
	if err != nil {
		return err
	}
	defer op.End()
	return m.put(&op, key, n, hashKey(key, n, &m.secrets), ref)
}

// begin starts a write. It reserves a block and fills it with a new entry; with
// v nil there is none, and ref is 0. If it returns nil, op is to be ended.
func (m *Map[K, V]) begin(key mem.Ptr, n uint64, v *V) (op slab.Op, ref uint64, err error) {
	size := m.valueSize
	if m.bytesValue {
		size = 0
		if v != nil {
			size = uint64(len(mem.AsBytes(v)))
		}
	}
	if err = m.checkSizes(n, size); err != nil {
		return op, 0, err
	}
	if op, err = m.slab.Begin(); err != nil || v == nil {
		return op, 0, err
	}
	if ref, err = op.Reserve(entryHeader + pad8(n) + size); err != nil {
		op.End()
		return op, 0, fmt.Errorf("hashmap %q: store: %w", m.object.Name(), err)
	}
	value := fillKey(m.base.Add(ref), key, n, size)
	if m.bytesValue {
		mem.CopyIn(value, mem.AsBytes(v))
	} else {
		mem.Write(value, v)
	}
	return op, ref, nil
}

func (t *table) checkSizes(n, size uint64) error {
	if n > t.maxKey || size > 1<<32-1 {
		return fmt.Errorf("hashmap %q: %w: key of %d bytes, value of %d; want at most %d and %d",
			t.object.Name(), ErrTooLarge, n, size, t.maxKey, uint32(1<<32-1))
	}
	return t.object.Err()
}

// fillKey writes the head of an entry and returns where its value goes. The
// block is reachable from nowhere yet; a reader that holds a stale offset to it
// finds its version changed.
func fillKey(e, key mem.Ptr, n, size uint64) mem.Ptr {
	head := [2]uint64{n | size<<32, 0}
	mem.Write(e, &head)
	e = e.Add(entryHeader)
	if n&7 != 0 {
		mem.Zero(e.Add(n&^7), 8) // the padding is compared
	}
	mem.CopyKey(e, key, n)
	return e.Add(pad8(n))
}

// Delete removes a key and reports whether it was there.
func (m *Map[K, V]) Delete(k K) (bool, error) {
	key, n := m.key(&k)
	op, _, err := m.begin(key, n, nil)
	if err != nil {
		return false, err
	}
	defer op.End()
	return m.remove(&op, key, n, hashKey(key, n, &m.secrets))
}

// put links a filled entry.
func (t *table) put(op *slab.Op, key mem.Ptr, n, h, ref uint64) error {
	g, err := t.lock(h)
	if err != nil {
		return err
	}
	defer g.unlock()
	at, err := t.locate(key, n, h)
	if err != nil {
		return err
	}
	return g.link(op, at, h, ref)
}

// remove unlinks the entry of a key.
func (t *table) remove(op *slab.Op, key mem.Ptr, n, h uint64) (bool, error) {
	g, err := t.lock(h)
	if err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := t.locate(key, n, h)
	if err != nil || at.old == 0 {
		return false, err
	}
	g.unlink(op, at)
	return true, nil
}

// link links a filled entry where locate has found the key, or in a free slot
// if it has not.
func (g *guard) link(op *slab.Op, at place, h, ref uint64) (err error) {
	c := intent.Change{New: ref | slotBits(h)<<offsetBits}
	if at.old == 0 {
		if at, err = g.t.freeSlot(h); err != nil {
			return err
		}
		c.Count, c.After = g.countAt(), g.stripe.count.Load()+1
		tags := &at.bucket.tags
		shift := 8 * at.slot
		tags.Put(tags.Load()&^(0xff<<shift) | tagOf(h)<<shift) // survivor: a tag without its slot, which nobody misses
	}
	g.apply(op, at, &c)
	return nil
}

// unlink unlinks the entry that locate has found.
func (g *guard) unlink(op *slab.Op, at place) {
	g.apply(op, at, &intent.Change{Count: g.countAt(), After: g.stripe.count.Load() - 1})
}

// guard is a locked stripe.
type guard struct {
	t      *table
	off    uint64 // of the stripe
	stripe *stripe
	half   bool // a change was begun and not ended
}

// lock locks the stripe of a key, and mends what a dead holder left.
func (t *table) lock(h uint64) (guard, error) {
	// The operation has its record by now: a Close of the handle that we do not
	// see here waits for us before it lets the map's memory go.
	if t.dead() {
		return guard{}, t.err()
	}
	off := t.stripeAt(t.bucketOf(h))
	g := guard{t: t, off: off, stripe: mem.Cast[stripe](t.base.Add(off))}
	if err := g.stripe.lock.Lock(t.floor.Owner, func() error { return t.floor.Records.SettleLock(off) }); err != nil {
		return g, fmt.Errorf("hashmap %q: %w", t.object.Name(), slab.CloseError(err))
	}
	return g, nil
}

// unlock gives the stripe back, for mending if a change was cut short by a
// panic.
func (g *guard) unlock() {
	if g.half {
		g.stripe.lock.Abandon()
		return
	}
	g.stripe.lock.Unlock()
}

func (g *guard) countAt() uint64 { return g.off + 8 }

// place is a slot.
type place struct {
	bucket *bucket
	index  uint64 // of the bucket
	slot   uint64
	old    uint64 // what the slot holds
}

// apply carries a change of one slot out.
func (g *guard) apply(op *slab.Op, at place, c *intent.Change) {
	t, r := g.t, op.Record
	c.Lock, c.Target, c.Old = g.off, t.slotAt(at.index, at.slot), at.old
	c.Version = t.bucketOff + at.index*bucketSize
	g.half = true
	r.Replace(c)                                                 // survivor: rolls back
	at.bucket.slots[at.slot].StoreRelease(c.New)                 // survivor: rolls forward
	at.bucket.version.StoreRelease(at.bucket.version.Load() + 1) // survivor: raises it once more
	if c.Old != 0 {
		op.Settle(c.Old & offsetMask) // survivor: sees it freed, and named
	}
	if c.Count != 0 {
		g.stripe.count.StoreRelease(c.After) // survivor: stores the same
	}
	r.Close() // survivor: nothing to mend
	g.half = false
}

// locate finds a key under the lock of its stripe; old is 0 if it is not there.
func (t *table) locate(key mem.Ptr, n, h uint64) (place, error) {
	i := t.bucketOf(h)
	for range uint64(1) << t.stripeBits {
		b := t.bucket(i)
		tags := b.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			slot := slotIn(match)
			word := b.slots[slot].Load()
			if word == 0 || word>>offsetBits != slotBits(h) {
				continue
			}
			same, err := t.same(word&offsetMask, key, n)
			if err != nil {
				return place{}, err
			}
			if same {
				return place{bucket: b, index: i, slot: slot, old: word}, nil
			}
		}
		if tags < overflowed {
			break
		}
		i = t.next(i)
	}
	return place{}, nil
}

// same compares the entry at off with a key, under the lock.
func (t *table) same(off uint64, key mem.Ptr, n uint64) (bool, error) {
	if !t.within(off, entryHeader) {
		return false, fmt.Errorf("hashmap %q: %w: an entry at %#x lies outside the data area", t.object.Name(), ErrCorrupt, off)
	}
	e := t.base.Add(off)
	if mem.Load64(e)&0xffffffff != n {
		return false, nil
	}
	if !t.within(off, entryHeader+pad8(n)) {
		return false, fmt.Errorf("hashmap %q: %w: the entry at %#x has a key of %d bytes", t.object.Name(), ErrCorrupt, off, n)
	}
	return equalBytes(key, e.Add(entryHeader), n), nil
}

// freeSlot finds the first free slot of a key's chain. A bucket that is full
// sends readers on before anything lies behind it.
func (t *table) freeSlot(h uint64) (place, error) {
	i := t.bucketOf(h)
	for range uint64(1) << t.stripeBits {
		b := t.bucket(i)
		for slot := range b.slots {
			if b.slots[slot].Load() == 0 {
				return place{bucket: b, index: i, slot: uint64(slot)}, nil
			}
		}
		if tags := b.tags.Load(); tags < overflowed {
			b.tags.Store(tags | overflowed) // survivor: readers look one bucket further, in vain
			b.version.Store(b.version.Load() + 1)
		}
		i = t.next(i)
	}
	return place{}, fmt.Errorf("hashmap %q: %w: all %d slots of the key's stripe are taken; the map was made for %d entries",
		t.object.Name(), ErrFull, bucketSlots<<t.stripeBits, t.capacity)
}
