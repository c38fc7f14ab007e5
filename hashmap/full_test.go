package hashmap

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func key16(i int) string { return fmt.Sprintf("key:%012d", i) }

// All keys have one hash, and so go into one segment, which splits do not help:
// it takes what it has slots for, and not one more.
func TestMap_Store_FullSegment(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	collide(t, 16, &m.table)
	slots := int(bucketSlots * m.plan.most)
	for i := range slots {
		require.NoError(t, m.Store(key16(i), i))
	}
	require.LessOrEqual(t, 1<<m.dir.Load().Bits, 4*(64+slots), "the directory grows no more than the map")
	before := contents(t, m)
	require.Len(t, before, slots)
	for range 3 {
		err := m.Store(key16(slots), 1)
		require.ErrorIs(t, err, ErrFull)
		require.ErrorContains(t, err, fmt.Sprintf("%d entries have hashes that begin with the same", slots))
		_, ok := m.Load(key16(slots))
		require.False(t, ok, "a miss that reads the whole segment")
	}
	require.Equal(t, before, contents(t, m))
	for _, i := range []int{0, 7, slots - 1} {
		require.NoError(t, m.Store(key16(i), -i), "a replace needs no slot")
		ok, err := m.Delete(key16(i))
		require.True(t, ok)
		require.NoError(t, err)
		require.NoError(t, m.Store(key16(slots+i), i))
		require.NoError(t, m.Check())
	}
	require.Equal(t, slots, m.Len())
	for i := range 500 {
		k := fmt.Sprint("other", i) // of another length: most go to other segments
		p := mem.PtrOf([]byte(k))
		if m.segmentOf(t, hashBytes(p, uint64(len(k)), &m.secrets)) != m.segmentOf(t, 0) {
			require.NoError(t, m.Store(k, i), "the other segments have room")
		}
	}
}

// fill stores values of a size under new keys until something is full.
func fill(m *Map[string, []byte], size int) (n int, err error) {
	for ; ; n++ {
		if err := m.Store(key16(n), bytes.Repeat([]byte{byte(n)}, size)); err != nil {
			return n, err
		}
	}
}

func requireFilled(t *testing.T, m *Map[string, []byte], n, size int) {
	t.Helper()
	require.Equal(t, n, m.Len())
	for i := range n {
		v, ok := m.Load(key16(i))
		require.True(t, ok)
		require.Equal(t, bytes.Repeat([]byte{byte(i)}, size), v)
	}
}

// A full arena is an error: nothing is lost, and deleting makes room again, as
// much as there was and for any size.
func TestMap_Store_FullArena(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 64 << 10, MaxSize: 512 << 10, Processes: 4, Objects: 8})
		m := create[string, []byte](t, a, "m", &Options{Capacity: 5000})
		other := open[string, []byte](t, b, "m")
		var took [4]int
		for round := range 3 {
			for i, size := range []int{100, 1000, 2500, 9000} {
				n, err := fill(m, size)
				require.ErrorIs(t, err, ErrFull)
				require.ErrorContains(t, err, `hashmap "m": store`)
				if round == 0 {
					took[i] = n
					require.Greater(t, n*size, 100<<10)
				}
				require.Equal(t, took[i], n, "values of %d bytes in round %d", size, round)
				for j := range n {
					require.ErrorIs(t, m.Store(key16(j), make([]byte, 20_000)), ErrFull, "a failed replace")
				}
				requireFilled(t, other, n, size)
				require.NoError(t, m.Check())
				for j := range n {
					from := m
					if j%2 == 0 {
						from = other
					}
					ok, err := from.Delete(key16(j))
					require.True(t, ok)
					require.NoError(t, err)
				}
			}
		}
	})
}

// A file system that is full is an error too, and another one.
func TestMap_Store_NoSpace(t *testing.T) {
	o := &arena.Options{Size: 64 << 10, MaxSize: 4 << 20, Processes: 4, Objects: 8}
	seg := shmtest.Segment(t, o)
	a := shmtest.OnSegment(t, seg, o)
	m := create[string, []byte](t, a, "m", nil)
	size, err := seg.Size()
	require.NoError(t, err)
	seg.SetAllocateLimit(size)
	n, err := fill(m, 1000)
	require.ErrorIs(t, err, ErrNoSpace)
	require.NotErrorIs(t, err, ErrFull)
	requireFilled(t, m, n, 1000)
	require.ErrorIs(t, m.Store(key16(0), make([]byte, 3000)), ErrNoSpace)
	requireFilled(t, m, n, 1000)
	ok, err := m.Delete(key16(0))
	require.True(t, ok)
	require.NoError(t, err)
	require.NoError(t, m.Store(key16(0), make([]byte, 1000)))
	_, err = Create[string, int](a, "other", &Options{Capacity: 10_000})
	require.ErrorIs(t, err, ErrNoSpace)

	seg.SetAllocateLimit(1 << 30)
	for i := range n {
		require.NoError(t, m.Store(key16(n+i), make([]byte, 1000)))
	}
}

// A segment that is full is split though the arena is full of entries that have expired.
func TestMap_SplitBesideExpired(t *testing.T) {
	for _, size := range []int{200, 700, 1000, 1300} {
		m := create[string, []byte](t, shmtest.Heap(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8}), "m", &Options{Capacity: 64})
		collide(t, 16, &m.table)
		s := new(sundial)
		s.rule(&m.table)
		v := make([]byte, size)
		n := 0
		for ; n < 20; n++ {
			require.NoError(t, m.Store(key16(n), v))
		}
		for i := 0; m.StoreTTL(fmt.Sprint("expires ", i), v, time.Second) == nil; i++ {
		}
		s.at = time.Minute
		for m.Store(key16(n), v) == nil {
			n++
		}
		freed, err := m.PurgeExpired(math.MaxInt)
		require.NoError(t, err)
		if freed > 0 {
			require.ErrorIs(t, m.Store(key16(n), v), ErrFull, "values of %d bytes: refused while %d had expired", size, freed)
		}
	}
}

// All keys have one hash, and all buckets send readers on: wherever an entry lies, it is
// found within the whole segment, or, in a map with a limit, within the window, and no
// more buckets are looked at than that.
func TestMap_LongestSearch(t *testing.T) {
	for _, o := range []*Options{{Capacity: 200}, {Limit: 200}} {
		m, err := Create[string, int](shmtest.Heap(t, roomy, shmtest.Unchecked), "m", o)
		require.NoError(t, err)
		collide(t, 16, &m.table)
		k := key16(0)
		require.NoError(t, m.Store(k, 7))
		key, n := m.key(&k)
		at := m.placeOf(t, key, n)
		s, reach := m.segmentOf(t, 0), uint64(window)
		if o.Limit == 0 {
			reach = m.segmentOf(t, 0).Buckets
		}
		require.Greater(t, s.Buckets, uint64(window))
		tags := at.bucket.tags.Load()
		at.bucket.slots[at.slot].Store(0)
		for i := range s.Buckets {
			m.bucket(&s, i).tags.Store(overflowed)
		}
		i := at.index
		for far := range s.Buckets {
			b := m.bucket(&s, i)
			b.tags.Store(tags | overflowed)
			b.slots[at.slot].Store(at.old)
			_, ok := m.Load(k)
			require.Equal(t, far < reach, ok, "%+v: read, %d buckets from its home", *o, far)
			require.Equal(t, far < reach, m.placeOf(t, key, n).old != 0, "%+v: written, %d buckets from its home", *o, far)
			b.tags.Store(overflowed)
			b.slots[at.slot].Store(0)
			i = next(&s, i)
		}
		_, ok := m.Load(k)
		require.False(t, ok)
		stats, err := m.Stats()
		require.NoError(t, err)
		require.Equal(t, reach, stats.Miss.Longest, "%+v", *o)
	}
}
