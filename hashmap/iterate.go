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
		var keys [bucketSlots]K
		var values [bucketSlots]V
		for i := range m.nbucket {
			n, ok := m.snapshot(i, &keys, &values)
			if !ok {
				return
			}
			for j := range n {
				if !yield(keys[j], values[j]) {
					return
				}
			}
		}
	}
}

// Keys is All without the values, which are not even read.
func (m *Map[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		var keys [bucketSlots]K
		for i := range m.nbucket {
			n, ok := m.snapshot(i, &keys, nil)
			if !ok {
				return
			}
			for j := range n {
				if !yield(keys[j]) {
					return
				}
			}
		}
	}
}

// Values is All without the keys.
func (m *Map[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		var values [bucketSlots]V
		for i := range m.nbucket {
			n, ok := m.snapshot(i, nil, &values)
			if !ok {
				return
			}
			for j := range n {
				if !yield(values[j]) {
					return
				}
			}
		}
	}
}

// snapshot copies the entries of a bucket as they were at one moment; keys or
// values only, if the other is nil. False: the map has ended.
func (m *Map[K, V]) snapshot(i uint64, keys *[bucketSlots]K, values *[bucketSlots]V) (n int, ok bool) {
	b := m.bucket(i)
	for try := 0; ; try++ {
		f := found{bucket: b, version: b.version.Load()}
		n := 0
		for slot := range b.slots {
			word := b.slots[slot].Load()
			if word == 0 {
				continue
			}
			var k *K
			var v *V
			if keys != nil {
				k = &keys[n]
			}
			if values != nil {
				v = &values[n]
			}
			if m.copyEntry(&f, word&offsetMask, k, v) {
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

// copyEntry copies the key and the value of one entry out, to where they are
// wanted. False: it can't be one, or the bucket has changed.
func (m *Map[K, V]) copyEntry(f *found, off uint64, k *K, v *V) bool {
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

// copyValue copies a value of n bytes out, to memory of its own if V is []byte.
func (m *Map[K, V]) copyValue(p mem.Ptr, n uint64, v *V) {
	if !m.bytesValue {
		mem.ReadInto(v, p)
		return
	}
	b := make([]byte, n)
	mem.CopyOut(b, p)
	mem.SetBytes(v, b)
}

func (s *shape) wrongKey(n uint64) bool { return !s.textKey && n != s.keySize }
