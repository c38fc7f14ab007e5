package hashmap

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// Keys of somebody who wants a map to be slow, and does not know its secrets.

// bytesOf returns the bytes of some words.
func bytesOf(ws ...uint64) string {
	var b []byte
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return string(b)
}

// others are the secrets of another map.
var others = secrets{0x5ca1ab1e0ddba11, 0xdeadbea7c0ffee11, 0xfeedface8badf00d, 0xcafed00d15ea5e5}

// craftedKeys have, by their number, each what some hash takes amiss.
var craftedKeys = map[string]func(i uint64) string{
	"one XXH64, two words":        func(i uint64) string { return oneXXH64(i) },
	"one XXH64, three words":      func(i uint64) string { return oneXXH64(i, ^i) },
	"no first factor for others":  func(i uint64) string { return bytesOf(others[0], i) },
	"no second factor for others": func(i uint64) string { return bytesOf(i, others[1]) },
	"decimal":                     func(i uint64) string { return fmt.Sprintf("key:%012d", i) },
	"small numbers":               func(i uint64) string { return bytesOf(i) },
	"multiples of 2^32":           func(i uint64) string { return bytesOf(i << 32) },
	"multiples of 2^50":           func(i uint64) string { return bytesOf(i << 50) },
	"numbers turned around":       func(i uint64) string { return bytesOf(bits.Reverse64(i)) },
	"first word":                  func(i uint64) string { return bytesOf(i<<50, 0) },
	"last word":                   func(i uint64) string { return bytesOf(0, i) },
	"both words alike":            func(i uint64) string { return bytesOf(i, i) },
	"each the rest of the other":  func(i uint64) string { return bytesOf(i, ^i) },
	"each two exchanged":          func(i uint64) string { return bytesOf(i>>1<<(8*(i&1)), i>>1<<(8-8*(i&1))) },
	"first word of a long one":    func(i uint64) string { return bytesOf(i<<20, 2, 3, 4) },
	"middle of a long one":        func(i uint64) string { return bytesOf(1, 2, i, 3, 4, 5) },
	"a bit or two of a long one":  func(i uint64) string { return twoBits(i, 24) },
	"a bit or two of an odd one":  func(i uint64) string { return twoBits(i, 37) },
	"fewer bytes than a word":     func(i uint64) string { return bytesOf(i * 0x10001)[:5] },
	"zeros that become more":      func(i uint64) string { return string(make([]byte, i/2)) + "x"[:i&1] },
}

// oneXXH64 returns a key that begins with some words and has the same XXH64 as all
// others of its length: one more word makes up for them.
func oneXXH64(first ...uint64) string {
	const p1, p2, p4, p5 = 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x85ebca77c2b2ae63, 0x27d4eb2f165667c5
	h := uint64(p5 + 8*(len(first)+1))
	for _, w := range first {
		h = bits.RotateLeft64(h^bits.RotateLeft64(w*p2, 31)*p1, 27)*p1 + p4
	}
	last := bits.RotateLeft64((h^0x123456789abcdef)*inverse(p1), -31) * inverse(p2)
	return bytesOf(append(first, last)...)
}

// inverse returns what an odd number is to be multiplied with to be 1.
func inverse(x uint64) uint64 {
	y := x // right in three bits, and in twice as many each time
	for range 5 {
		y *= 2 - x*y
	}
	return y
}

// twoBits returns n zero bytes with one or two bits set.
func twoBits(i uint64, n int) string {
	b := make([]byte, n)
	all := uint64(8 * n)
	for _, bit := range []uint64{i % all, (i%all + i/all) % all} {
		b[bit/8] |= 1 << (bit % 8)
	}
	return string(b)
}

// effort is what so many keys cost.
type effort struct {
	hit, miss           float64 // buckets looked at
	longest             uint64
	buckets, overflowed uint64
	crowd               uint64 // keys of the stripe that has most
}

// effortOf stores the keys in a map with secrets of its own, made for so many.
func effortOf(t *testing.T, a *arena.Arena, keys []string, capacity int) effort {
	m := create[string, uint64](t, a, "m", &Options{Capacity: capacity})
	for i, k := range keys {
		require.NoError(t, m.Store(k, uint64(i)))
	}
	s, err := m.Stats()
	require.NoError(t, err)
	require.EqualValues(t, len(keys), s.Entries, "all are different")
	e := effort{s.Hit.Mean, s.Miss.Mean, max(s.Hit.Longest, s.Miss.Longest), s.Buckets, s.Overflowed, 0}
	stripes := make(map[uint64]uint64)
	for _, k := range keys {
		key, n := m.key(&k)
		at := m.stripeAt(hashKey(key, n, &m.secrets))
		stripes[at]++
		e.crowd = max(e.crowd, stripes[at])
	}
	require.NoError(t, m.Close())
	require.NoError(t, a.Remove("m"))
	return e
}

// worst returns the greater of each.
func worst(a, b effort) effort {
	return effort{
		max(a.hit, b.hit), max(a.miss, b.miss), max(a.longest, b.longest),
		max(a.buckets, b.buckets), max(a.overflowed, b.overflowed), max(a.crowd, b.crowd),
	}
}

// Whatever the keys, they cost at most twice what keys of chance cost: to find, not to
// find, in memory, and in the crowd before a lock.
func TestMap_CraftedKeys(t *testing.T) {
	require.Equal(t, xxhash.Sum64String(oneXXH64(1)), xxhash.Sum64String(oneXXH64(2)))
	require.Equal(t, xxhash.Sum64String(oneXXH64(1, 2)), xxhash.Sum64String(oneXXH64(3, 4)))
	a := shmtest.Heap(t, spacious)
	crafted := 10_000
	if mem.Race { // one goroutine
		crafted = 1000
	}
	for _, capacity := range []int{1, crafted} {
		var chance effort // what it costs at worst
		for range 20 {
			keys := make([]string, crafted)
			for i := range keys {
				keys[i] = bytesOf(rand.Uint64(), rand.Uint64())
			}
			chance = worst(chance, effortOf(t, a, keys, capacity))
		}
		t.Logf("capacity %d: chance %+v", capacity, chance)
		for name, key := range craftedKeys {
			keys := make([]string, 0, crafted)
			for i := range uint64(crafted) {
				keys = append(keys, key(i))
			}
			slices.Sort(keys)
			keys = slices.Compact(keys)
			require.Greater(t, len(keys), crafted*9/10, name)
			e := effortOf(t, a, keys, capacity)
			t.Logf("capacity %d: %s: %+v", capacity, name, e)
			require.LessOrEqual(t, e.hit, 2*chance.hit, name)
			require.LessOrEqual(t, e.miss, 2*chance.miss, name)
			require.LessOrEqual(t, e.longest, 2*chance.longest, name)
			require.LessOrEqual(t, e.buckets, 2*chance.buckets, name)
			require.LessOrEqual(t, e.overflowed, 2*chance.overflowed, name)
			require.LessOrEqual(t, e.crowd, 2*chance.crowd, name)
		}
	}
}
