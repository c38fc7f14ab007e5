package hashmap

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// table is the map without its types: keys are bytes, entries are blocks.
type table struct {
	// What Load needs, in the order it needs it.
	shape
	secrets secrets
	dir     atomic.Pointer[tree.Dir] // the directory, as this process has last seen it
	base    mem.Ptr                  // of the segment
	end     atomic.Uint64            // where no bucket fits any more, and no entry with a short key
	version *psync.Word64            // of the tree
	state   *psync.Word64            // changes before the first block of the map is freed
	open    atomic.Uint64            // what state holds while the map lives and the handle is open
	tells   bool                     // a read that finds something tells somebody

	// What the rest needs.
	tree       *tree.Tree
	maxKey     uint64        // longest key
	low        uint64        // first offset a block can have
	segmentEnd atomic.Uint64 // where no segment of full size fits any more
	limit      atomic.Uint64 // bytes of the segment verified to be there
	plan       plan
	stripeOff  uint64 // offset in the segment
	object     *arena.Object
	slab       *slab.Slab
	floor      *arena.Floor
	damage     atomic.Pointer[error] // first damage seen
	holes      error                 // why values can't be compared; nil: they can
	crowded    atomic.Uint64         // a hash whose segment is to be split, with bit 0 set; 0: none
	respite    atomic.Int64          // full segments to pass over, after one could not be split
	growing    sync.Mutex            // held by the goroutine that splits
	ending     sync.RWMutex          // held for reading by who takes locks of the map without a record
	head       *header
	reach      uint64     // buckets of a chain at most
	mostSpare  uint64     // bytes of the largest spare
	kinds      [128]uint8 // one more than the class of an entry of 8 times so many bytes
	news       *news
	rings      *rings  // hits to be told; nil: the map has no limit, or is read-only here
	cell       *cell   // where reads are counted; nil: they are not
	late       arrears // reads to be counted
	waits      waits
	clock      clock
	purging    sync.Mutex                         // held by the goroutine that purges
	purged     uint64                             // first hash not yet looked at
	retries    atomic.Uint64                      // times that a search was repeated
	helps      atomic.Uint64                      // times that the swap lock was found taken
	keepFor    func(entries uint64) time.Duration // how long an exchange keeps the old content
}

// init fills the table in. What the header says is checked against the size of
// the root block before it is used.
func (t *table) init(s *slab.Slab, obj *arena.Object) error {
	t.slab, t.floor, t.object, t.keepFor = s, s.Floor(), obj, keepTime
	view := t.floor.View
	h, err := mem.At[header](view, obj.Ref())
	if err != nil {
		return err
	}
	if t.news, err = mem.At[news](view, obj.Ref()+newsOff); err != nil {
		return err
	}
	t.plan = plan{
		capacity: h.capacity.Load(), stripeBits: uint(h.stripeBits.Load()), bits: uint(h.bits.Load()),
		buckets: h.buckets.Load(), most: h.most.Load(), limit: h.limit.Load(), ttl: h.ttl.Load(), leases: h.leases.Load(),
		cells: t.news.cells.Load(),
	}
	if err := t.plan.check(obj.Size()); err != nil {
		return err
	}
	for i := range t.secrets {
		t.secrets[i] = h.secrets[i].Load()
	}
	if t.tree, err = tree.At(view, obj.Ref()+treeOff); err != nil {
		return err
	}
	t.version, t.stripeOff = t.tree.Version(), obj.Ref()+stripesOff
	none := tree.Empty(^uint64(0)) // of no version
	t.dir.Store(&none)
	t.head = h
	t.reach = tree.MaxBuckets
	t.setKinds()
	if t.plan.limit != 0 {
		t.reach = window
		if t.floor.Pool != nil {
			t.rings = newRings(t.plan.stripes(), len(t.floor.Pages.Classes()))
		}
	}
	if t.plan.cells != 0 && t.floor.Pool != nil {
		at := obj.Ref() + t.plan.cellsOff() + uint64(t.floor.Owner.ID().Slot())%readCells*cellSize
		t.cell = mem.Cast[cell](view.Base().Add(at))
	}
	t.tells = t.rings != nil || t.cell != nil
	t.base = view.Base()
	t.low = t.floor.DataOff
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
	t.segmentEnd.Store(limit - min(limit, t.plan.segmentBytes(tree.MaxBuckets)))
	t.end.Store(limit - min(limit, max(entryHeader+t.valueSize+7, bucketSize)))
}

// stripeAt returns the offset of the stripe of a hash.
func (t *table) stripeAt(h uint64) uint64 { return t.stripeOff + t.plan.stripeOf(h)*stripeSize }

func (t *table) stripe(off uint64) *stripe { return mem.Cast[stripe](t.base.Add(off)) }

// count sums the entries of the side that is current.
func (t *table) count() uint64 {
	for {
		version, n := t.version.Load(), uint64(0)
		for i := range t.plan.stripes() {
			n += t.stripe(t.stripeOff + i*stripeSize).count[tree.SideOf(version)].Load()
		}
		if tree.EpochOf(t.version.Load()) == tree.EpochOf(version) {
			runtime.KeepAlive(t)
			return n
		}
	}
}

// shut is what open holds when the handle is closed; no state is like it.
const shut = ^uint64(0)

// dead reports whether the handle or the map has ended. It is what readers ask
// last: while it says no, no block of the map was freed because of that.
func (t *table) dead() bool { return t.state.Load() != t.open.Load() }

// stay keeps Close from letting the map's memory go before leave is called: for
// what takes a lock of the map and has no record then, which Close waits for too.
// It does not wait.
func (t *table) stay() error {
	if !t.ending.TryRLock() {
		return t.ended()
	}
	if t.dead() {
		t.ending.RUnlock()
		return t.ended()
	}
	return nil
}

func (t *table) leave() { t.ending.RUnlock() }

// awaitStays waits for all who have called stay. Nobody will again: the handle is
// shut.
func (t *table) awaitStays() {
	t.ending.Lock()
	defer t.ending.Unlock()
}

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

// ended is err for one who has seen that the map is dead: it is not nil, though whoever
// may write the segment can bring the state back meanwhile.
func (t *table) ended() error {
	if err := t.err(); err != nil {
		return err
	}
	return fmt.Errorf("hashmap %q: %w", t.object.Name(), ErrRemoved)
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

// look returns the current directory. It has none as long as the map has not been
// planted, and never when the map has ended.
func (t *table) look() (*tree.Dir, error) {
	if d := t.dir.Load(); d.Version == t.version.Load() {
		return d, nil
	}
	return t.lookAnew()
}

//go:noinline
func (t *table) lookAnew() (*tree.Dir, error) {
	for {
		d, err := t.tree.Look()
		if err != nil { // it may lie where another process has grown the segment
			seen := d.Version
			t.floor.Refresh()
			t.verified(t.floor.View.Limit())
			if d, err = t.tree.Look(); err != nil && d.Version != seen {
				continue // and this one where it was grown since
			}
		}
		if err != nil {
			return nil, err
		}
		t.dir.Store(&d)
		return &d, nil
	}
}

// segment returns the segment that a word of the directory leads to, if there can
// be one.
func (t *table) segment(word uint64, d *tree.Dir) (s tree.Segment, ok bool) {
	s = tree.Parse(word)
	return s, s.Buckets != 0 && s.Depth <= d.Bits && s.Off&(bucketSize-1) == 0 &&
		(s.Off >= t.low && s.Off < t.segmentEnd.Load() || t.within(s.Off, t.plan.segmentBytes(s.Buckets)))
}

func (t *table) bucket(s *tree.Segment, i uint64) *bucket {
	return mem.Cast[bucket](t.base.Add(s.Bucket(i)))
}

// next returns the bucket where what does not fit into bucket i goes: the next
// one of the segment, in cyclic order.
func next(s *tree.Segment, i uint64) uint64 {
	if i++; i == s.Buckets {
		return 0
	}
	return i
}

// distanceOf returns how many buckets behind its home bucket i is.
func distanceOf(s *tree.Segment, home, i uint64) uint64 {
	if i < home {
		i += s.Buckets
	}
	return i - home
}

// homeFrom is the way back: the home of what lies so far behind it in bucket i, if that
// can be told.
func homeFrom(s *tree.Segment, i, distance uint64) (home uint64, ok bool) {
	if distance > i {
		i += s.Buckets
	}
	return i - distance, distance < tooFar && distance < s.Buckets
}

// found is what a search without lock has come to.
type found struct {
	entry   mem.Ptr       // if hit
	value   uint64        // bytes of the value, if hit
	bucket  *bucket       // where it is, or the last one of the chain; nil: there is no tree yet
	slot    *psync.Word64 // that leads to it, if hit
	word    uint64        // what the slot held
	version uint64        // of that bucket, from before the entry was read
	passed  uint64        // versions of the buckets before it in the chain, summed up; 0 if hit
	tree    uint64        // version of the tree, from before the bucket was found
	hit     bool
	retry   bool // a write was completed meanwhile
}

// find searches the chain of a key. The version of each bucket is checked
// before it is left for the next one: an entry that was moved or freed there
// meanwhile would make a false miss.
func (t *table) find(key mem.Ptr, n, h uint64) found {
	version := t.version.Load()
	d, err := t.look()
	if err != nil {
		f := found{tree: version}
		t.doubt(&f, "%v", err)
		return f
	}
	f := found{tree: d.Version}
	if d.Bits == 0 {
		return f
	}
	word := d.Word(h).Load()
	s, ok := t.segment(word, d)
	if !ok {
		t.doubt(&f, "the directory's word for hash %#x is %#x", h, word)
		return f
	}
	i := homeOf(h, s.Buckets)
	for range min(s.Buckets, t.reach) {
		f.bucket = t.bucket(&s, i)
		f.version = f.bucket.version.Load()
		tags := f.bucket.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			slot := &f.bucket.slots[slotIn(match)]
			for word := slot.Load(); word != 0 && word>>offsetBits == slotBits(h); {
				if t.compare(&f, word, key, n) {
					f.slot, f.word, f.passed = slot, word, 0
					return f
				}
				// An entry that has expired may have been replaced before it did.
				was := word
				if word = slot.Load(); word == was {
					break
				}
			}
		}
		if f.moved() {
			return found{retry: true}
		}
		if tags < overflowed {
			break
		}
		f.passed += f.version
		i = next(&s, i)
	}
	return f
}

// moved reports whether the bucket has changed.
func (f *found) moved() bool { return f.bucket != nil && f.bucket.version.Load() != f.version }

// changed reports whether the bucket has changed, or it may be another one's.
func (t *table) changed(f *found) bool { return f.moved() || t.version.Load() != f.tree }

// compare compares the entry that a slot's word leads to with the key. True: the
// search is over. Whatever is not plainly within what was verified is examined. Behind
// an entry that has expired there may be one that has not: when somebody was killed who
// had given its slot another tag.
func (t *table) compare(f *found, word uint64, key mem.Ptr, n uint64) bool {
	off, end := word&offsetMask, t.end.Load()
	if last := off + n; off >= t.low && off&7 == 0 && last < end {
		e := t.base.Add(off)
		size := mem.Load64(e)
		if size&0xffffffff != n {
			return false
		}
		if length := size >> 32; !t.bytesValue && length == t.valueSize || t.bytesValue && length < end-last {
			if !equalBytes(key, e.Add(entryHeader), n) {
				return false
			}
			f.entry, f.value, f.hit = e.Add(entryHeader+pad8(n)), length, !t.expired(e)
			return f.hit
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
	f.entry, f.value, f.hit = e.Add(entryHeader+pad8(n)), valueLen, !t.expired(e)
	return f.hit
}

func (s *shape) wrongValue(n uint64) bool { return !s.bytesValue && n != s.valueSize }

// doubt ends a search that has read what can't be: because something changed
// meanwhile, or because the segment is damaged.
func (t *table) doubt(f *found, format string, args ...any) bool {
	if f.retry = t.changed(f); !f.retry && !t.dead() {
		t.damaged(format, args...)
	}
	return true
}

func slotIn(match uint64) uint64 { return uint64(bits.TrailingZeros64(match)) >> 3 }

// stands reports whether what was read since find returned f stands.
func (t *table) stands(f *found) bool { return !t.changed(f) && !t.dead() }

// again is called before a search is repeated, since a write came between. It lets
// others run if somebody is writing faster than we read.
func (t *table) again(try int) {
	t.retries.Add(1)
	if try > 8 {
		runtime.Gosched()
	}
}
