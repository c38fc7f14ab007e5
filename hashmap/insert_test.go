package hashmap

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

// inserting begins to link the entry of a key, as Store does, and ends that; look is
// called in between.
func inserting[V any](m *Map[string, V], k string, look func(w *insertion, found bool)) {
	key, n := m.key(&k)
	var w insertion
	defer w.release()
	look(&w, w.find(&m.table, hashKey(key, n, &m.secrets)))
}

// insertable returns a key that plainly is not there, and of whose place ok holds. (Of
// some keys the tag is that of a free slot.)
func insertable[V any](m *Map[string, V], ok func(w *insertion) bool) (k string) {
	for i, found := 0, false; !found; i++ {
		k = fmt.Sprint("k", i)
		inserting(m, k, func(w *insertion, yes bool) { found = yes && ok(w) })
	}
	return k
}

func anywhere(*insertion) bool { return true }

// Whatever is out of the ordinary is left to a guard: a key that is there or whose tag
// is, a bucket that sends further, or is full, or whose stripe is locked, and all of a
// map with a limit.
func TestInsert_LeavesToGuard(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	no := func(_ *insertion, found bool) { require.False(t, found) }
	inserting(m, "k", no) // the handle has not seen the tree yet
	require.NoError(t, m.Store("first", 1))
	k := insertable(m, anywhere)
	require.NoError(t, m.Store(k, 1))
	inserting(m, k, no)
	require.True(t, sure(m.Delete(k)))
	inserting(m, k, no) // its tag is there still
	other := insertable(m, anywhere)
	key, n := m.key(&other)
	var g guard
	require.NoError(t, m.lock(hashKey(key, n, &m.secrets), &g))
	var w insertion
	found := w.find(&m.table, hashKey(key, n, &m.secrets))
	g.unlock()
	require.False(t, found)

	limited := create[string, int](t, shmtest.Heap(t, roomy), "m", &Options{Limit: 100})
	for i := range 20 {
		require.NoError(t, limited.Store("first", 1))
		inserting(limited, fmt.Sprint("k", i), no)
	}
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

// A segment that has too many entries is to be split; its count, and that of the
// stripe, have the new one.
func TestInsert_Crowds(t *testing.T) {
	for more, crowded := range []bool{false, true} {
		m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
		require.NoError(t, m.Store("first", 1))
		k := insertable(m, anywhere)
		key, n := m.key(&k)
		seg := m.segmentOf(t, hashKey(key, n, &m.secrets))
		count := &mem.Cast[first](m.base.Add(seg.Off)).count
		count.Put(full(seg.Buckets) - 1 + uint64(more))
		require.NoError(t, m.Store(k, 1))
		require.Equal(t, full(seg.Buckets)+uint64(more), count.Load())
		require.Equal(t, crowded, m.crowded.Load() != 0)
		require.Equal(t, 2, m.Len())
	}
}

// Who waits for a change is told.
func TestInsert_Bell(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	require.NoError(t, m.Store("first", 1))
	k := insertable(m, anywhere)
	bell := m.news.bell.Load()
	m.announce()
	require.NoError(t, m.Store(k, 1))
	require.Equal(t, bell+1, m.news.bell.Load())
}

// Who has begun a write when the handle is closed leaves the memory alone, which may be
// somebody else's.
func TestInsert_Closed(t *testing.T) {
	afterRemoval(t, func(m *Map[string, int], gone func()) {
		require.NoError(t, m.Store("first", 1))
		k := insertable(m, anywhere)
		gone()
		inserting(m, k, func(w *insertion, found bool) { require.False(t, found || w.held, "nor takes the lock that was there") })
	})
}

// A panic in the middle of it leaves the stripe to be mended, and it is.
func TestInsert_Panic(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	require.NoError(t, m.Store("first", 1))
	// Its record names the word behind the slots, the version of the next bucket: one
	// that has none yet.
	k, v := insertable(m, func(w *insertion) bool {
		next := mem.Cast[bucket](m.base.Add(w.at + bucketSize))
		return w.at+bucketSize < w.seg.Off+tree.Size(w.seg.Buckets) && next.version.Load() == 0
	}), 7
	key, n := m.key(&k)
	op, ref, err := m.begin(key, n, &v)
	require.NoError(t, err)
	inserting(m, k, func(w *insertion, found bool) {
		require.True(t, found)
		w.slot = bucketSlots // beyond the last one
		require.Panics(t, func() {
			defer w.release()
			w.commit(op.Record, hashKey(key, n, &m.secrets), ref)
		})
		w.held = false
		require.False(t, w.stripe.lock.Consistent())
	})
	op.End()
	require.False(t, m.Contains(k))
	require.NoError(t, m.Store(k, 8))
	require.Equal(t, map[string]int{"first": 1, k: 8}, contents(t, m))
}
