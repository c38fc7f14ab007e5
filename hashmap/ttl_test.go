package hashmap

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// sundial is a clock that is turned by hand, for any number of handles.
type sundial struct{ at time.Duration }

func (s *sundial) rule(tables ...*table) {
	for _, t := range tables {
		t.clock.fake = func() uint64 { return origin + uint64(s.at) }
	}
}

// expiring returns a map with one entry that has expired, and one that has not.
func expiring(t *testing.T) (*Map[string, int], *sundial) {
	t.Helper()
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	s := new(sundial)
	s.rule(&m.table)
	require.NoError(t, m.StoreTTL("gone", 7, time.Second))
	require.NoError(t, m.StoreTTL("there", 8, time.Hour))
	require.Equal(t, map[string]int{"gone": 7, "there": 8}, contents(t, m))
	s.at = time.Minute
	return m, s
}

// Every verb takes an expired entry for one that is not there.
func TestTTL_EveryVerb(t *testing.T) {
	missing := func(m *Map[string, int]) {
		t.Helper()
		_, ok := m.Load("gone")
		require.False(t, ok)
	}
	each := map[string]func(m *Map[string, int]){
		"Load":        func(m *Map[string, int]) { missing(m) },
		"Contains":    func(m *Map[string, int]) { require.False(t, m.Contains("gone")) },
		"LoadOrStore": func(m *Map[string, int]) { require.Equal(t, outcome{1, false}, got[int](t)(m.LoadOrStore("gone", 1))) },
		"Swap":        func(m *Map[string, int]) { require.Equal(t, outcome{0, false}, got[int](t)(m.Swap("gone", 1))) },
		"LoadAndDelete": func(m *Map[string, int]) {
			require.Equal(t, outcome{0, false}, got[int](t)(m.LoadAndDelete("gone")))
		},
		"Delete":           func(m *Map[string, int]) { require.False(t, yes(t)(m.Delete("gone"))) },
		"CompareAndSwap":   func(m *Map[string, int]) { require.False(t, yes(t)(m.CompareAndSwap("gone", 7, 1))); missing(m) },
		"CompareAndDelete": func(m *Map[string, int]) { require.False(t, yes(t)(m.CompareAndDelete("gone", 7))); missing(m) },
		"Compute": func(m *Map[string, int]) {
			v, ok, err := m.Compute("gone", func(old int, ok bool) (int, Action) {
				require.False(t, ok)
				require.Zero(t, old)
				return 5, Store
			})
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, 5, v)
			require.Equal(t, 5, must2(m.Load("gone")), "without the deadline of before")
		},
		"Fetch": func(m *Map[string, int]) {
			v, err := m.Fetch(t.Context(), "gone", func(context.Context, string) (int, error) { return 9, nil }, nil)
			require.NoError(t, err)
			require.Equal(t, 9, v)
			require.Equal(t, 9, must2(m.Load("gone")))
		},
		"late LoadOrStore":    func(m *Map[string, int]) { require.Equal(t, outcome{0, false}, late(t, m, "gone", 1)) },
		"late CompareAndSwap": func(m *Map[string, int]) { require.False(t, lateCompare(t, m, "gone", 7, 1)); missing(m) },
		"Add": func(m *Map[string, int]) {
			sum, err := Add(m, "gone", 3)
			require.NoError(t, err)
			require.Equal(t, 3, sum)
			left, ok := m.TTL("gone")
			require.True(t, ok)
			require.Zero(t, left, "a new entry, with no deadline")
		},
		"AddInitial": func(m *Map[string, int]) {
			sum, err := AddInitial(m, "gone", 3, 10, time.Minute)
			require.NoError(t, err)
			require.Equal(t, 13, sum)
		},
		"Expire":  func(m *Map[string, int]) { require.False(t, yes(t)(m.Expire("gone", time.Hour))); missing(m) },
		"Persist": func(m *Map[string, int]) { require.False(t, yes(t)(m.Persist("gone"))); missing(m) },
		"TTL": func(m *Map[string, int]) {
			_, ok := m.TTL("gone")
			require.False(t, ok)
		},
		"Store": func(m *Map[string, int]) { require.NoError(t, m.Store("gone", 9)) },
		"All": func(m *Map[string, int]) {
			require.Equal(t, map[string]int{"there": 8}, maps.Collect(m.All()))
			for k := range m.Keys() {
				require.Equal(t, "there", k)
			}
			for v := range m.Values() {
				require.Equal(t, 8, v)
			}
		},
		"PurgeExpired": func(m *Map[string, int]) {
			n, err := m.PurgeExpired(10)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.Equal(t, 1, m.Len())
		},
	}
	for name, verb := range each {
		t.Run(name, func(t *testing.T) {
			m, _ := expiring(t)
			verb(m)
			v, ok := m.Load("there")
			require.True(t, ok)
			require.Equal(t, 8, v)
			require.NoError(t, m.Check())
		})
	}
}

// What a write does to the deadline.
func TestTTL_Deadlines(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", &Options{TTL: time.Minute})
	other := open[string, int](t, a, "m")
	s := new(sundial)
	s.rule(&m.table, &other.table)
	left := func(k string) time.Duration {
		d, ok := other.TTL(k)
		require.True(t, ok)
		return d.Round(time.Second)
	}
	require.NoError(t, m.Store("k", 1))
	require.Equal(t, time.Minute, left("k"))
	s.at = 10 * time.Second
	_, err := Add(m, "k", 1)
	require.NoError(t, err)
	require.Equal(t, 50*time.Second, left("k"), "Add keeps it")
	require.True(t, yes(t)(m.CompareAndSwap("k", 2, 3)))
	require.Equal(t, 50*time.Second, left("k"))
	_, _, err = m.Compute("k", to(4, Store))
	require.NoError(t, err)
	require.Equal(t, 50*time.Second, left("k"))
	v, ok, err := m.Compute("k", to(4, Renew))
	require.NoError(t, err)
	require.Equal(t, outcome{4, true}, outcome{v, ok})
	require.Equal(t, time.Minute, left("k"), "Renew begins anew")
	require.True(t, yes(t)(m.Expire("k", time.Second)))
	_, _, err = m.Swap("k", 5)
	require.NoError(t, err)
	require.Equal(t, time.Minute, left("k"), "Swap begins anew")
	require.True(t, yes(t)(m.Expire("k", 3*time.Second)))
	require.Equal(t, 3*time.Second, left("k"))
	require.True(t, yes(t)(m.Persist("k")))
	require.Zero(t, left("k"))
	require.NoError(t, m.StoreTTL("k", 1, math.MaxInt64))
	require.Greater(t, left("k"), 200*365*24*time.Hour)
	require.NoError(t, m.StoreTTL("k", 1, 0))
	require.Zero(t, left("k"))
	require.Equal(t, outcome{1, true}, got[int](t)(m.LoadOrStore("k", 2)))
	require.Zero(t, left("k"))
	require.NoError(t, m.ReplaceAll(maps.All(map[string]int{"k": 1})))
	require.Equal(t, time.Minute, left("k"))
	for _, err := range []error{m.StoreTTL("k", 2, -1), second(m.Expire("k", -1)), second(AddInitial(m, "k", 1, 1, -1))} {
		require.ErrorContains(t, err, "want 0 or more")
	}
	_, err = Create[string, int](a, "bad", &Options{TTL: -1})
	require.ErrorContains(t, err, "want 0 or more")
	require.Equal(t, 1, must2(m.Load("k")))
}

func second[T any](_ T, err error) error { return err }

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("not there")
	}
	return v
}

// By the machine's own clock, and seen by two attaches.
func TestTTL_RealTime(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m, other := create[string, int](t, a, "m", nil), open[string, int](t, b, "m")
		began := time.Now()
		require.NoError(t, m.StoreTTL("k", 1, 20*time.Millisecond))
		for other.Contains("k") {
			require.Less(t, time.Since(began), 10*time.Second)
			time.Sleep(time.Millisecond)
		}
		require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)
		require.False(t, m.Contains("k"))
	})
}

// Expired entries make room: in a bucket, instead of a larger segment, and in a
// full arena.
func TestTTL_MakesRoom(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 512 << 10, Processes: 4, Objects: 8})
	m := create[string, []byte](t, a, "m", &Options{Capacity: 20, TTL: time.Second})
	s := new(sundial)
	s.rule(&m.table)
	n := 0
	for ; m.Store(key16(n), make([]byte, 1000)) == nil; n++ {
	}
	require.Greater(t, n, 200)
	used := shmtest.Clean(t, a).UsedBytes
	n = n * 9 / 10 // their hashes may want a segment more
	for range 3 {
		s.at += 2 * time.Second
		for i := range n {
			require.NoError(t, m.Store(fmt.Sprint("other", i, s.at), make([]byte, 1000)))
		}
		require.LessOrEqual(t, shmtest.Clean(t, a).UsedBytes, used+used/10)
		require.NoError(t, m.Check())
	}
	s.at += 2 * time.Second
	total := 0
	for {
		freed, err := m.PurgeExpired(50)
		require.NoError(t, err)
		require.LessOrEqual(t, freed, 50)
		if total += freed; freed == 0 {
			break
		}
	}
	require.GreaterOrEqual(t, total, n)
	require.Zero(t, m.Len())
}

// A map whose entries all live for a moment does not grow.
func TestTTL_NoGrowth(t *testing.T) {
	m := create[uint64, int](t, shmtest.Heap(t, spacious), "m", &Options{Capacity: 1000, TTL: time.Second})
	s := new(sundial)
	s.rule(&m.table)
	slots, _ := m.shapeOf(t)
	for i := range uint64(30_000) {
		s.at += time.Millisecond
		require.NoError(t, m.Store(rand.Uint64(), int(i)))
	}
	after, _ := m.shapeOf(t)
	require.LessOrEqual(t, after, slots*3)
	require.NoError(t, m.Check())
}

// The machine was started again: deadlines go on by the wall clock.
func TestTTL_Restart(t *testing.T) {
	w := new(watch)
	w.wind(11)
	c, behind := w.read(11)
	require.False(t, behind)
	before := c.now()
	near := func(want, got uint64) { require.InDelta(t, float64(want), float64(got), float64(time.Minute)) }
	near(origin, before)
	w.wall.Store(w.wall.Load() - uint64(time.Hour)) // an hour has passed
	c, behind = w.read(12)
	require.True(t, behind)
	near(before+uint64(time.Hour), c.now())
	require.EqualValues(t, 11, w.boot.Load(), "reading stores nothing")
	c = w.moveOn(12)
	near(before+uint64(time.Hour), c.now())
	c, behind = w.read(12)
	require.False(t, behind)
	near(before+uint64(time.Hour), c.now())
	w.wall.Store(w.wall.Load() + uint64(100*time.Hour)) // the wall clock was set back
	c = w.moveOn(13)
	near(origin, c.now())

	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.StoreTTL("k", 1, time.Hour))
	m.head.watch.boot.Store(1)
	m.head.watch.wall.Store(m.head.watch.wall.Load() - uint64(30*time.Minute))
	again := open[string, int](t, a, "m")
	left, ok := again.TTL("k")
	require.True(t, ok)
	require.InDelta(t, 30*time.Minute, left, float64(time.Minute))
	require.Equal(t, bootID(), m.head.watch.boot.Load())
}

// Random operations, deadlines among them, beside a plain map.
func TestTTL_Model(t *testing.T) {
	type held struct {
		v     int
		until time.Duration // 0: for ever
	}
	r := seeded(t)
	a := shmtest.Heap(t, spacious)
	handles := []*Map[string, int]{create[string, int](t, a, "m", &Options{Capacity: 10}), open[string, int](t, a, "m")}
	s := &sundial{at: time.Second}
	s.rule(&handles[0].table, &handles[1].table)
	model := make(map[string]held)
	for step := range 40_000 {
		m, k, v := handles[r.IntN(2)], fmt.Sprint("key", r.IntN(300)), r.Int()
		s.at += time.Duration(r.IntN(3)) * time.Millisecond
		old, there := model[k]
		if there = there && (old.until == 0 || old.until > s.at); !there {
			delete(model, k)
		}
		ttl := time.Duration(r.IntN(200)) * time.Millisecond
		until := time.Duration(0)
		if ttl != 0 {
			until = s.at + ttl
		}
		switch r.IntN(7) {
		case 0:
			require.NoError(t, m.StoreTTL(k, v, ttl))
			model[k] = held{v, until}
		case 1:
			require.Equal(t, there, yes(t)(m.Expire(k, ttl)), "step %d", step)
			if there {
				model[k] = held{old.v, until}
			}
		case 2:
			require.Equal(t, there, yes(t)(m.Delete(k)), "step %d", step)
			delete(model, k)
		case 3:
			sum, err := Add(m, k, 1)
			require.NoError(t, err)
			require.Equal(t, old.v*btoi(there)+1, sum, "step %d", step)
			model[k] = held{sum, old.until * time.Duration(btoi(there))}
		case 4:
			_, err := m.PurgeExpired(r.IntN(20))
			require.NoError(t, err)
		default:
			got, ok := m.Load(k)
			require.Equal(t, there, ok, "step %d", step)
			if ok {
				require.Equal(t, old.v, got)
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A deadline that is asked for over a closed handle goes nowhere: the memory of the
// map may be somebody else's.
func TestTTL_Closed(t *testing.T) {
	for what, late := range map[string]func(m *Map[string, int]) error{
		"StoreTTL": func(m *Map[string, int]) error { return m.StoreTTL("k", 1, time.Hour) },
		"Expire":   func(m *Map[string, int]) error { return second(m.Expire("k", time.Hour)) },
		"AddInitial": func(m *Map[string, int]) error {
			return second(AddInitial(m, "k", 1, 1, time.Hour))
		},
	} {
		t.Run(what, func(t *testing.T) {
			afterRemoval(t, func(m *Map[string, int], gone func()) {
				gone()
				require.ErrorIs(t, late(m), ErrClosed)
			})
		})
	}
	t.Run("Fetch", func(t *testing.T) {
		afterRemoval(t, func(m *Map[string, int], gone func()) {
			_, err := m.Fetch(context.Background(), "k", func(context.Context, string) (int, error) {
				gone() // Close does not wait for a load
				return 1, nil
			}, &FetchOptions{TTL: time.Hour})
			require.ErrorIs(t, err, ErrClosed)
		})
	})
}

// afterRemoval runs do, in which gone closes the map, and has it removed and its
// memory taken by another one of another attach, which must not change.
func afterRemoval(t *testing.T, do func(m *Map[string, int], gone func())) {
	o := &arena.Options{Size: 1 << 20, MaxSize: 1 << 20, Processes: 4, Objects: 8}
	a := shmtest.Named(t, o)
	b := shmtest.Again(t, a, o)
	m := create[string, int](t, a, "m", nil)
	zeros := make([]byte, m.floor.Pages.BlockSize(m.object.Size())-entryHeader-16)
	other := create[string, []byte](t, b, "other", &Options{Capacity: 2000})
	do(m, func() {
		require.NoError(t, m.Close())
		require.NoError(t, b.Remove("m"))
		for n := 0; other.Store(key16(n), zeros) == nil; n++ {
		}
	})
	require.NotZero(t, other.Len())
	for k, v := range other.All() {
		require.True(t, bytes.Equal(zeros, v), "the value of key %s has changed", k)
	}
}

// The longest time to live, and a clock that is a little behind.
func TestTTL_Longest(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m, other := create[string, int](t, a, "m", &Options{TTL: math.MaxInt64}), open[string, int](t, a, "m")
	require.NoError(t, m.Store("k", 1))
	other.clock.shift -= uint64(time.Second)
	for _, m := range []*Map[string, int]{m, other} {
		require.True(t, m.Contains("k"))
		ttl, ok := m.TTL("k")
		require.True(t, ok)
		require.Greater(t, ttl, time.Duration(math.MaxInt64)-time.Minute)
	}
}

// What replaces an expired entry has no distance: a writer who is killed before he has
// stored the slot leaves the old entry with it, which may lie elsewhere.
func TestTTL_ReplacedElsewhere(t *testing.T) {
	m := create[uint64, int](t, shmtest.Heap(t, roomy), "m", nil)
	s := &sundial{at: time.Second}
	s.rule(&m.table)
	last := uint64(0)
	keyOf := func(home uint64) uint64 { // of the first segment
		for {
			last++
			key, n := m.key(&last)
			h := hashKey(key, n, &m.secrets)
			if seg := m.segmentOf(t, h); seg.Word == m.segmentOf(t, 0).Word && homeOf(h, seg.Buckets) == home {
				return last
			}
		}
	}
	for range bucketSlots {
		require.NoError(t, m.StoreTTL(keyOf(0), 1, 0))
		require.NoError(t, m.StoreTTL(keyOf(1), 2, time.Second))
	}
	s.at = time.Minute
	k := keyOf(0)
	require.NoError(t, m.Store(k, 3))
	require.EqualValues(t, 2*bucketSlots, m.Len())
	key, n := m.key(&k)
	at := m.placeOf(t, key, n)
	require.EqualValues(t, 1, at.index)
	require.EqualValues(t, tooFar, distanceIn(at.bucket.tags.Load(), int(at.slot)))
	require.NoError(t, m.Check())
}

// An entry that has expired may lie before one of the same key: when a writer was
// killed who had given its slot another tag, and another one who gave it that back.
func TestTTL_BehindExpired(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	s := &sundial{at: time.Second}
	s.rule(&m.table)
	require.NoError(t, m.StoreTTL("k", 1, time.Second))
	k := "k"
	key, n := m.key(&k)
	first := m.placeOf(t, key, n)
	s.at = time.Minute
	tags, shift := &first.bucket.tags, 8*first.slot
	tag := tags.Load()
	tags.Store(tag&^(0xff<<shift) | (tag>>shift&0xff^1)<<shift)
	require.NoError(t, m.Store("k", 2))
	tags.Store(tags.Load()&^(0xff<<shift) | tag&(0xff<<shift))
	require.NotEqual(t, first.slot, m.placeOf(t, key, n).slot)

	require.Equal(t, 2, must2(m.Load("k")))
	sum, err := Add(m, "k", 1)
	require.NoError(t, err)
	require.Equal(t, 3, sum)
	require.Equal(t, map[string]int{"k": 3}, maps.Collect(m.All()))
	require.NoError(t, m.Store("k", 4))
	require.Equal(t, 4, must2(m.Load("k")))
	require.True(t, yes(t)(m.Delete("k")))
	require.False(t, m.Contains("k"))
	require.NoError(t, m.Check())
}

// An entry so near to the end of the segment that it is examined expires too.
func TestTTL_AtTheEnd(t *testing.T) {
	m, _ := expiring(t)
	m.end.Store(0)
	require.True(t, m.Contains("there"))
	require.False(t, m.Contains("gone"))
}

// The clock of a damaged map: what would expire after its end lives for ever.
func TestTTL_EndOfTime(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	m.clock.fake = func() uint64 { return math.MaxUint64 - 5 }
	require.NoError(t, m.StoreTTL("k", 1, time.Hour))
	require.True(t, m.Contains("k"))
}

// An entry that expires after it was found, and before its time is looked at, is not
// there.
func TestTTL_ExpiresMeanwhile(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	looks := time.Duration(0)
	m.clock.fake = func() uint64 {
		looks++
		return origin + uint64(looks*time.Second)
	}
	require.NoError(t, m.StoreTTL("k", 1, 1500*time.Millisecond))
	_, ok := m.TTL("k")
	require.False(t, ok)
	require.EqualValues(t, 4, looks)
}

// A reader has found an entry, then it is replaced, or made to live for ever, by a
// writer who is stopped before he raises the version; then the old deadline passes, and
// the reader looks at the clock. The key was there all the while.
func TestTTL_ChangedInTime(t *testing.T) {
	changes := map[string]func(m *Map[string, int]) error{
		"store":   func(m *Map[string, int]) error { return m.Store("k", 1) },
		"persist": func(m *Map[string, int]) error { return second(m.Persist("k")) },
	}
	reads := map[string]func(m *Map[string, int]) bool{
		"load":     func(m *Map[string, int]) bool { v, ok := m.Load("k"); return ok && v == 1 },
		"contains": func(m *Map[string, int]) bool { return m.Contains("k") },
		"examined": func(m *Map[string, int]) bool { m.end.Store(0); return m.Contains("k") },
		"all":      func(m *Map[string, int]) bool { return maps.Collect(m.All())["k"] == 1 },
		"ttl":      func(m *Map[string, int]) bool { left, ok := m.TTL("k"); return ok && left == 0 },
	}
	for what, change := range changes {
		for how, read := range reads {
			t.Run(what+", "+how, func(t *testing.T) {
				a := shmtest.Heap(t, roomy)
				m, reader := create[string, int](t, a, "m", nil), open[string, int](t, a, "m")
				new(sundial).rule(&m.table)
				require.NoError(t, m.StoreTTL("k", 1, time.Second))
				k := "k"
				key, n := m.key(&k)
				version := &m.placeOf(t, key, n).bucket.version
				happened := false
				reader.clock.fake = func() uint64 {
					if !happened {
						happened = true
						before := version.Load()
						require.NoError(t, change(m))
						version.Store(before)
					}
					return origin + uint64(time.Minute)
				}
				require.True(t, read(reader))
				require.True(t, happened)
			})
		}
	}
}

// It is replaced after it was found to stand, and before TTL looks at the clock.
func TestTTL_ReplacedMeanwhile(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m, reader := create[string, int](t, a, "m", nil), open[string, int](t, a, "m")
	new(sundial).rule(&m.table)
	require.NoError(t, m.StoreTTL("k", 1, time.Second))
	looks := 0
	reader.clock.fake = func() uint64 {
		if looks++; looks == 1 {
			return origin
		}
		if looks == 2 {
			require.NoError(t, m.Store("k", 2))
		}
		return origin + uint64(time.Minute)
	}
	left, ok := reader.TTL("k")
	require.True(t, ok)
	require.Zero(t, left)
	require.Equal(t, 2, looks)
}

// Whatever gives an entry its deadline, and wherever its segment has gone since: when it
// has passed, PurgeExpired finds it.
func TestTTL_PurgeFindsAll(t *testing.T) {
	for _, o := range []*Options{{Capacity: 16}, {Limit: 1 << 14}} {
		m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", o)
		s := new(sundial)
		s.rule(&m.table)
		r, until := seeded(t), make(map[uint64]time.Duration)
		rounds := 30
		if mem.Race { // one goroutine
			rounds = 8
		}
		for round := range rounds {
			for range 400 {
				k, ttl := r.Uint64N(uint64(200*(round+1))), time.Duration(r.IntN(5))*time.Second
				end := s.at + ttl
				if ttl == 0 {
					end = math.MaxInt64
				}
				var err error
				switch old, there := until[k]; r.IntN(8) {
				case 0, 1, 2:
					err = m.StoreTTL(k, k, ttl)
				case 3:
					_, err = m.Expire(k, ttl)
					if !there {
						end = 0
					}
				case 4:
					_, err = AddInitial(m, k, 1, 1, ttl)
					if there {
						end = old
					}
				case 5:
					_, err = m.Delete(k)
					end = 0
				case 6:
					_, _, err = m.Compute(k, func(v uint64, ok bool) (uint64, Action) { return v + 1, Store })
					if end = math.MaxInt64; there {
						end = old
					}
				case 7:
					err = m.Store(k, k)
					end = math.MaxInt64
				}
				require.NoError(t, err)
				if until[k] = end; end == 0 {
					delete(until, k)
				}
			}
			s.at += time.Duration(r.IntN(2000)) * time.Millisecond
			maps.DeleteFunc(until, func(_ uint64, end time.Duration) bool { return end <= s.at })
			_, err := m.PurgeExpired(1 << 30)
			require.NoError(t, err)
			require.Len(t, until, m.Len())
		}
		require.Greater(t, m.Len(), 100)
	}
}
