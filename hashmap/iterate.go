package hashmap

import (
	"iter"
	"runtime"

	"github.com/shmkit/shmkit/internal/mem"
)

// All iterates over the entries, in no order. It takes no lock and does not
// hold writers up. Each pair is one that was in the map at one time; a key that
// is there all the while is yielded exactly once; one that comes or goes
// meanwhile may be yielded or not. If the map is removed or the handle closed,
// the iteration ends early, and Err says why.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		var page [bucketSlots]pair[K, V]
		for i := range m.nbucket {
			n, ok := m.snapshot(i, &page)
			if !ok {
				return
			}
			for _, p := range page[:n] {
				if !yield(p.key, p.value) {
					return
				}
			}
		}
	}
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// snapshot copies the entries of a bucket as they were at one moment. False:
// the map has ended.
func (m *Map[K, V]) snapshot(i uint64, page *[bucketSlots]pair[K, V]) (n int, ok bool) {
	b := m.bucket(i)
	for try := 0; ; try++ {
		f := found{bucket: b, version: b.version.Load()}
		n := 0
		for slot := range b.slots {
			if word := b.slots[slot].Load(); word != 0 && m.copyEntry(&f, word&offsetMask, &page[n]) {
				n++
			}
		}
		if m.stands(&f) {
			runtime.KeepAlive(m)
			return n, true
		}
		if m.dead() {
			return 0, false
		}
		pause(try)
	}
}

// copyEntry copies one entry out. False: it can't be one, or the bucket has
// changed.
func (m *Map[K, V]) copyEntry(f *found, off uint64, p *pair[K, V]) bool {
	if !m.within(off, entryHeader) {
		return !m.doubt(f, "an entry at %#x lies outside the data area", off)
	}
	e := m.base.Add(off)
	size := mem.Load64(e)
	n, length := size&0xffffffff, size>>32
	if n > m.maxKey || m.wrongKey(n) || m.wrongValue(length) || !m.within(off, entryHeader+pad8(n)+length) {
		return !m.doubt(f, "the entry at %#x has a key of %d bytes and a value of %d", off, n, length)
	}
	if f.changed() {
		return false // do not take memory for a length that is out of date
	}
	e = e.Add(entryHeader)
	if m.textKey {
		text := make([]byte, n)
		mem.CopyOut(text, e)
		mem.SetString(&p.key, text)
	} else {
		mem.ReadInto(&p.key, e)
	}
	e = e.Add(pad8(n))
	if m.bytesValue {
		b := make([]byte, length)
		mem.CopyOut(b, e)
		mem.SetBytes(&p.value, b)
	} else {
		mem.ReadInto(&p.value, e)
	}
	return true
}

func (s *shape) wrongKey(n uint64) bool { return !s.textKey && n != s.keySize }
