package hashmap

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
)

// inserting begins to link the entry of a key, as Store does, and ends that; look is
// called in between.
func inserting[V any](m *Map[string, V], k string, look func(w *insertion, found bool)) {
	key, n := m.key(&k)
	var w insertion
	defer w.end()
	look(&w, w.find(&m.table, hashKey(key, n, &m.secrets)))
}

// Whatever is out of the ordinary is left to a guard: a key that is there or whose tag
// is, a bucket that sends further, or is full, or whose stripe is locked, and all of a
// map with a limit.
func TestInsert_LeavesToGuard(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	no := func(_ *insertion, found bool) { require.False(t, found) }
	yes := func(_ *insertion, found bool) { require.True(t, found) }
	inserting(m, "k", no) // the handle has not seen the tree yet
	require.NoError(t, m.Store("first", 1))
	inserting(m, "k", yes)
	require.NoError(t, m.Store("k", 1))
	inserting(m, "k", no)
	require.True(t, sure(m.Delete("k")))
	inserting(m, "k", no) // its tag is there still
	key, n := m.key(new("other"))
	var g guard
	require.NoError(t, m.lock(hashKey(key, n, &m.secrets), &g))
	inserting(m, "other", no)
	g.unlock()
	inserting(m, "other", yes)
	inserting(create[string, int](t, shmtest.Heap(t, roomy), "m", &Options{Limit: 100}), "k", no)

	crowded := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	collide(t, 16, &crowded.table)
	for i := range bucketSlots + 2 {
		require.NoError(t, crowded.Store(key16(i), i))
	}
	inserting(crowded, key16(99), no)
	require.Equal(t, bucketSlots+2, crowded.Len())
}

// The content is exchanged, and the old one is still kept, when a handle that has not
// seen it stores a new key: in the new content.
func TestInsert_Exchanged(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m, other := create[string, int](t, a, "m", nil), open[string, int](t, a, "m")
	require.NoError(t, m.Store("old", 1))
	other.keepFor = func(uint64) time.Duration {
		require.NoError(t, m.Store("new", 7))
		return 0
	}
	require.NoError(t, other.Clear())
	require.Equal(t, map[string]int{"new": 7}, contents(t, other))
	require.Equal(t, 1, other.Len())
}

// The segment is split when it is too full, and not before.
func TestInsert_Crowds(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", &Options{Capacity: 10})
	slots := m.Cap()
	for i := 0; i < 20*slots; i++ {
		require.NoError(t, m.Store(fmt.Sprint(i), i))
	}
	require.Equal(t, 20*slots, m.Len())
	require.Greater(t, m.Cap(), 20*slots)
}

// A panic in the middle of it leaves the stripe to be mended, and it is.
func TestInsert_Panic(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	require.NoError(t, m.Store("first", 1))
	k, v := "k", 7
	key, n := m.key(&k)
	op, ref, err := m.begin(key, n, &v)
	require.NoError(t, err)
	inserting(m, k, func(w *insertion, found bool) {
		require.True(t, found)
		w.slot = bucketSlots // beyond the last one
		require.Panics(t, func() {
			defer w.end()
			w.commit(op.Record, hashKey(key, n, &m.secrets), ref)
		})
		w.held = false
		require.False(t, w.stripe.lock.Consistent())
	})
	op.End()
	require.False(t, m.Contains("k"))
	require.NoError(t, m.Store("k", 8))
	require.Equal(t, map[string]int{"first": 1, "k": 8}, contents(t, m))
}
