package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// How a key is written. The block is reserved and filled before the lock is
// taken, so that nothing that takes long happens under it.
//
//	1  reserve a block, under the name of an intent record; fill it
//	2  lock the stripe; find the segment; find the key in it, or a free slot
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
//
// A write over an entry goes without 1 and 6 if it can: spare.go.

// Store sets the value of a key. When it returns nil the value is there, also
// if this process is killed at once; when it returns an error the old value is.
func (m *Map[K, V]) Store(k K, v V) error {
	return m.store(&k, &v, m.usual())
}

// store stores an entry that lives until the deadline.
func (m *Map[K, V]) store(k *K, v *V, until uint64) error {
	key, n := m.key(k)
	h := hashKey(key, n, &m.secrets)
	if m.hasSpare(n, h, m.sizeOf(v)) && m.storeOver(key, n, h, v, until) {
		return nil
	}
	for {
		op, ref, err := m.begin(key, n, v)
		if err != nil {
			return err
		}
		m.deadline(ref).Put(until)
		err = m.put(&op, key, n, h, ref)
		op.End()
		if err != errCrowded {
			return err
		}
		if err := m.relieve(key, n, h); err != nil {
			return err
		}
	}
}

// storeOver is store over an entry, in the spare of its stripe, if there are both.
func (m *Map[K, V]) storeOver(key mem.Ptr, n, h uint64, v *V, until uint64) bool {
	var w overwrite
	defer w.end()
	if !m.overwrite(&w, key, n, h, m.sizeOf(v)) {
		return false
	}
	m.fill(w.ref, key, n, v, until)
	w.commit(h)
	return true
}

// begin starts a write. It reserves a block and fills it with a new entry; with
// v nil there is none, and ref is 0. If it returns nil, op is to be ended.
func (m *Map[K, V]) begin(key mem.Ptr, n uint64, v *V) (op slab.Op, ref uint64, err error) {
	if v == nil {
		if err = m.checkSizes(n, 0); err == nil {
			op, err = m.slab.Begin()
		}
		return op, 0, err
	}
	size := m.sizeOf(v)
	if n > m.maxKey || size > mostValue || m.dead() {
		if err = m.checkSizes(n, size); err == nil {
			err = m.ended()
		}
		return op, 0, err
	}
	m.tend()
	if m.plan.limit != 0 {
		if err = m.prepare(key, n, entryHeader+pad8(n)+size); err != nil {
			return op, 0, err
		}
	}
	if op, err = m.slab.Begin(); err != nil {
		return op, 0, err
	}
	if ref, err = op.Reserve(entryHeader + pad8(n) + size); err != nil {
		op.End()
		return m.reserve(key, n, v, true)
	}
	m.fill(ref, key, n, v, m.usual())
	return op, ref, nil
}

// sizeOf returns the bytes of a value.
func (m *Map[K, V]) sizeOf(v *V) uint64 {
	if m.bytesValue {
		return uint64(len(m.bytesOf(v)))
	}
	return m.valueSize
}

// reserve reserves a block and fills it with a new entry. When there is no room it
// makes some; evict: also by eviction, and from an old content: not while a new one is
// built. For an entry that would not find room without all others it makes none.
func (m *Map[K, V]) reserve(key mem.Ptr, n uint64, v *V, evict bool) (op slab.Op, ref uint64, err error) {
	need := entryHeader + pad8(n) + m.sizeOf(v)
	h := hashKey(key, n, &m.secrets)
	w, scraped := without{table: &m.table, key: key, n: n, h: h, at: h, need: need}, 0
	for {
		if op, err = m.slab.Begin(); err != nil {
			return op, 0, err
		}
		if ref, err = op.Reserve(need); err == nil {
			break
		}
		op.End()
		if gone := m.object.Err(); gone != nil { // that is why, or will be
			return op, 0, gone
		}
		if possible := m.couldFit(need); possible && m.scrape(&scraped, m.kindFor(need), evict) {
			continue
		} else if possible && evict && w.evictSome(err) {
			continue
		}
		m.countRefused()
		return op, 0, fmt.Errorf("hashmap %q: store: %w", m.object.Name(), err)
	}
	m.fill(ref, key, n, v, m.usual())
	return op, ref, nil
}

func (t *table) countRefused() {
	if _, i, ok := t.floor.Pool.Take(); ok {
		if !t.dead() {
			t.news.refused.Add(1) // survivor: one more
		}
		t.floor.Pool.Give(i)
	}
}

// couldFit reports whether there would be room for an entry of so many bytes if the
// arena had nothing but the map, and the map no other entry.
func (t *table) couldFit(n uint64) bool {
	g := t.floor.Pages.Geometry()
	room := g.MaxPages << g.Shift
	if t.plan.limit != 0 { // segments that stay
		room -= min(room, t.plan.segmentSize(t.plan.buckets, t.floor.Pages)<<t.plan.bits)
	}
	return t.floor.Pages.BlockSize(n) <= room
}

// fill writes an entry. The block is reachable from nowhere yet; a reader that holds a
// stale offset to it finds its version changed.
func (m *Map[K, V]) fill(ref uint64, key mem.Ptr, n uint64, v *V, until uint64) {
	value := fillKey(m.base.Add(ref), key, n, m.sizeOf(v), until)
	if m.bytesValue {
		mem.CopyIn(value, m.bytesOf(v))
	} else {
		mem.Write(value, v)
	}
}

// How often a write without room frees spares of its size: those that it freed may be
// others' spares by now, each time because somebody has got on. sureOf: how often at
// least, since others may have freed them all, and not yet used them.
const (
	scrapes = 64
	sureOf  = 3
)

// scrape frees what nobody needs, and reports whether it is worth another try: an old
// content, if that is wanted; all spares once, those for entries of the kind that is
// wanted again and again; and entries that have expired.
func (t *table) scrape(tries *int, kind uint64, old bool) bool {
	if old && t.clearOut() {
		return true
	}
	if first := *tries == 0; first || kind != 0 && *tries < scrapes {
		only := kind
		if first {
			only = 0
		}
		if *tries++; t.freeSpares(only) || kind != 0 && *tries < sureOf {
			return true
		}
	}
	return t.purgeSome()
}

func (t *table) checkSizes(n, size uint64) error {
	if n > t.maxKey || size > mostValue {
		return fmt.Errorf("hashmap %q: %w: key of %d bytes, value of %d; want at most %d and %d",
			t.object.Name(), ErrTooLarge, n, size, t.maxKey, mostValue)
	}
	return t.object.Err()
}

// fillKey writes the head of an entry and returns where its value goes.
func fillKey(e, key mem.Ptr, n, size, until uint64) mem.Ptr {
	head := [2]uint64{n | size<<32, until}
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
	if t.insert(op, h, ref) {
		return nil
	}
	return t.putGuarded(op, key, n, h, ref)
}

//go:noinline
func (t *table) putGuarded(op *slab.Op, key mem.Ptr, n, h, ref uint64) error {
	var g guard
	if err := t.lock(h, &g); err != nil {
		return err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil {
		return err
	}
	return g.link(op, at, h, ref)
}

// remove unlinks the entry of a key.
func (t *table) remove(op *slab.Op, key mem.Ptr, n, h uint64) (bool, error) {
	var g guard
	if err := t.lock(h, &g); err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil || at.old == 0 {
		return false, err
	}
	g.unlink(op, at)
	return at.live, nil
}

// link links a filled entry where locate has found the key, or in a free slot
// if it has not. If there is none, or the stripe has its share, the error is
// errCrowded.
func (g *guard) link(op *slab.Op, at *place, h, ref uint64) error {
	c := intent.Change{New: ref | slotBits(h)<<offsetBits}
	again := at.old != 0
	if !again {
		if err := g.freeSlot(h, at); err != nil {
			return err
		}
		if at.old == 0 {
			if g.hasShare() {
				return errCrowded
			}
			c.Count, c.After = g.countAt(), g.count().Load()+1
			g.filled(h, 1)
		}
		distance := tooFar // also that of what the slot may still hold
		if at.old == 0 {
			distance = distanceOf(&g.seg, homeOf(h, g.seg.Buckets), at.index)
		}
		tags := &at.bucket.tags
		tags.Put(marked(tags.Load(), at.slot, tagOf(h), distance)) // survivor: a tag without its slot, or an expired entry with that of another: nobody misses either
	}
	lapses(g.t.earliest(&g.seg, at.index), g.t.deadline(ref).Load())
	g.value(at, h, again)
	g.apply(op, at, &c)
	return nil
}

// unlink unlinks the entry that locate has found.
func (g *guard) unlink(op *slab.Op, at *place) {
	g.filled(0, ^uint64(0))
	g.apply(op, at, &intent.Change{Count: g.countAt(), After: g.count().Load() - 1})
	g.forget(at)
}

// guard is a locked stripe, and a segment that it guards.
type guard struct {
	t      *table
	lock   uint64 // offset of the lock
	off    uint64 // of the stripe
	stripe *stripe
	dir    *tree.Dir
	side   int // of the tree
	seg    tree.Segment
	half   bool // a change was begun and not ended
	news   bool // something was changed
	found  place
}

// lock locks the stripe of a key, mends what a dead holder left, and finds the
// segment. The guard is filled in where it lies: copies of it would cost as much as the
// lock.
func (t *table) lock(h uint64, g *guard) error {
	// The operation has its record by now: a Close of the handle that we do not
	// see here waits for us before it lets the map's memory go.
	if t.dead() {
		return t.ended()
	}
	off := t.stripeAt(h)
	g.t, g.lock, g.off, g.stripe = t, off, off, t.stripe(off)
	if !g.stripe.lock.TryLock(t.floor.Owner) {
		if err := t.lockSlow(off); err != nil {
			return err
		}
	}
	if err := g.enter(h); err != nil {
		g.unlock()
		return err
	}
	if t.rings != nil {
		g.hear()
	}
	return nil
}

// lockSlow waits for the lock of a stripe, and mends what a dead holder left.
//
//go:noinline
func (t *table) lockSlow(off uint64) error {
	err := t.stripe(off).lock.Lock(t.floor.Owner, func() error { return t.floor.Records.SettleLock(off) })
	if err != nil {
		return fmt.Errorf("hashmap %q: %w", t.object.Name(), slab.CloseError(err))
	}
	return nil
}

// enter finds the segment of a key. The segment stays: who would split it, or
// take it down, needs the lock. The directory may be doubled meanwhile; therefore
// the version is looked at again.
func (g *guard) enter(h uint64) error {
	t := g.t
	for {
		d := t.dir.Load()
		word := d.Word(h).Load()
		if t.version.Load() != d.Version {
			if _, err := t.lookAnew(); err != nil {
				return fmt.Errorf("hashmap %q: %w", t.object.Name(), err)
			}
			continue
		}
		g.dir, g.side, g.seg = d, tree.SideOf(d.Version), tree.Parse(word)
		if s := &g.seg; s.Depth < t.plan.stripeBits || s.Depth > d.Bits || s.Buckets == 0 || s.Off&(bucketSize-1) != 0 || s.Off < t.low || s.Off >= t.segmentEnd.Load() {
			return g.inspect(h, word)
		}
		return nil
	}
}

// inspect looks closer at a segment that may be none.
func (g *guard) inspect(h, word uint64) error {
	if _, ok := g.t.segment(word, g.dir); !ok || g.seg.Depth < g.t.plan.stripeBits {
		return fmt.Errorf("hashmap %q: %w: the directory's word for hash %#x is %#x", g.t.object.Name(), ErrCorrupt, h, word)
	}
	return nil
}

// unlock gives the stripe back, for mending if a change was cut short by a
// panic.
func (g *guard) unlock() {
	if g.half {
		g.stripe.lock.Abandon()
		return
	}
	g.stripe.lock.Unlock()
	if g.news {
		g.t.ring()
	}
}

// count is the number of entries of the stripe, on the side that the segment is
// of.
func (g *guard) count() *psync.Word64 { return &g.stripe.count[g.side] }

func (g *guard) countAt() uint64 { return g.off + countOff + 8*uint64(g.side) }

func (g *guard) next(i uint64) uint64 { return next(&g.seg, i) }

// place is a slot. It is handed on by its address: a struct that has just been written
// field by field, and is then copied as a whole, makes the processor wait.
type place struct {
	bucket *bucket
	index  uint64 // of the bucket
	slot   uint64
	old    uint64 // what the slot holds
	live   bool   // an entry that has not expired
}

// set makes *p the place of a slot in bucket i, which holds old.
func (p *place) set(b *bucket, i, slot, old uint64, live bool) {
	p.bucket, p.index, p.slot, p.old, p.live = b, i, slot, old, live
}

// apply carries a change of one slot out.
func (g *guard) apply(op *slab.Op, at *place, c *intent.Change) {
	r := op.Record
	c.Lock, c.Target, c.Old = g.lock, g.seg.SlotAt(at.index, at.slot), at.old
	c.Version = g.seg.Bucket(at.index)
	if g.half = true; g.lock == g.off {
		g.begin(at)
	}
	trade := g.trade(c)
	if trade {
		r.Trade(c) // survivor: rolls back
	} else {
		r.Replace(c) // survivor: rolls back
	}
	at.bucket.slots[at.slot].StoreRelease(c.New)                 // survivor: rolls forward
	at.bucket.version.StoreRelease(at.bucket.version.Load() + 1) // survivor: raises it once more
	if c.Old != 0 && !trade {
		op.Settle(c.Old & offsetMask) // survivor: sees it freed, and named
	}
	if c.Count != 0 { // or the spare
		mem.Cast[psync.Word64](g.t.base.Add(c.Count)).StoreRelease(c.After) // survivor: stores the same
	}
	if g.lock == g.off {
		g.stripe.end()
	}
	r.Close() // survivor: nothing to mend
	g.half = false
}

// locate finds a key under the lock of its stripe; old is 0 if it is not there. An
// entry that has expired is taken if there is none that has not; see table.compare.
// The place is that of the guard, until the next call.
func (g *guard) locate(key mem.Ptr, n, h uint64) (*place, error) {
	at := &g.found
	at.old, at.live = 0, false
	i := homeOf(h, g.seg.Buckets)
	for range min(g.seg.Buckets, g.t.reach) {
		b := g.t.bucket(&g.seg, i)
		tags := b.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			slot := slotIn(match)
			word := b.slots[slot].Load()
			if word == 0 || word>>offsetBits != slotBits(h) {
				continue
			}
			same, err := g.t.same(word&offsetMask, key, n)
			if err != nil {
				return nil, err
			}
			if !same {
				continue
			}
			if at.set(b, i, slot, word, !g.t.expired(g.t.base.Add(word&offsetMask))); at.live {
				return at, nil
			}
		}
		if tags < overflowed {
			break
		}
		i = g.next(i)
	}
	return at, nil
}

// same compares the entry at off with a key, under the lock. Whatever is not plainly
// within what was verified is examined.
func (t *table) same(off uint64, key mem.Ptr, n uint64) (bool, error) {
	if off >= t.low && off&7 == 0 && off+n < t.end.Load() {
		e := t.base.Add(off)
		return mem.Load64(e)&0xffffffff == n && equalBytes(key, e.Add(entryHeader), n), nil
	}
	return t.sameFar(off, key, n)
}

//go:noinline
func (t *table) sameFar(off uint64, key mem.Ptr, n uint64) (bool, error) {
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

// freeSlot finds the first free slot of a key's chain, or one whose entry has
// expired, which is replaced then. A bucket that is full sends readers on before
// anything lies behind it.
func (g *guard) freeSlot(h uint64, at *place) error {
	i := homeOf(h, g.seg.Buckets)
	for far := range min(g.seg.Buckets, g.t.reach) {
		b := g.t.bucket(&g.seg, i)
		for slot := range b.slots {
			if b.slots[slot].Load() == 0 {
				if far >= longChain {
					g.t.crowd(h)
				}
				at.set(b, i, uint64(slot), 0, false)
				return nil
			}
		}
		if g.expiredIn(b, i, at) {
			return nil
		}
		if tags := b.tags.Load(); tags < overflowed {
			b.tags.Store(tags | overflowed) // survivor: readers look one bucket further, in vain
			b.version.Store(b.version.Load() + 1)
		}
		i = g.next(i)
	}
	return errCrowded
}

// filled counts the entries of the segment, and has it split when it is too full.
func (g *guard) filled(h, n uint64) {
	count := &mem.Cast[first](g.t.base.Add(g.seg.Off)).count
	now := count.Load() + n
	count.Put(now) // survivor: one more or less than there are
	if n == 1 && g.t.plan.limit == 0 && now > full(g.seg.Buckets) {
		g.t.crowd(h)
	}
}
