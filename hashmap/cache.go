package hashmap

import (
	"math/bits"
	"sync/atomic"
)

// How a decoded value is found again, without a look at the entry.
//
// What identifies an entry is not where it lies: its block may have been freed,
// and be an entry of the same key again, so that the slot holds the same word. It
// is the slot's word at one version of its bucket, at one version of the tree.
// Every store to a slot is followed by a raise of the version before the next one,
// and the versions never go back. So as long as all three are as they were seen,
// the key has the same entry:
//
//   - the slot's word alone: the block may have come back;
//   - the bucket's version alone: a writer that stands still, or died, between the
//     slot and the version has written already, and others have seen it;
//   - without the tree's version: the bucket may be memory of something else.
//
// The bucket's version also moves when another of its six keys is written. Then
// the key is searched, and its bytes are compared in place with those the value
// was decoded from. They are kept for that: a hash of them would be smaller, and
// one that a stranger can make collide would serve him an old value for a new one.
//
// The cache is of this process. It has places in sets of eight; a key is kept in
// the set that its hash says. Each place is one pointer, so nobody waits for
// anybody; what is stored there is not changed but for the mark of its use.

// ways is how many places a set has.
const ways = 8

type cache[K comparable, V any] struct {
	places []atomic.Pointer[item[K, V]]
	ways   uint64
}

// item is a decoded value.
type item[K comparable, V any] struct {
	key   K // a copy of its own
	hash  uint64
	at    found // the entry
	value *V
	bytes []byte      // what it was decoded from
	used  atomic.Bool // since somebody looked for a place
}

// newCache makes a cache of at most n values.
func newCache[K comparable, V any](n int) cache[K, V] {
	w := min(n, ways)
	if w <= 0 {
		return cache[K, V]{}
	}
	return cache[K, V]{places: make([]atomic.Pointer[item[K, V]], n/w*w), ways: uint64(w)}
}

// set returns the places of the keys of a hash. Its high bits choose: the low
// ones are weak.
func (c *cache[K, V]) set(h uint64) []atomic.Pointer[item[K, V]] {
	if c.ways == 0 {
		return nil
	}
	i, _ := bits.Mul64(h, uint64(len(c.places))/c.ways)
	return c.places[i*c.ways:][:c.ways]
}

// find returns what is kept of a key, if anything.
func (c *cache[K, V]) find(k *K, h uint64) *item[K, V] {
	set := c.set(h)
	for i := range set {
		if it := set[i].Load(); it != nil && it.hash == h && it.key == *k {
			return it
		}
	}
	return nil
}

// put keeps an item: in the place of the one that has its key, in one that is
// free, or in that of one that was not used for a while.
func (c *cache[K, V]) put(it *item[K, V]) {
	set := c.set(it.hash)
	if len(set) == 0 {
		return
	}
	free := -1
	for i := range set {
		old := set[i].Load()
		if old == nil {
			if free < 0 {
				free = i
			}
		} else if old.hash == it.hash && old.key == it.key {
			set[i].Store(it)
			return
		}
	}
	if free < 0 {
		free = c.oldest(set, it.hash)
	}
	set[free].Store(it)
}

// oldest returns the first place from that of the hash on whose item was not used
// since its mark was taken away. It takes the marks away that it passes.
func (c *cache[K, V]) oldest(set []atomic.Pointer[item[K, V]], h uint64) int {
	first := int(h >> 8 % c.ways)
	for i := range set {
		at := (first + i) % len(set)
		if old := set[at].Load(); old == nil || !old.used.Swap(false) {
			return at
		}
	}
	return first
}

// drop forgets what is kept of a key.
func (c *cache[K, V]) drop(k *K, h uint64) {
	set := c.set(h)
	for i := range set {
		if it := set[i].Load(); it != nil && it.hash == h && it.key == *k {
			set[i].CompareAndSwap(it, nil)
		}
	}
}

func (c *cache[K, V]) clear() {
	for i := range c.places {
		c.places[i].Store(nil)
	}
}

// unchanged reports whether the entry is still the one that find has hit, and has not
// expired. The slot is read first: it held its word at a time when the versions were
// as they are found after. The deadline is read before both, each time: who was killed
// in an Expire may have changed that and nothing else.
func (t *table) unchanged(f *found) bool {
	over := t.head.expiring.Load() != 0 && t.expired(t.base.Add(f.word&offsetMask))
	return f.slot.Load() == f.word && t.stands(f) && !over
}
