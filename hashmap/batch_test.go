package hashmap

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestStoreAll(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	want := map[string]int{}
	for i := range 3000 {
		want[key16(i)] = i
	}
	n, err := m.StoreAll(maps.All(want))
	require.NoError(t, err)
	require.Equal(t, 3000, n)
	require.Equal(t, want, contents(t, m))

	n, err = m.StoreAll(func(yield func(string, int) bool) {
		_ = yield("twice", 1) && yield(key16(0), -1) && yield("twice", 2)
	})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	want["twice"], want[key16(0)] = 2, -1
	require.Equal(t, want, contents(t, m))

	n, err = m.DeleteAll(slices.Values([]string{"twice", "nothing", key16(0), "twice"}))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	delete(want, "twice")
	delete(want, key16(0))
	require.Equal(t, want, contents(t, m))

	n, err = m.StoreAll(maps.All(map[string]int{}))
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, m.Check())
}

// What fails says how many were stored, and those are.
func TestStoreAll_Fails(t *testing.T) {
	a := shmtest.Heap(t, small)
	m := create[string, []byte](t, a, "m", nil)
	pairs := func(bytes int) iter.Seq2[string, []byte] {
		return func(yield func(string, []byte) bool) {
			for i := range 10_000 {
				if !yield(fmt.Sprint(i), make([]byte, bytes)) {
					return
				}
			}
		}
	}
	n, err := m.StoreAll(pairs(4000))
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, m.Len(), n)
	require.Positive(t, n)
	n, err = m.StoreAll(maps.All(map[string][]byte{strings.Repeat("x", keyLimit+1): nil}))
	require.ErrorIs(t, err, ErrTooLarge)
	require.Zero(t, n)
	require.NoError(t, m.Close())
	for _, none := range []iter.Seq2[string, []byte]{pairs(1), maps.All(map[string][]byte{})} {
		_, err = m.StoreAll(none)
		require.ErrorIs(t, err, ErrClosed)
	}
	_, err = m.DeleteAll(slices.Values([]string{}))
	require.ErrorIs(t, err, ErrClosed)
}

// The keys of a portion are written in the order of their stripes, those of one
// stripe in that in which they came.
func TestStoreAll_Order(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, roomy), "m", &Options{Capacity: 2000})
	for _, n := range []int{0, 1, 100, portion} {
		b := new(batch[uint64, uint64])
		want := make([]int, n)
		for i := range want {
			b.pairs = append(b.pairs, Entry[uint64, uint64]{Key: rand.Uint64()})
			want[i] = i
		}
		m.prepareAll(b)
		slices.SortStableFunc(want, func(i, j int) int { return int(b.hashes[i]>>56) - int(b.hashes[j]>>56) })
		for i, at := range want {
			require.EqualValues(t, at, b.order[i])
		}
	}
}
