package hashmap

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/slab"
)

// table is the map without its types: keys are bytes, entries are blocks.
type table struct {
	// What Load needs, in the order it needs it.
	shape
	secrets secrets
	nbucket uint64
	buckets mem.Ptr
	data    mem.Ptr       // where low is
	low     uint64        // first offset an entry can have
	span    atomic.Uint64 // one more than the words from low on to the last place of an entry with an empty key
	state   *psync.Word64 // changes before the first block of the map is freed
	open    atomic.Uint64 // what state holds while the map lives and the handle is open

	// What the rest needs.
	base       mem.Ptr       // of the segment
	maxKey     uint64        // longest key
	limit      atomic.Uint64 // bytes of the segment verified to be there
	stripeBits uint64
	bucketOff  uint64 // offsets in the segment
	stripeOff  uint64
	capacity   uint64
	object     *arena.Object
	slab       *slab.Slab
	floor      *arena.Floor
	damage     atomic.Pointer[error] // first damage seen
	holes      error                 // why values can't be compared; nil: they can
}

// init fills the table in. What the header says is checked against the size of
// the root block before it is used.
func (t *table) init(s *slab.Slab, obj *arena.Object) error {
	t.slab, t.floor, t.object = s, s.Floor(), obj
	view := t.floor.View
	h, err := mem.At[header](view, obj.Ref())
	if err != nil {
		return err
	}
	p := plan{buckets: h.buckets.Load(), stripeBits: h.stripeBits.Load(), bucketOff: h.bucketOff.Load()}
	if err := p.check(obj.Size()); err != nil {
		return err
	}
	for i := range t.secrets {
		t.secrets[i] = h.secrets[i].Load()
	}
	t.nbucket, t.stripeBits, t.capacity = p.buckets, p.stripeBits, h.capacity.Load()
	t.bucketOff, t.stripeOff = obj.Ref()+p.bucketOff, obj.Ref()+headerSize
	t.base = view.Base()
	t.buckets = t.base.Add(t.bucketOff)
	t.low = t.floor.DataOff
	t.data = t.base.Add(t.low)
	state, open := obj.Live()
	t.state = state
	t.open.Store(open)
	if err := t.fit(uint64(t.slab.MaxSize()) - t.low); err != nil {
		return err
	}
	t.verified(view.Limit())
	return nil
}

// fit bounds the keys: one that could not be in the arena can't be in the map.
func (t *table) fit(data uint64) error {
	room := entryHeader + t.valueSize
	if room+pad8(t.keySize) > data {
		return fmt.Errorf("%w: an entry has %d bytes, the arena at most %d", ErrTooLarge, room+pad8(t.keySize), data)
	}
	t.maxKey = min(keyLimit, (data-room)&^7)
	return nil
}

// verified raises the number of bytes that reads may go to.
func (t *table) verified(limit uint64) {
	t.limit.Store(limit)
	if data, room := limit-t.low, entryHeader+t.valueSize; data >= room {
		t.span.Store((data-room)>>3 + 1)
	}
}

func (p *plan) check(size uint64) error {
	per := uint64(1) << min(p.stripeBits, 32)
	stripes := p.buckets >> min(p.stripeBits, 32)
	if p.buckets == 0 || p.buckets > size/bucketSize || p.buckets%per != 0 || p.stripeBits > 16 ||
		p.bucketOff != headerSize+stripes*stripeSize || p.bucketOff+p.buckets*bucketSize > size {
		return fmt.Errorf("%w: %d buckets at %d, 2^%d in a stripe, in %d bytes", ErrCorrupt, p.buckets, p.bucketOff, p.stripeBits, size)
	}
	return nil
}

// bucketOf returns the index of a key's home bucket.
func (t *table) bucketOf(h uint64) uint64 {
	hi, _ := bits.Mul64(h, t.nbucket)
	return hi
}

func (t *table) bucket(i uint64) *bucket { return mem.Cast[bucket](t.buckets.Add(i * bucketSize)) }

// slotAt returns the offset of a slot, for an intent record.
func (t *table) slotAt(i, slot uint64) uint64 { return t.bucketOff + i*bucketSize + slotsOff + slot*8 }

// stripeAt returns the offset of the stripe that covers bucket i.
func (t *table) stripeAt(i uint64) uint64 { return t.stripeOff + i>>t.stripeBits*stripeSize }

// next returns the bucket where what does not fit into bucket i goes: the next
// one of the stripe, in cyclic order, so that one lock covers the whole chain.
func (t *table) next(i uint64) uint64 {
	mask := uint64(1)<<t.stripeBits - 1
	return i&^mask | (i+1)&mask
}

func (t *table) count() uint64 {
	n := uint64(0)
	for i := uint64(0); i < t.nbucket; i += 1 << t.stripeBits {
		n += mem.Cast[stripe](t.base.Add(t.stripeAt(i))).count.Load()
	}
	runtime.KeepAlive(t)
	return n
}

// shut is what open holds when the handle is closed; no state is like it.
const shut = ^uint64(0)

// dead reports whether the handle or the map has ended. It is what readers ask
// last: while it says no, no block of the map was freed because of that.
func (t *table) dead() bool { return t.state.Load() != t.open.Load() }

func (t *table) err() error {
	if err := t.object.Err(); err != nil {
		return err
	}
	if err := t.damage.Load(); err != nil {
		return *err
	}
	if t.open.Load() == shut {
		return fmt.Errorf("hashmap %q: handle: %w", t.object.Name(), ErrClosed)
	}
	return nil
}

// damaged remembers the first damage that a read has met.
func (t *table) damaged(format string, args ...any) {
	err := fmt.Errorf("hashmap %q: %w: %s", t.object.Name(), ErrCorrupt, fmt.Sprintf(format, args...))
	t.damage.CompareAndSwap(nil, &err)
}

// within reports whether n bytes at off, a multiple of 8, lie in the data area.
// The limit is raised if another process has grown the segment.
func (t *table) within(off, n uint64) bool {
	if t.reaches(off, n) {
		return true
	}
	t.floor.Refresh()
	t.verified(t.floor.View.Limit())
	return t.reaches(off, n)
}

func (t *table) reaches(off, n uint64) bool {
	limit := t.limit.Load()
	return off >= t.low && off&7 == 0 && off <= limit && n <= limit-off
}

// found is what a search without lock has come to.
type found struct {
	entry   mem.Ptr // if hit
	value   uint64  // bytes of the value, if hit
	bucket  *bucket // where it is, or the last one of the chain
	version uint64  // of that bucket, from before the entry was read
	hit     bool
	retry   bool // a write was completed meanwhile
}

// find searches the chain of a key. The version of each bucket is checked
// before it is left for the next one: an entry that was moved or freed there
// meanwhile would make a false miss.
func (t *table) find(key mem.Ptr, n, h uint64) found {
	i := t.bucketOf(h)
	for range uint64(1) << t.stripeBits {
		b := t.bucket(i)
		f := found{bucket: b, version: b.version.Load()}
		tags := b.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			word := b.slots[slotIn(match)].Load()
			if word == 0 || word>>offsetBits != slotBits(h) {
				continue
			}
			if t.compare(&f, word, key, n) {
				return f
			}
		}
		if f.changed() {
			return found{retry: true}
		}
		if tags < overflowed {
			return f
		}
		i = t.next(i)
	}
	return found{bucket: t.bucket(i), version: t.bucket(i).version.Load()} // the whole stripe was searched
}

func (f *found) changed() bool { return f.bucket.version.Load() != f.version }

// compare compares the entry that a slot's word leads to with the key. True: the
// search is over. Whatever is not plainly within what was verified is examined.
func (t *table) compare(f *found, word uint64, key mem.Ptr, n uint64) bool {
	span := t.span.Load()
	off := word&offsetMask - t.low
	if words := off>>3 + (n+7)>>3; words < span && off&7 == 0 {
		e := t.data.Add(off)
		size := mem.Load64(e)
		if size&0xffffffff != n {
			return false
		}
		if length := size >> 32; !t.bytesValue && length == t.valueSize || t.bytesValue && (length+7)>>3 < span-words {
			if !equalBytes(key, e.Add(entryHeader), n) {
				return false
			}
			f.entry, f.value, f.hit = e.Add(entryHeader+pad8(n)), length, true
			return true
		}
	}
	return t.examine(f, word&offsetMask, key, n)
}

// examine is compare, step by step. It looks for what other processes have
// committed meanwhile, and says what is wrong.
func (t *table) examine(f *found, off uint64, key mem.Ptr, n uint64) bool {
	if !t.within(off, entryHeader) {
		return t.doubt(f, "an entry at %#x lies outside the data area", off)
	}
	e := t.base.Add(off)
	size := mem.Load64(e)
	keyLen, valueLen := size&0xffffffff, size>>32
	if keyLen != n {
		return false
	}
	if t.shape.wrongValue(valueLen) || !t.within(off, entryHeader+pad8(n)+valueLen) {
		return t.doubt(f, "the entry at %#x has a value of %d bytes", off, valueLen)
	}
	if !equalBytes(key, e.Add(entryHeader), n) {
		return false
	}
	f.entry, f.value, f.hit = e.Add(entryHeader+pad8(n)), valueLen, true
	return true
}

func (s *shape) wrongValue(n uint64) bool { return !s.bytesValue && n != s.valueSize }

// doubt ends a search that has read what can't be: because the bucket changed
// meanwhile, or because the segment is damaged.
func (t *table) doubt(f *found, format string, args ...any) bool {
	if f.retry = f.changed(); !f.retry && !t.dead() {
		t.damaged(format, args...)
	}
	return true
}

func slotIn(match uint64) uint64 { return uint64(bits.TrailingZeros64(match)) >> 3 }

// stands reports whether what was read since find returned f stands.
func (t *table) stands(f *found) bool { return !f.changed() && !t.dead() }

// pause lets others run when a search is to be repeated: somebody is writing
// this bucket faster than we read it.
func pause(try int) {
	if try > 8 {
		runtime.Gosched()
	}
}
