package hashmap

import (
	"iter"

	"github.com/shmkit/shmkit/internal/mem"
)

// Many keys at once are written in portions. For each, three things are done
// that one key by itself does not allow:
//
//  1. the home buckets of all keys are looked at, one after the other; none of these
//     reads needs what another one returns, and no atomic instruction lies between, so
//     the processor has many of them under way at once
//  2. so are the entries that are perhaps those of the keys
//  3. the keys are written, in the order of their stripes; all that this takes is in the
//     cache
//
// Each write is one of its own, as if there were no others. Reads gain nothing in this
// way: one Load after the other has no atomic instruction either.

// portion is how many keys are taken at a time: their buckets and entries fit into
// the cache.
const portion = 256

// batch is a portion.
type batch[K comparable, V any] struct {
	pairs  []Entry[K, V]
	hashes [portion]uint64
	order  [portion]uint8 // indices, in the order of the stripes
}

// prepareAll looks at what the keys will need, and puts them in order.
func (m *Map[K, V]) prepareAll(b *batch[K, V]) {
	for i := range b.pairs {
		key, n := m.key(&b.pairs[i].Key)
		b.hashes[i] = hashKey(key, n, &m.secrets)
		m.touchBucket(b.hashes[i])
	}
	for i := range b.pairs {
		m.touchEntry(b.hashes[i])
	}
	var next [257]int
	for i := range b.pairs {
		next[b.hashes[i]>>56+1]++
	}
	for i := range 256 {
		next[i+1] += next[i]
	}
	for i := range b.pairs {
		at := &next[b.hashes[i]>>56]
		b.order[*at] = uint8(i)
		*at++
	}
}

// touchBucket reads the home bucket of a hash, or something else.
func (t *table) touchBucket(h uint64) (tags uint64, b *bucket) {
	at := bucketIn(t.dir.Load().Word(h).Load(), h)
	if at >= t.end.Load() {
		return 0, nil
	}
	b = mem.Cast[bucket](t.base.Add(at))
	return b.tags.Load(), b
}

// touchEntry reads the first entry that is perhaps that of a hash, or something else.
func (t *table) touchEntry(h uint64) {
	tags, b := t.touchBucket(h)
	match := matches(tags, h)
	if b == nil || match == 0 {
		return
	}
	if off := b.slots[slotIn(match)].Load() & (offsetMask &^ 7); off < t.end.Load() {
		t.deadline(off).Load()
	}
}

// StoreAll stores all pairs of seq, each one as Store does, and returns how many. In a
// map that is larger than the processor's cache it is faster than as many calls of
// Store. The order is not that of seq, but of a key that is yielded twice the last
// value stays.
//
// Each key is written whole or not at all, and others see some of the keys before
// the rest; if the process is killed, some are stored. With an error, n of them are,
// and it is not said which. To have all of them stored at once or none, take
// [Map.ReplaceAll].
//
// seq is called with no lock held, for some pairs at a time. It may use the map.
func (m *Map[K, V]) StoreAll(seq iter.Seq2[K, V]) (n int, err error) {
	return m.inPortions(seq, func(p *Entry[K, V]) (bool, error) {
		return true, m.store(&p.Key, &p.Value, m.usual())
	})
}

// DeleteAll removes all keys that keys yields, as StoreAll stores them, and returns
// how many were there.
func (m *Map[K, V]) DeleteAll(keys iter.Seq[K]) (n int, err error) {
	pairs := func(yield func(K, V) bool) {
		for k := range keys {
			if !yield(k, *new(V)) {
				return
			}
		}
	}
	return m.inPortions(pairs, func(p *Entry[K, V]) (bool, error) { return m.Delete(p.Key) })
}

// inPortions has all pairs written, and counts those for which write says so.
func (m *Map[K, V]) inPortions(seq iter.Seq2[K, V], write func(*Entry[K, V]) (counts bool, err error)) (n int, err error) {
	b := &batch[K, V]{pairs: make([]Entry[K, V], 0, portion)}
	flush := func() error {
		m.prepareAll(b)
		for _, i := range b.order[:len(b.pairs)] {
			counts, err := write(&b.pairs[i])
			if err != nil {
				return err
			}
			if counts {
				n++
			}
		}
		b.pairs = b.pairs[:0]
		return nil
	}
	for k, v := range seq {
		if b.pairs = append(b.pairs, Entry[K, V]{k, v}); len(b.pairs) == portion {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := flush(); err != nil {
		return n, err
	}
	return n, m.writable(0)
}
