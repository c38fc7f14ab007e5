package hashmap

import "iter"

// Several keys at once are written in the order of their hashes' first bits, which
// is that of the stripes and of the segments: what one write has brought into the
// cache the next one finds there, and two batches do not meet at one stripe after
// the other. Each write is one of its own.

// sortBits is how many bits of the hash the keys of a batch are sorted by: those of
// the stripe, and then as many as a fairly large directory has.
const sortBits = 12

// inOrder returns the indices of hashes in the order of their first bits; what has
// the same ones stays in its order.
func inOrder(hashes []uint64) []int {
	var next [1<<sortBits + 1]int
	for _, h := range hashes {
		next[h>>(64-sortBits)+1]++
	}
	for i := range 1 << sortBits {
		next[i+1] += next[i]
	}
	order := make([]int, len(hashes))
	for i, h := range hashes {
		at := &next[h>>(64-sortBits)]
		order[*at] = i
		*at++
	}
	return order
}

// StoreAll stores all pairs of seq, each one as Store does, and returns how many.
// It is faster than as many calls of Store where the map is larger than the
// processor's cache. The order is not that of seq, but of a key that is yielded
// twice the last value stays.
//
// Each key is written whole or not at all, and others see some of the keys before
// the rest; if the process is killed, some are stored. With an error, n of them are,
// and it is not said which. To have all of them stored at once or none, take
// [Map.ReplaceAll].
//
// seq is called before anything else happens, with no lock held, and its pairs are
// kept in Go's memory until StoreAll ends.
func (m *Map[K, V]) StoreAll(seq iter.Seq2[K, V]) (n int, err error) {
	var pairs []Entry[K, V]
	for k, v := range seq {
		pairs = append(pairs, Entry[K, V]{k, v})
	}
	hashes := make([]uint64, len(pairs))
	for i := range pairs {
		hashes[i] = m.hashOfKey(&pairs[i].Key)
	}
	for _, i := range inOrder(hashes) {
		if err := m.store(&pairs[i].Key, &pairs[i].Value, m.usual()); err != nil {
			return n, err
		}
		n++
	}
	return n, m.writable(0)
}

// DeleteAll removes all keys that keys yields, as StoreAll stores them, and returns
// how many were there.
func (m *Map[K, V]) DeleteAll(keys iter.Seq[K]) (n int, err error) {
	var all []K
	for k := range keys {
		all = append(all, k)
	}
	hashes := make([]uint64, len(all))
	for i := range all {
		hashes[i] = m.hashOfKey(&all[i])
	}
	for _, i := range inOrder(hashes) {
		was, err := m.Delete(all[i])
		if err != nil {
			return n, err
		}
		if was {
			n++
		}
	}
	return n, m.writable(0)
}

func (m *Map[K, V]) hashOfKey(k *K) uint64 {
	key, n := m.key(k)
	return hashKey(key, n, &m.secrets)
}
