package hashmap

import (
	"fmt"
	"iter"
	"runtime"
	"slices"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

// How the map is walked over, without a lock: segment by segment in the order of
// the hashes, bucket by bucket. A key that is there all the while stays in its
// bucket as long as its segment does. When the segment was replaced meanwhile,
// those that now have its range are walked over, without the keys that were
// yielded already: their hashes are kept until the range is done.
//
// A walk is over one content. When that was exchanged, a walk that has given
// nothing away yet begins again. Any other one goes on in the old tree, as long as
// that stands: who exchanges the content keeps it for a while, though he knows of no
// walk, since a walk stores nothing.
//
//	walk, over content e                    who exchanges the content
//	1  read, in the tree on e's side        1  the exchange to e + 1
//	2  gone is not e                        2  keep the tree of e for a while
//	3  and then, the version of the tree    3  gone = e
//	   is of e or e + 1: it stands          4  take the tree of e down
//
// As with a bucket's version, gone changes before the first block is freed. It is read
// before the version: the other way round, two exchanges between the looks would leave
// it at e + 1. When it says so the walk is over: the new content is another one's.

// All iterates over the entries, in no order. It takes no lock and does not
// hold writers up. Each pair is one that was in the map at one time; a key that
// is there all the while is yielded exactly once, also if the map grows; one that
// comes or goes meanwhile may be yielded or not, one that goes and comes again also
// twice.
//
// Contents are never mixed: if the whole content is exchanged meanwhile, by Clear
// or ReplaceAll, the iteration goes on over the old one. That is kept for 1 µs for each
// of its entries, 1 to 100 ms, which is enough for a loop that does little; one that is
// late, or whose memory is wanted, ends early. It does so too if the map is removed or
// the handle closed, and Err says why. Whoever has to know whether it came to the end
// takes [Map.Range]; whoever needs all of one content, however long it takes,
// [Map.Snapshot]. With keys and values of fixed size an iteration allocates nothing.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { _ = m.Range(yield) }
}

// Range is All with a reason: it calls f with each entry until f returns false,
// and returns nil if f did so, or there are no more. Otherwise the error wraps
// ErrReplaced if the content was exchanged meanwhile and taken down, or is what Err
// returns: ErrClosed, ErrRemoved, or ErrCorrupt, also if the handle has met damage
// before; then f was called with the entries that can be read.
func (m *Map[K, V]) Range(f func(K, V) bool) error {
	w := m.walker()
	defer m.done(w)
	return m.each(w, &w.keys, &w.values, func(i int) bool { return f(w.keys[i], w.values[i]) })
}

// Keys is All without the values, which are not even read.
func (m *Map[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		w := m.walker()
		defer m.done(w)
		_ = m.each(w, &w.keys, nil, func(i int) bool { return yield(w.keys[i]) })
	}
}

// Values is All without the keys.
func (m *Map[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		w := m.walker()
		defer m.done(w)
		_ = m.each(w, nil, &w.values, func(i int) bool { return yield(w.values[i]) })
	}
}

// walker is a walk, and where it copies the entries of a bucket to. The map keeps those
// that are done: so an iteration over keys and values of fixed size takes no memory.
type walker[K comparable, V any] struct {
	walk
	hashes [bucketSlots]uint64
	keys   [bucketSlots]K
	values [bucketSlots]V
}

// walker returns one that begins. The pool is not a part of the map: what it has must
// not keep a handle from being collected.
func (m *Map[K, V]) walker() *walker[K, V] {
	w, _ := m.walkers.Get().(*walker[K, V])
	if w == nil {
		w = new(walker[K, V])
	}
	w.walk = walk{t: &m.table, yielded: w.yielded[:0]}
	return w
}

// done gives a walker back.
func (m *Map[K, V]) done(w *walker[K, V]) {
	w.walk = walk{yielded: w.yielded[:0]}
	if m.textKey {
		clear(w.keys[:])
	}
	if m.bytesValue {
		clear(w.values[:])
	}
	m.walkers.Put(w)
}

// each copies the entries of one bucket after the other to keys and values, where
// these are wanted, and calls yield with the index of each, until it returns false.
// The error says why the walk has ended early, if it was not for that.
func (m *Map[K, V]) each(w *walker[K, V], keys *[bucketSlots]K, values *[bucketSlots]V, yield func(i int) bool) error {
	for w.more() {
		n, ok := m.snapshot(&w.walk, &w.hashes, keys, values)
		if !ok {
			break
		}
		for i := range n {
			if w.fresh(w.hashes[i]) {
				if w.begun = true; !yield(i) {
					return nil
				}
			}
		}
		w.yielded = append(w.yielded, w.hashes[:n]...)
		w.next++
	}
	return w.err()
}

// walk is how far a walk over the map has come.
type walk struct {
	t       *table
	from    uint64       // first hash of the range of seg
	seg     tree.Segment // its Word is 0: the segment at from is yet to be found
	version uint64       // of the tree when the segment was found
	next    uint64       // bucket
	end     uint64       // first hash that yielded has nothing to do with; 0: the end of all
	yielded []uint64     // hashes of what was yielded of the range up to end
	skip    int          // how many of them the walk over a replaced segment has yielded
	done    uint64       // first hash behind the ranges that are done; 0 before the first, and when all are
	over    bool         // they are

	content  uint64  // which one the walk is over, as tree.EpochOf counts; from when the first segment is found
	begun    bool    // it stays that one
	replaced bool    // it was exchanged, and taken down
	prefix   mem.Ptr // what keys begin with, if length is not 0
	length   uint64
}

// err says why the walk has ended early, or has passed something over.
func (w *walk) err() error {
	if err := w.t.err(); err != nil {
		return err
	}
	if w.replaced {
		return fmt.Errorf("hashmap %q: %w", w.t.object.Name(), ErrReplaced)
	}
	return nil
}

// more finds the next bucket.
func (w *walk) more() bool {
	for !w.over {
		if w.seg.Word == 0 {
			if !w.find() {
				return false
			}
		} else if w.next < w.seg.Buckets {
			return true
		} else { // it stood when its last bucket was read
			w.advance()
		}
	}
	return false
}

// find finds the segment at from, of the content that the walk is over.
func (w *walk) find() bool {
	for try := 0; ; try++ {
		d, s, err := w.peek()
		version, there := w.look()
		switch {
		case w.t.dead():
			return false
		case version != d.Version:
			w.t.again(try)
		case !there:
			if w.replaced = w.begun; w.replaced {
				return false
			}
			*w = walk{t: w.t, content: tree.EpochOf(version), prefix: w.prefix, length: w.length, yielded: w.yielded[:0]}
		case err != nil:
			w.t.damaged("%v", err)
			return false
		case s.Buckets == 0:
			w.over = true // there is no tree yet
			return false
		default:
			w.seg, w.version, w.next = s, version, 0
			if len(w.yielded) == 0 {
				w.end = w.after()
			}
			return true
		}
	}
}

// look returns the version of the tree, and whether the content of the walk is there
// at it: it is the current one; or the walk has begun, and it is the one before and
// not being taken down.
func (w *walk) look() (version uint64, there bool) {
	gone := w.t.news.gone.Load() // before the version
	version = w.t.version.Load()
	before := w.begun && gone != w.content && tree.EpochOf(version-tree.OneExchange) == w.content
	return version, tree.EpochOf(version) == w.content || before
}

// peek finds the segment at from without a lock, in the tree of the walk's content.
// What it returns stands if look says so, at the version of the directory.
func (w *walk) peek() (*tree.Dir, tree.Segment, error) {
	t := w.t
	version := t.version.Load()
	if !w.begun || tree.EpochOf(version) == w.content {
		current, s, err := t.peek(w.from)
		switch {
		case current == nil: // damaged
			return &tree.Dir{Version: version}, s, err
		case w.begun && tree.EpochOf(current.Version) != w.content: // exchanged meanwhile
			return w.peek()
		}
		return current, s, err
	}
	ref := t.tree.Dir(int(w.content & 1)).Load()
	if ref == 0 {
		return &tree.Dir{Version: version}, tree.Segment{}, nil
	}
	t.floor.Refresh() // it may lie where another process has grown the arena
	old, err := t.tree.Open(ref)
	if old.Version = version; err != nil {
		return &old, tree.Segment{}, err
	}
	s, ok := t.segment(old.Word(w.from).Load(), &old)
	if !ok {
		err = fmt.Errorf("the directory's word for hash %#x is %#x", w.from, s.Word)
	}
	return &old, s, err
}

// stands reports whether the segment is still that of its range. If not, the walk
// goes back to where the range begins.
func (w *walk) stands() bool {
	if version, there := w.look(); there && version == w.version {
		return true
	}
	d, s, err := w.peek()
	if version, there := w.look(); err == nil && there && s.Word == w.seg.Word && version == d.Version {
		w.version = version
		return true
	}
	w.seg, w.skip = tree.Segment{}, len(w.yielded)
	return false
}

// confirms reports whether what was read of a bucket stands.
func (w *walk) confirms(f *found) bool {
	_, there := w.look()
	return there && w.t.stands(f)
}

// advance goes on to the range after that of the segment.
func (w *walk) advance() {
	w.from = w.after()
	w.seg = tree.Segment{}
	if w.from-1 >= w.end-1 { // 0 is behind all others
		w.yielded, w.skip, w.done = w.yielded[:0], 0, w.from
	}
	w.over = w.from == 0
}

// after returns the first hash behind the range of the segment.
func (w *walk) after() uint64 {
	size := uint64(1) << (63 - w.seg.Depth) << 1
	return w.from&-size + size
}

// fresh reports whether an entry was not yielded before its segment was replaced.
// Where a scan goes on, a segment can begin before the range.
func (w *walk) fresh(h uint64) bool {
	return h >= w.from && !slices.Contains(w.yielded[:w.skip], h)
}

// snapshot copies the entries of a bucket as they were at one moment; keys or
// values only, if the other is nil. False: the map has ended.
func (m *Map[K, V]) snapshot(w *walk, hashes *[bucketSlots]uint64, keys *[bucketSlots]K, values *[bucketSlots]V) (n int, ok bool) {
	for try := 0; ; try++ {
		if w.seg.Word == 0 || !w.stands() {
			return 0, true // more finds the new one
		}
		b := m.bucket(&w.seg, w.next)
		f := found{bucket: b, version: b.version.Load(), tree: w.version}
		n := 0
		for slot := range b.slots {
			var k *K
			var v *V
			if keys != nil {
				k = &keys[n]
			}
			if values != nil {
				v = &values[n]
			}
			for word := b.slots[slot].Load(); word != 0; {
				if m.copyEntry(w, &f, word&offsetMask, &hashes[n], k, v) {
					n++
					break
				}
				was := word
				if word = b.slots[slot].Load(); word == was { // see table.find
					break
				}
			}
		}
		if w.confirms(&f) {
			runtime.KeepAlive(m)
			return n, true
		}
		if m.dead() {
			return 0, false
		}
		m.again(try)
	}
}

// copyEntry copies the key and the value of one entry out, to where they are
// wanted. False: it can't be one, it is none that the walk looks for, or the bucket
// has changed.
func (m *Map[K, V]) copyEntry(w *walk, f *found, off uint64, h *uint64, k *K, v *V) bool {
	if !m.within(off, entryHeader) {
		return !w.doubt(f, "an entry at %#x lies outside the data area", off)
	}
	e := m.base.Add(off)
	if m.expired(e) {
		return false
	}
	size := mem.Load64(e)
	n, length := size&0xffffffff, size>>32
	if n > m.maxKey || m.wrongKey(n) || m.wrongValue(length) || !m.within(off, entryHeader+pad8(n)+length) {
		return !w.doubt(f, "the entry at %#x has a key of %d bytes and a value of %d", off, n, length)
	}
	if !w.confirms(f) {
		return false // do not take memory for a length that is out of date
	}
	e = e.Add(entryHeader)
	if n < w.length || !equalValue(w.prefix, e, w.length) {
		return false
	}
	*h = hashBytes(e, n, &m.secrets)
	if k != nil {
		m.copyKey(e, n, k)
	}
	if v != nil {
		m.copyValue(e.Add(pad8(n)), length, v)
	}
	return true
}

// copyKey copies the n bytes of a key out, to memory of its own if K is a string.
func (m *Map[K, V]) copyKey(p mem.Ptr, n uint64, k *K) {
	if !m.textKey {
		mem.ReadInto(k, p)
		return
	}
	text := make([]byte, n)
	mem.CopyOut(text, p)
	mem.SetString(k, text)
}

// copyValue copies a value of n bytes out, to memory of its own if V is []byte or
// string.
func (m *Map[K, V]) copyValue(p mem.Ptr, n uint64, v *V) {
	if !m.bytesValue {
		mem.ReadInto(v, p)
		return
	}
	b := make([]byte, n)
	mem.CopyOut(b, p)
	m.setBytes(v, b)
}

// bytesOf returns the bytes of a V of []byte or string, to be read only.
func (m *Map[K, V]) bytesOf(v *V) []byte {
	if m.textValue {
		return mem.TextBytes(v)
	}
	return mem.AsBytes(v)
}

// setBytes makes b the value of a V of []byte or string. As a string it is the
// caller's no more.
func (m *Map[K, V]) setBytes(v *V, b []byte) {
	if m.textValue {
		mem.SetString(v, b)
		return
	}
	mem.SetBytes(v, b)
}

func (s *shape) wrongKey(n uint64) bool { return !s.textKey && n != s.keySize }

// doubt is that of the table, but that what was taken down proves nothing.
func (w *walk) doubt(f *found, format string, args ...any) bool {
	if _, there := w.look(); !there {
		return true
	}
	return w.t.doubt(f, format, args...)
}
