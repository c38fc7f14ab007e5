package hashmap

import (
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestMap_Stats(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		empty := shmtest.Clean(t, a).UsedBytes
		m := create[uint64, []byte](t, a, "m", &Options{Capacity: 1})
		other := open[uint64, []byte](t, b, "m")
		const n = 20_000
		data := uint64(0)
		for i := range uint64(n) {
			require.NoError(t, m.Store(i, make([]byte, i%100)))
			data += 8 + i%100
		}
		s, err := other.Stats()
		require.NoError(t, err)
		require.EqualValues(t, n, s.Entries)
		require.Equal(t, data, s.DataBytes)
		require.EqualValues(t, shmtest.Clean(t, a).UsedBytes-empty, s.Bytes(), "to the byte")
		require.Equal(t, s.Buckets*bucketSlots, s.Slots)
		slots, longest := m.shapeOf(t)
		require.Equal(t, slots, s.Slots)
		require.LessOrEqual(t, s.Hit.Longest, uint64(2*longest)+1, "one around the end of a segment is counted in two parts")
		require.InDelta(t, float64(n)/float64(slots), s.Load, 1e-9)
		require.EqualValues(t, 1<<m.dir.Load().Bits, s.Words)
		require.Zero(t, s.Exchanges)
		require.Greater(t, s.Growths, uint64(10))
		require.GreaterOrEqual(t, m.Cap(), n*9/10)

		hits, most := 0.0, uint64(0)
		for i := range uint64(n) {
			far := m.farOf(t, i)
			hits, most = hits+float64(far), max(most, far)
		}
		require.InDelta(t, hits/n, s.Hit.Mean, 1e-9)
		require.Equal(t, most, s.Hit.Longest)
		misses := 0.0
		for i := range uint64(n) {
			misses += float64(m.missOf(t, n+i))
		}
		require.InDelta(t, misses/n, s.Miss.Mean, 0.1)

		require.NoError(t, m.Clear())
		s, err = m.Stats()
		require.NoError(t, err)
		require.EqualValues(t, 1, s.Exchanges)
		require.Zero(t, s.Entries)
		require.Equal(t, s.Segments, s.Sparse)
		require.EqualValues(t, 1, s.Miss.Longest)
		require.InDelta(t, 1.0, s.Miss.Mean, 1e-9)
		require.NoError(t, other.Close())
		_, err = other.Stats()
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, other.Cap())
		require.NoError(t, a.Remove("m"))
		_, err = m.Stats()
		require.ErrorIs(t, err, ErrRemoved)
		require.Zero(t, m.Cap())
	})
}

// farOf returns in which bucket of its chain a key is, as Load would count.
func (t *table) farOf(tb testing.TB, key uint64) uint64 {
	tb.Helper()
	h := hashKey(mem.KeyPtr(&key), 8, &t.secrets)
	at, s := t.placeOf(tb, mem.KeyPtr(&key), 8), t.segmentOf(tb, h)
	far := uint64(1)
	for i := homeOf(h, s.Buckets); i != at.index; i = next(&s, i) {
		far++
	}
	return far
}

// missOf returns how many buckets are looked at for a key that is not there.
func (t *table) missOf(tb testing.TB, key uint64) uint64 {
	tb.Helper()
	h := hashKey(mem.KeyPtr(&key), 8, &t.secrets)
	s := t.segmentOf(tb, h)
	far := uint64(1)
	for i := homeOf(h, s.Buckets); far < s.Buckets && t.bucket(&s, i).tags.Load() >= overflowed; i = next(&s, i) {
		far++
	}
	return far
}

// A new map does not grow until it is nearly as full as Cap says.
func TestMap_Cap(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	for _, n := range []int{1, 100, 1000, 20_000} {
		m, err := Create[uint64, uint64](a, "m", &Options{Capacity: n})
		require.NoError(t, err)
		room := m.Cap()
		require.GreaterOrEqual(t, room, n)
		for i := range uint64(room * 45 / 100) { // more may be too many for one of its segments
			require.NoError(t, m.Store(i, i))
		}
		require.Equal(t, room, m.Cap(), "it has not grown")
		for i := range uint64(room + room/5) {
			require.NoError(t, m.Store(i, i))
		}
		require.Greater(t, m.Cap(), room)
		require.NoError(t, m.Close())
		require.NoError(t, a.Remove("m"))
	}
}

// Beside writers who split, and whoever exchanges, numbers stay possible ones.
func TestMap_StatsBesideWriters(t *testing.T) {
	o := *spacious
	seg := shmtest.Segment(t, &o)
	m := create[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m", &Options{Capacity: 1})
	w := open[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m")
	var stop atomic.Bool
	var writers sync.WaitGroup
	defer func() { stop.Store(true); writers.Wait() }()
	writers.Go(func() {
		for n := 0; !stop.Load(); n++ {
			if err := w.Store(rand.Uint64N(20_000), 1); err != nil {
				t.Error(err)
			}
			if n%30_000 == 29_999 {
				if err := w.ReplaceAll(maps.All(map[uint64]uint64{1: 1})); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
		s, err := m.Stats()
		if err != nil {
			require.ErrorIs(t, err, ErrReplaced)
			continue
		}
		require.LessOrEqual(t, s.Load, 1.0)
		require.LessOrEqual(t, s.Entries, uint64(40_000), "one that goes and comes may count twice")
		require.LessOrEqual(t, s.Hit.Longest, uint64(255))
		require.GreaterOrEqual(t, m.Cap(), 1)
	}
}

// A write that finds no room is counted, once.
func TestStats_Refused(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, &arena.Options{Size: 128 << 10, MaxSize: 128 << 10, Processes: 4, Objects: 8}), "m", nil)
	for i := range 2 {
		require.ErrorIs(t, m.Store("k", make([]byte, 1<<20)), ErrFull)
		s, err := m.Stats()
		require.NoError(t, err)
		require.EqualValues(t, i+1, s.Refused)
	}
}

// A read that begins again is counted, in the handle that reads. A value of some pages
// takes long enough to copy for a write to come between.
func TestStats_Retries(t *testing.T) {
	type pages [32 << 10]byte
	seg := shmtest.Segment(t, spacious)
	w := create[string, pages](t, shmtest.OnSegment(t, seg, spacious), "m", nil)
	m := open[string, pages](t, shmtest.OnSegment(t, seg, spacious), "m")
	require.NoError(t, w.Store(hot, pages{}))
	retries := func(m *Map[string, pages]) uint64 {
		s, err := m.Stats()
		require.NoError(t, err)
		return s.Retries
	}
	v := new(pages)
	require.True(t, m.LoadInto(hot, v)) // it has seen the tree now
	before := retries(m)
	for range 100 {
		require.True(t, m.Contains(hot))
		require.True(t, m.LoadInto(hot, v))
	}
	require.Equal(t, before, retries(m), "nobody has written")
	var stop atomic.Bool
	var writer sync.WaitGroup
	end := func() { stop.Store(true); writer.Wait() }
	defer end()
	writer.Go(func() {
		for v := new(pages); !stop.Load(); {
			assert.NoError(t, w.Store(hot, *v))
		}
	})
	for limit := time.Now().Add(20 * time.Second); retries(m) == before; {
		require.True(t, m.LoadInto(hot, v))
		require.True(t, time.Now().Before(limit))
	}
	end()
	require.Zero(t, retries(w), "its own number")
}
