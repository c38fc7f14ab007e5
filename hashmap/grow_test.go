package hashmap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

// spacious is an arena that grows with the map.
var spacious = &arena.Options{Size: 256 << 10, MaxSize: 48 << 20, Processes: 4, Objects: 8}

// A map made for one entry takes many, and each is found all the way.
func TestMap_Grow(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[uint64, uint64](t, a, "m", &Options{Capacity: 1})
		other := open[uint64, uint64](t, b, "m")
		n := uint64(100_000)
		if testing.Short() || mem.Race {
			n = 20_000
		}
		first := m.dir.Load().Bits
		for i := range n {
			from := m
			if i%3 == 0 {
				from = other
			}
			require.NoError(t, from.Store(i, i*i))
			if r := rand.Uint64N(i + 1); i%16 == 0 {
				v, ok := other.Load(r)
				require.True(t, ok, "key %d of %d", r, i)
				require.Equal(t, r*r, v)
			}
		}
		require.Greater(t, m.dir.Load().Bits, first+3)
		require.EqualValues(t, n, other.Len())
		for i := range n {
			v, ok := m.Load(i)
			require.True(t, ok)
			require.Equal(t, i*i, v)
		}
		require.Len(t, contents(t, other), int(n))
		shmtest.Clean(t, a)
		for i := range n {
			ok, err := other.Delete(i)
			require.NoError(t, err)
			require.True(t, ok)
		}
		require.Zero(t, m.Len())
	})
}

// No segment has many full buckets in a row, and none is much emptier than it
// must be: what a map takes, and what a miss costs, is bounded.
func TestMap_GrowEvenly(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint32](t, a, "m", &Options{Capacity: 1})
	for i := range uint64(60_000) {
		require.NoError(t, m.Store(i, 0))
		if i < 2000 || i%1000 != 0 {
			continue
		}
		slots, longest := m.shapeOf(t)
		require.LessOrEqual(t, longest, 3*longChain, "%d entries", i)
		require.Greater(t, float64(i)/float64(slots), 0.38, "%d entries in %d slots", i, slots)
	}
}

// shapeOf returns how many slots a map has, and its longest chain.
func (t *table) shapeOf(tb testing.TB) (slots uint64, longest int) {
	tb.Helper()
	d, err := t.look()
	require.NoError(tb, err)
	for i := uint64(0); i < d.Len(); {
		s := tree.Parse(d.At(i).Load())
		run := 0
		for j := range s.Buckets {
			if run++; t.bucket(&s, j).tags.Load() < overflowed {
				run = 0
			}
			longest = max(longest, run)
		}
		slots += s.Buckets * bucketSlots
		i += 1 << (d.Bits - s.Depth)
	}
	return slots, longest
}

// Readers look for keys that are always there, one of them over a read-only
// mapping, while others make the map grow, shrink and be exchanged.
func TestMap_GrowBesideReaders(t *testing.T) {
	o := *spacious
	seg := shmtest.Segment(t, &o)
	writer := create[uint64, sealed](t, shmtest.OnSegment(t, seg, &o), "m", &Options{Capacity: 1})
	const kept, rounds = 50, 12
	all := make(map[uint64]sealed)
	for k := range uint64(kept) {
		all[k] = seal(k, 1)
		require.NoError(t, writer.Store(k, all[k]))
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	defer func() { stop.Store(true); readers.Wait() }()
	for r := range 2 {
		a, err := arena.Attach(seg, &arena.Options{ReadOnly: r == 0})
		require.NoError(t, err)
		m := open[uint64, sealed](t, a, "m")
		readers.Go(func() {
			defer a.Close()
			for n := uint64(0); !stop.Load(); n++ {
				if v, ok := m.Load(n % kept); !ok || !v.whole(n%kept) {
					t.Errorf("key %d: %v, %v (%v)", n%kept, v, ok, m.Err())
					return
				}
				if n%5000 == 0 && !yieldsAll(m, kept) {
					t.Error("a key that is there was not yielded, or twice", m.Err())
					return
				}
			}
		})
	}
	for round := range uint64(rounds) {
		for i := range uint64(3000) {
			require.NoError(t, writer.Store(1000+round<<20+i, seal(i, round)))
		}
		switch round % 3 {
		case 0:
			require.NoError(t, writer.ReplaceAll(maps.All(all)))
			require.Equal(t, kept, writer.Len())
		case 1:
			for i := range uint64(3000) {
				_, err := writer.Delete(1000 + round<<20 + i)
				require.NoError(t, err)
			}
		}
		for k := range all {
			require.NoError(t, writer.Store(k, seal(k, round+2)))
		}
	}
}

// yieldsAll reports whether All yields each of the keys 0 to kept-1 once.
func yieldsAll(m *Map[uint64, sealed], kept int) bool {
	seen := make(map[uint64]int)
	epoch := tree.EpochOf(m.version.Load())
	for k := range m.All() {
		if seen[k]++; seen[k] > 1 {
			return false
		}
	}
	if tree.EpochOf(m.version.Load()) != epoch {
		return true // with the content it was another one's iteration
	}
	for k := range uint64(kept) {
		if seen[k] != 1 {
			return false
		}
	}
	return true
}

// The segment under an iteration is replaced, at every bucket of it: by a larger
// one, by two, and by two of which one is split again.
func TestMap_AllAcrossSplits(t *testing.T) {
	for _, largest := range []uint64{0, 7} {
		for at := range 40 {
			a := shmtest.Heap(t, spacious, shmtest.Unchecked)
			m, err := Create[uint64, uint64](a, "m", &Options{Capacity: 1})
			require.NoError(t, err)
			if largest != 0 {
				m.plan.most = largest
			}
			const n = 60
			for k := range uint64(n) {
				require.NoError(t, m.Store(k, k))
			}
			seen := make(map[uint64]int)
			count := 0
			for k := range m.All() {
				seen[k]++
				if count++; count == at {
					for k := range uint64(600) { // much more than there is room for
						require.NoError(t, m.Store(1000+k, k))
					}
				}
			}
			for k := range uint64(n) {
				require.Equal(t, 1, seen[k], "key %d, replaced after %d", k, at)
			}
			for k, times := range seen {
				require.Equal(t, 1, times, "key %d, replaced after %d", k, at)
			}
		}
	}
}

// A chain that goes on from the last bucket of its segment in the first is as long as one
// that does not.
func TestMap_SplitOfLongChain(t *testing.T) {
	for _, from := range []uint64{0, 3, 60, 63} { // where it begins, counted from the end
		a := shmtest.Heap(t, spacious, shmtest.Unchecked)
		m, err := Create[uint64, uint64](a, "m", &Options{Capacity: 50_000})
		require.NoError(t, err)
		s := m.segmentOf(t, 0)
		require.Greater(t, s.Buckets, uint64(64))
		for i := range s.Buckets { // two thirds of the slots, by hand
			b := m.bucket(&s, i)
			b.tags.Store(0)
			for slot := range bucketSlots * 2 / 3 {
				b.slots[slot].Store(1)
			}
		}
		tight := func() bool {
			var g guard
			require.NoError(t, m.lock(0, &g))
			defer g.unlock()
			tight, err := g.tight()
			require.NoError(t, err)
			return tight
		}
		for i, n := (s.Buckets-from)%s.Buckets, 0; n < longChain; i, n = next(&s, i), n+1 {
			require.False(t, tight(), "%d of %d buckets overflow", n, longChain)
			m.bucket(&s, i).tags.Store(overflowed)
		}
		require.True(t, tight(), "%d buckets from the end", from)
	}
}

// A content that is exchanged for has segments as large as those the map grows by, and
// enough of them.
func TestReplaceAll_Roomy(t *testing.T) {
	for _, n := range []uint64{2000, 20_000, 22_000, 50_000, 86_000} {
		if n > 22_000 && (testing.Short() || mem.Race) {
			break
		}
		a := shmtest.Heap(t, spacious)
		m := create[uint64, uint64](t, a, "m", nil)
		require.NoError(t, m.ReplaceAll(func(yield func(uint64, uint64) bool) {
			for k := uint64(0); k < n && yield(k, k); k++ {
			}
		}))
		slots, _ := m.shapeOf(t)
		require.LessOrEqual(t, float64(n)/float64(slots), 0.73, "%d entries in %d slots", n, slots)
		require.Greater(t, float64(n)/float64(slots), 0.3, "%d entries in %d slots", n, slots)
		require.LessOrEqual(t, m.segmentOf(t, 0).Buckets, m.plan.most)
		require.EqualValues(t, n, m.Len())
	}
}

// A split reads the keys of those entries only whose distance from their home does not
// stand in the tags: the others have lengths here that would be refused.
func TestMap_SplitByDistance(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Capacity: 50_000})
	s := m.segmentOf(t, 0)
	m.plan.most = s.Buckets
	m.respite.Store(1 << 30) // none is split before it is said
	keys := uint64(0)
	for ; mem.Cast[first](m.base.Add(s.Off)).count.Load() <= full(s.Buckets); keys++ {
		require.NoError(t, m.Store(keys, keys))
	}
	var lengths []*psync.Word64
	distances := make(map[uint64]int)
	for i := range s.Buckets {
		b := m.bucket(&s, i)
		for slot := range b.slots {
			word, distance := b.slots[slot].Load(), distanceIn(b.tags.Load(), slot)
			if word == 0 {
				continue
			}
			if distances[distance]++; distance < tooFar {
				lengths = append(lengths, mem.Cast[psync.Word64](m.base.Add(word&offsetMask)))
			}
		}
	}
	require.NotZero(t, distances[0])
	require.NotZero(t, distances[1])
	for _, l := range lengths {
		l.Store(^l.Load())
	}
	err := m.splitNow(0)
	for _, l := range lengths {
		l.Store(^l.Load())
	}
	require.NoError(t, err)
	require.Equal(t, s.Depth+1, m.segmentOf(t, 0).Depth)
	for k := range keys {
		v, ok := m.Load(k)
		require.True(t, ok && v == k)
	}
	require.NoError(t, m.Check())
}

// The arena has no room for another segment: the map goes on with those it has,
// and grows when there is room again.
func TestMap_NoRoomToGrow(t *testing.T) {
	o := &arena.Options{Size: 256 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8}
	a := shmtest.Heap(t, o)
	m := create[uint64, uint64](t, a, "m", &Options{Capacity: 1})
	ballast := create[uint64, [2000]byte](t, a, "ballast", &Options{Capacity: 1})
	var n uint64
	for ; ballast.Store(n, [2000]byte{}) == nil; n++ {
	}
	for i := range n / 10 {
		_, err := ballast.Delete(i)
		require.NoError(t, err)
	}
	var keys uint64
	var err error
	for ; err == nil; keys++ {
		err = m.Store(keys, keys)
	}
	keys--
	require.ErrorIs(t, err, ErrFull)
	require.Greater(t, keys, uint64(50))
	require.Len(t, contents(t, m), int(keys))
	require.NoError(t, m.Check())
	for i := n / 10; i < n; i++ {
		_, err := ballast.Delete(i)
		require.NoError(t, err)
	}
	for i := range 3 * keys {
		require.NoError(t, m.Store(keys+i, i))
	}
	require.Len(t, contents(t, m), int(4*keys))
}

func TestMap_Clear(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 256 << 10, MaxSize: 2 << 20, Processes: 4, Objects: 8})
		m := create[string, int](t, a, "m", &Options{Capacity: 100})
		other := open[string, int](t, b, "m")
		require.NoError(t, other.Clear(), "an empty one")
		base := shmtest.Clean(t, a).UsedBytes
		for round := range 5 {
			for i := range 500 {
				require.NoError(t, m.Store(fmt.Sprint(i), i))
			}
			from := m
			if round%2 == 0 {
				from = other
			}
			require.NoError(t, from.Clear())
			require.Empty(t, contents(t, m))
			require.Empty(t, contents(t, other))
			require.False(t, other.Contains("7"))
			require.Equal(t, base, shmtest.Clean(t, a).UsedBytes, "nothing is left of it")
		}
	})
}

func TestMap_ReplaceAll(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 256 << 10, MaxSize: 8 << 20, Processes: 4, Objects: 8})
		m := create[string, []byte](t, a, "m", &Options{Capacity: 10})
		other := open[string, []byte](t, b, "m")
		for _, n := range []int{5, 5000, 0, 1, 300} {
			all := make(map[string][]byte)
			for i := range n {
				all[fmt.Sprint("key ", i)] = fmt.Appendf(nil, "value %d of %d", i, n)
			}
			require.NoError(t, m.ReplaceAll(maps.All(all)))
			require.Equal(t, all, contents(t, other))
			require.NoError(t, other.Store("another", nil))
			require.Equal(t, n+1, m.Len())
			shmtest.Clean(t, a)
		}
		before := contents(t, other)
		long := string(make([]byte, keyLimit+1))
		require.ErrorIs(t, m.ReplaceAll(maps.All(map[string][]byte{"a": nil, long: nil})), ErrTooLarge)
		require.ErrorIs(t, m.ReplaceAll(maps.All(map[string][]byte{"a": nil, "b": make([]byte, 9<<20)})), ErrFull)
		require.Equal(t, before, contents(t, other), "an exchange that fails changes nothing")
		twice := func(yield func(string, []byte) bool) { _ = yield("a", []byte("1")) && yield("a", []byte("2")) }
		require.NoError(t, other.ReplaceAll(twice))
		require.Equal(t, map[string][]byte{"a": []byte("2")}, contents(t, m))
		require.Panics(t, func() { _ = m.ReplaceAll(func(func(string, []byte) bool) { panic("seq") }) })
		require.Equal(t, map[string][]byte{"a": []byte("2")}, contents(t, m))
		shmtest.Clean(t, a)
	})
}

// Several exchange the content, others write single keys: in the end it is one
// content, with what was written after.
func TestMap_ReplaceAllConcurrent(t *testing.T) {
	o := *spacious
	seg := shmtest.Segment(t, &o)
	keeper := create[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m", &Options{Capacity: 1})
	var all sync.WaitGroup
	for w := range uint64(3) {
		m := open[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m")
		all.Go(func() {
			for round := range uint64(40) {
				content := func(yield func(uint64, uint64) bool) {
					for k := range uint64(200) {
						if !yield(k, w<<32|round) {
							return
						}
					}
				}
				var err error
				if w == 2 && round%2 == 0 {
					err = m.Clear()
				} else {
					err = m.ReplaceAll(content)
				}
				for k := range uint64(50) {
					if err == nil {
						err = m.Store(1000+k, 0)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	seen := make(map[uint64]int)
	for k, v := range contents(t, keeper) {
		if k < 1000 {
			seen[v]++
		}
	}
	require.LessOrEqual(t, len(seen), 1, "entries of one content: %v", seen)
	require.NoError(t, keeper.Clear())
}

// What a dead one has left of a content that he built may lie in space that only
// he had seen.
func TestMap_LeftoverInNewSpace(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[uint64, [1000]byte](t, a, "m", &Options{Capacity: 1})
		other := open[uint64, [1000]byte](t, b, "m")
		for k := range uint64(2000) {
			require.NoError(t, m.Store(k, [1000]byte{}))
		}
		side := 1 - tree.SideOf(m.version.Load())
		_, err := m.build(side, m.plan.bits, m.plan.buckets)
		require.NoError(t, err)
		require.NoError(t, other.takeDown(side))
		shmtest.Clean(t, a)
	})
}

// Two may count the last full segment of a respite down.
func TestMap_RespiteEnds(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	for _, left := range []int64{0, -1} {
		m.crowded.Store(0)
		m.respite.Store(left)
		m.crowd(1 << 63)
		require.NotZero(t, m.crowded.Load(), left)
	}
}

// The directory is doubled twice while a writer looks for it, each time into space that
// he has not seen yet.
func TestMap_LookBesideDoubling(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: 256 << 20, Processes: 4, Objects: 8})
	m := create[string, []byte](t, a, "m", &Options{Capacity: 1})
	r := open[string, []byte](t, shmtest.Again(t, a, nil), "m")
	k := "k"
	key, n := r.key(&k)
	stripe := r.stripeAt(hashKey(key, n, &r.secrets))
	v, next := make([]byte, 3000), 0
	grow := func(limit uint64) { // until the directory lies behind the limit
		for d, _ := m.look(); d.Off < limit; d, _ = m.look() {
			other := fmt.Sprint("key", next)
			next++
			if p, n := m.key(&other); m.stripeAt(hashKey(p, n, &m.secrets)) != stripe {
				require.NoError(t, m.Store(other, v))
			}
		}
	}
	grow(r.floor.View.Limit())
	refresh, once := r.floor.Refresh, false
	r.floor.Refresh = func() {
		refresh()
		if !once {
			once = true
			grow(r.floor.View.Limit())
		}
	}
	require.False(t, yes(t)(r.Delete(k)))
	require.True(t, once)
}
