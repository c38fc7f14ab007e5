package hashmap

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

// The limit holds at any time, for one entry and for many, and the map takes no
// more memory however much is stored.
func TestLimit_Holds(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 100, 255, 256, 1000, 5000, 60_000} {
		if mem.Race && limit > 1000 {
			continue // one goroutine, and many keys
		}
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			a := shmtest.Heap(t, spacious)
			m := create[uint64, uint64](t, a, "m", &Options{Limit: limit, Capacity: 3})
			require.Equal(t, limit, m.Limit())
			require.Equal(t, limit, m.Cap())
			word, shape := m.version.Load(), m.plan
			most := 0
			for i := range uint64(max(4*limit, 1000)) {
				require.NoError(t, m.Store(i, ^i))
				v, ok := m.Load(i)
				require.True(t, ok, "what was stored last is there")
				require.Equal(t, ^i, v)
				if i%97 == 0 || i < 300 {
					most = max(most, m.Len())
					require.LessOrEqual(t, m.Len(), limit)
				}
			}
			require.GreaterOrEqual(t, most, limit*9/10)
			for k, v := range contents(t, m) {
				require.Equal(t, ^k, v)
			}
			require.EqualValues(t, max(4*limit, 1000)-m.Len(), m.Evictions())
			require.Equal(t, word, m.version.Load(), "the tree is the one it was made with")
			p, err := planBounded(uint64(limit), m.floor.Pages, uint64(a.MaxSize()))
			require.NoError(t, err)
			require.Equal(t, p, shape)
		})
	}
}

func TestLimit_Plan(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	pt := create[uint64, uint64](t, a, "m", nil).floor.Pages
	for limit := uint64(1); limit < 200_000; limit += 1 + limit/7 {
		p, err := planBounded(limit, pt, 48<<20)
		require.NoError(t, err)
		sum := uint64(0)
		for i := range p.stripes() {
			n := p.shareOf(i)
			sum += n
			require.True(t, n >= share || p.stripeBits == 0, "limit %d: stripe %d has %d", limit, i, n)
		}
		require.Equal(t, limit, sum, "the shares are the limit")
		require.GreaterOrEqual(t, p.buckets<<p.bits*settled, limit)
		require.LessOrEqual(t, p.segmentBytes(p.buckets), uint64(largest))
	}
	for _, bad := range []*Options{{Limit: -1}, {Limit: mostEntries + 1}} {
		_, err := Create[uint64, int](a, "bad", bad)
		require.ErrorContains(t, err, "limit")
	}
	_, err := Create[uint64, int](a, "bad", &Options{Limit: 10_000_000})
	require.ErrorIs(t, err, ErrFull)
}

// Every verb that stores evicts; those that do not, do not.
func TestLimit_Verbs(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Limit: 300})
	next := uint64(0)
	filled := func() {
		for ; m.count() < 300; next++ {
			require.NoError(t, m.Store(next, next))
		}
	}
	verbs := map[string]func(k uint64){
		"LoadOrStore": func(k uint64) { require.Equal(t, outcome2(k, false), outcome3(t)(m.LoadOrStore(k, k))) },
		"Swap":        func(k uint64) { require.Equal(t, outcome2(0, false), outcome3(t)(m.Swap(k, k))) },
		"Add":         func(k uint64) { require.Equal(t, k, sure(Add(m, k, k))) },
		"StoreTTL":    func(k uint64) { require.NoError(t, m.StoreTTL(k, k, time.Hour)) },
		"Compute": func(k uint64) {
			_, _, err := m.Compute(k, func(uint64, bool) (uint64, Action) { return k, Store })
			require.NoError(t, err)
		},
	}
	for name, verb := range verbs {
		for range 50 {
			filled()
			next++
			before := m.Evictions()
			verb(next)
			require.Equal(t, next, must2(m.Load(next)), name)
			require.Equal(t, 300, m.Len())
			require.Equal(t, before+1, m.Evictions(), name)
		}
	}
	before := m.Evictions()
	for k := range maps.Collect(m.All()) {
		require.NoError(t, m.Store(k, k+1))
		require.True(t, sure(m.CompareAndSwap(k, k+1, k+2)))
		require.False(t, sure(m.CompareAndSwap(k+1<<40, 1, 2)))
		require.False(t, sure(m.Delete(k+1<<40)))
	}
	require.Equal(t, before, m.Evictions(), "what is there can be replaced")
}

func outcome2(v uint64, ok bool) [2]any { return [2]any{v, ok} }

func outcome3(t *testing.T) func(v uint64, ok bool, err error) [2]any {
	return func(v uint64, ok bool, err error) [2]any {
		require.NoError(t, err)
		return [2]any{v, ok}
	}
}

// Clear and ReplaceAll leave the limit, and more pairs than it are no error.
func TestLimit_Exchange(t *testing.T) {
	for _, limit := range []int{1, 3, 40, 300, 3000} {
		a := shmtest.Heap(t, spacious)
		m := create[uint64, uint64](t, a, "m", &Options{Limit: limit})
		for _, n := range []int{limit / 2, limit, 3*limit + 5} {
			require.NoError(t, m.ReplaceAll(func(yield func(k, v uint64) bool) {
				for i := range uint64(n) {
					yield(i, i*3)
				}
			}))
			all := contents(t, m)
			require.LessOrEqual(t, len(all), limit)
			require.GreaterOrEqual(t, len(all), min(n, limit)*3/4)
			for k, v := range all {
				require.Equal(t, k*3, v)
			}
			require.NoError(t, m.Check())
			for i := range uint64(2 * limit) {
				require.NoError(t, m.Store(1<<32+i, i))
			}
			require.LessOrEqual(t, m.Len(), limit)
			shmtest.Clean(t, a)
		}
		require.NoError(t, m.Clear())
		require.Zero(t, m.Len())
		require.NoError(t, m.Store(1, 1))
	}
}

// A full arena evicts too: the bytes are bounded by it.
func TestLimit_FullArena(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 64 << 10, MaxSize: 512 << 10, Processes: 4, Objects: 8})
		m := create[string, []byte](t, a, "m", &Options{Limit: 2000})
		other := open[string, []byte](t, b, "m")
		r := seeded(t)
		for i := range 5000 {
			from := m
			if i%3 == 0 {
				from = other
			}
			require.NoError(t, from.Store(key16(i), make([]byte, 900+r.IntN(100))))
			require.True(t, m.Contains(key16(i)))
		}
		require.Greater(t, m.Len(), 200)
		require.Less(t, m.Len(), 500)
		require.ErrorIs(t, m.Store("huge", make([]byte, 1<<20)), ErrFull)
		require.Greater(t, m.Len(), 1, "that was given up in time")
		for i := range 2000 { // another size: whole pages are to be emptied
			err := m.Store(fmt.Sprint("small", i), nil)
			require.NoError(t, err)
		}
		shmtest.Clean(t, a)
	})
}

// Expired entries go first, whatever they were worth and wherever in the stripe they are.
// The exception is a new key none of whose slots is free.
func TestLimit_ExpiredFirst(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 128})
	s := new(sundial)
	s.rule(&m.table)
	for i := range uint64(64) {
		require.NoError(t, m.Store(i, i))
		require.NoError(t, m.StoreTTL(100+i, i, time.Second))
		for range 40 {
			m.Load(100 + i)
		}
	}
	s.at = time.Minute
	for i := range uint64(25) { // a write may replace another one that is in its way
		storeBeside(t, m, 1000+i)
	}
	_, err := m.PurgeExpired(1000)
	require.NoError(t, err)
	for i := uint64(2000); m.Len() < 128; i++ {
		require.NoError(t, m.Store(i, i))
	}
	for i := range uint64(2000) { // one at a time, by each way to a deadline
		s.at += time.Minute
		lapsing, soon := 1000+i*13%60, s.at+time.Second
		require.NoError(t, m.Store(lapsing, i))
		switch i % 4 {
		case 0:
			require.NoError(t, m.StoreTTL(lapsing, i, time.Second))
		case 1:
			require.NoError(t, m.StoreTTL(lapsing, i, time.Hour)) // a later one, over it: then sooner
			require.NoError(t, m.StoreTTL(lapsing, i, time.Second))
		case 2:
			_, err := m.Expire(lapsing, time.Second)
			require.NoError(t, err)
		case 3:
			_, _, err := m.Compute(lapsing, func(v uint64, ok bool) (uint64, Action) { return v, Store })
			require.NoError(t, err)
			_, err = m.Expire(lapsing, time.Second)
			require.NoError(t, err)
		}
		for range 10 {
			m.Load(lapsing)
		}
		s.at = soon
		require.False(t, m.Contains(lapsing))
		storeBeside(t, m, 1_000_000+i)
	}
}

// storeBeside stores a new key, which evicts nobody if something has expired, but where
// there is no slot for it.
func storeBeside(t *testing.T, m *Map[uint64, uint64], k uint64) {
	t.Helper()
	h, before, expired := hashKey(keyOf(k), 8, &m.secrets), m.Evictions(), uint64(0)
	_, expired = m.writes()
	g := guard{t: &m.table, seg: m.segmentOf(t, h)}
	slot, full := g.hasSlot(h), m.Len() == m.Limit()
	require.NoError(t, m.Store(k, k))
	if slot {
		require.Equal(t, before, m.Evictions())
	}
	if _, now := m.writes(); slot && full {
		require.Greater(t, now, expired)
	}
}

// When what was to expire early is gone, or lives longer now, that is looked for once.
func TestLimit_EarliestIsRaised(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 128})
	s := new(sundial)
	s.rule(&m.table)
	for i := range uint64(128) {
		require.NoError(t, m.StoreTTL(i, i, time.Second))
	}
	for i := range uint64(128) {
		_, err := m.Expire(i, time.Hour)
		require.NoError(t, err)
	}
	s.at = time.Minute
	require.NoError(t, m.Store(1000, 0))
	require.EqualValues(t, 1, m.Evictions())
	var k uint64
	h := hashKey(keyOf(k), 8, &m.secrets)
	for i := range uint64(2) {
		seg := m.segmentOf(t, h^i<<63)
		for group := range uint64(lapseGroups) {
			require.Greater(t, m.earliest(&seg, group).Load(), m.clock.now())
		}
	}
}

// replay returns the hit ratio of a map in percent, and that of exact LRU.
func replayed(t *testing.T, keys []uint64, limit int, handles ...*Map[uint64, uint64]) (ours, lru float64) {
	t.Helper()
	hits := 0
	for i, k := range keys {
		m := handles[i%len(handles)]
		if v, ok := m.Load(k); ok {
			require.Equal(t, ^k, v)
			hits++
			continue
		}
		for j := 0; handles[(i+j)%len(handles)].floor.Pool == nil; j++ {
			m = handles[(i+j+1)%len(handles)]
		}
		require.NoError(t, m.Store(k, ^k))
	}
	last, old := make(map[uint64]int), 0
	queue := make([]uint64, 0, len(keys))
	lruHits := 0
	for i, k := range keys {
		if _, ok := last[k]; ok {
			lruHits++
		} else if len(last) == limit {
			for last[queue[old]] != old {
				old++
			}
			delete(last, queue[old])
			old++
		}
		last[k] = i
		queue = append(queue, k)
	}
	n := float64(len(keys)) / 100
	return float64(hits) / n, float64(lruHits) / n
}

// skewed is a trace of some keys that are used often and many that are used once
// or twice; the popular ones change after a while.
func skewed(n int) []uint64 {
	r := rand.New(rand.NewPCG(3, 4))
	z := rand.NewZipf(r, 1.1, 1, 20_000)
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = z.Uint64() + uint64(i/(n/3))*50
		if r.IntN(4) == 0 {
			keys[i] = 1<<40 + uint64(i)
		}
	}
	return keys
}

// Hot keys stay: the map finds more than exact LRU of the same size would, with
// one handle, with several, and with one that is read-only.
func TestLimit_HotKeysStay(t *testing.T) {
	keys := skewed(120_000)
	for _, limit := range []int{300, 2000} {
		if mem.Race && limit > 300 {
			continue // one goroutine
		}
		seg := shmtest.Segment(t, spacious)
		for _, handles := range []int{1, 2, 3} {
			a := shmtest.OnSegment(t, seg, spacious)
			all := []*Map[uint64, uint64]{create[uint64, uint64](t, a, fmt.Sprint(limit, handles), &Options{Limit: limit})}
			if handles > 1 {
				all = append(all, open[uint64, uint64](t, a, fmt.Sprint(limit, handles)))
			}
			if handles > 2 {
				o := *spacious
				o.ReadOnly = true
				all = append(all, open[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), fmt.Sprint(limit, handles)))
			}
			ours, lru := replayed(t, keys, limit, all...)
			t.Logf("limit %d, %d handles: %.2f, LRU %.2f", limit, handles, ours, lru)
			require.Greater(t, ours, lru+2)
		}
	}
}

// A key that is read keeps its place against any number of new ones; one that is
// not goes. That is what telling hits is for.
func TestLimit_HitsAreTold(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[string, []byte](t, a, "m", &Options{Limit: 256})
	for _, k := range []string{"read", "appended", "left", "key of more than sixteen bytes"} {
		require.NoError(t, m.Store(k, []byte(k)))
	}
	for i := range 5000 {
		require.NoError(t, m.Store(key16(i), nil))
		for range 3 {
			require.Equal(t, "read", string(must2(m.Load("read"))))
			require.Equal(t, "appended", string(must2(m.LoadAppend(nil, "appended"))))
			must2(m.Load("key of more than sixteen bytes"))
		}
	}
	require.False(t, m.Contains("left"))
}

// A read that tells its hits does not wait for the lock, and not for a record.
func TestLimit_ReadsDoNotWait(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Limit: 100})
	require.NoError(t, m.Store(1, 1))
	h := hashKey(keyOf(1), 8, &m.secrets)
	var g guard
	err := m.lock(h, &g)
	require.NoError(t, err)
	at := m.placeOf(t, keyOf(1), 8)
	hint := g.row(at.index).hint(at.slot)
	for range 200 {
		require.EqualValues(t, 1, must2(m.Load(1)))
	}
	require.Equal(t, hint, g.row(at.index).hint(at.slot), "the row is his who has the lock")
	g.unlock()
	var held []int
	for i := range 16 {
		if m.floor.Pool.TryTake(i) {
			held = append(held, i)
		}
	}
	for range 200 {
		require.EqualValues(t, 1, must2(m.Load(1)))
	}
	for _, i := range held {
		m.floor.Pool.Give(i)
	}
	require.Zero(t, testing.AllocsPerRun(200, func() { m.Load(1) }))
	require.Zero(t, testing.AllocsPerRun(200, func() { _ = m.Store(1, 2) }))
}

func keyOf(k uint64) mem.Ptr { return mem.KeyPtr(&k) }

// Goroutines of two attaches store, read, and delete: the limit holds all the
// time, values are whole, and nothing is lost or leaked.
func TestLimit_Concurrent(t *testing.T) {
	const limit = 400
	seg := shmtest.Segment(t, spacious)
	a, b := shmtest.OnSegment(t, seg, spacious), shmtest.OnSegment(t, seg, spacious)
	handles := []*Map[uint64, sealed]{create[uint64, sealed](t, a, "m", &Options{Limit: limit}), open[uint64, sealed](t, b, "m")}
	var all sync.WaitGroup
	var stop atomic.Bool
	var faults atomic.Pointer[error]
	fail := func(err error) { faults.CompareAndSwap(nil, &err) }
	for i := range 6 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := uint64(0); !stop.Load() && faults.Load() == nil; n++ {
				m, k := handles[r.IntN(2)], r.Uint64N(3*limit)
				switch r.IntN(10) {
				case 0:
					if _, err := m.Delete(k); err != nil {
						fail(err)
					}
				case 1, 2, 3:
					if err := m.Store(k, seal(k, n)); err != nil {
						fail(err)
					}
				case 4:
					if n := m.Len(); n > limit {
						fail(fmt.Errorf("%d entries", n))
					}
				case 5:
					if n%500 == 0 {
						if err := m.Clear(); err != nil {
							fail(err)
						}
					}
				default:
					if v, ok := m.Load(k); ok && !v.whole(k) {
						fail(fmt.Errorf("key %d has %v", k, v))
					}
				}
			}
		})
	}
	time.Sleep(patience(t, 500*time.Millisecond))
	stop.Store(true)
	all.Wait()
	if err := faults.Load(); err != nil {
		t.Fatal(*err)
	}
	require.LessOrEqual(t, handles[0].Len(), limit)
	shmtest.Clean(t, a)
}

// Random operations beside a plain map: what is in the map is what was stored
// last, or nothing.
func TestLimit_Model(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, spacious)
	handles := []*Map[string, int]{create[string, int](t, a, "m", &Options{Limit: 150}), open[string, int](t, a, "m")}
	model := make(map[string]int)
	for step := range 60_000 {
		m, k, v := handles[r.IntN(2)], fmt.Sprint("key", r.IntN(400)), r.Int()
		old, ok := m.Load(k)
		if ok {
			require.Equal(t, model[k], old, "step %d", step)
			require.Contains(t, model, k)
		}
		switch r.IntN(8) {
		case 0:
			require.Equal(t, ok, sure(m.Delete(k)))
			delete(model, k)
		case 1:
			actual, loaded, err := m.LoadOrStore(k, v)
			require.NoError(t, err)
			require.Equal(t, ok, loaded)
			model[k] = actual
		case 2:
			sum, err := Add(m, k, 1)
			require.NoError(t, err)
			require.Equal(t, old+1, sum)
			model[k] = sum
		case 3:
			require.Equal(t, ok, sure(m.CompareAndSwap(k, old, v)))
			if ok {
				model[k] = v
			}
		case 4:
			if r.IntN(3000) == 0 {
				require.NoError(t, m.ReplaceAll(maps.All(model)))
			}
		default:
			require.NoError(t, m.Store(k, v))
			model[k] = v
		}
		require.LessOrEqual(t, m.Len(), 150)
	}
	for k, v := range contents(t, handles[0]) {
		require.Equal(t, model[k], v)
	}
}

// Wild words in the rows, the floor and the rings do no more than spoil the choice.
func TestHostile_Rows(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Limit: 300})
	for round := range 300 {
		for i := range m.plan.stripes() {
			s := m.stripe(m.stripeOff + i*stripeSize)
			s.floor.Store(r.Uint64())
			s.gone.Store(r.Uint64())
		}
		d, err := m.look()
		require.NoError(t, err)
		for i := range d.Len() {
			s := tree.Parse(d.At(i).Load())
			g := guard{t: &m.table, seg: s}
			for j := range s.Buckets {
				row := g.row(j)
				for k := range row.hints {
					row.hints[k].Store(r.Uint64() * uint64(round%3))
				}
				row.ghosts.Store(r.Uint64())
			}
		}
		for i := range m.rings.of {
			m.rings.of[i].n.Store(r.Uint64() >> r.IntN(64))
			for j := range m.rings.of[i].hashes {
				m.rings.of[i].hashes[j].Store(r.Uint64())
			}
		}
		for range 300 {
			k := r.Uint64N(2000)
			if v, ok := m.Load(k); ok {
				require.Equal(t, ^k, v)
			}
			require.NoError(t, m.Store(k, ^k))
			require.LessOrEqual(t, m.Len(), 300)
		}
	}
	for i := range m.plan.stripes() { // and a count that is wrong is found out
		m.stripe(m.stripeOff + i*stripeSize).count[0].Store(1 << 40)
		m.stripe(m.stripeOff + i*stripeSize).count[1].Store(1 << 40)
	}
	require.ErrorIs(t, m.Check(), ErrCorrupt)
	require.ErrorIs(t, m.Store(1<<50, 1), ErrCorrupt)
	for i := range m.plan.stripes() {
		m.stripe(m.stripeOff + i*stripeSize).count[0].Store(0)
		m.stripe(m.stripeOff + i*stripeSize).count[1].Store(0)
	}
	require.NoError(t, m.Clear())
}

// Keys that all have one hash: they have the window, and that is all.
func TestLimit_OneHash(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 1000})
	collide(t, 16, &m.table)
	for i := range 200 {
		require.NoError(t, m.Store(key16(i), i))
		require.True(t, m.Contains(key16(i)))
		require.LessOrEqual(t, m.Len(), window*bucketSlots)
	}
	require.Equal(t, window*bucketSlots, m.Len())
}

func sure[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLimit_ContainsIsNoUse(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", &Options{Limit: 100, CountReads: true})
	require.NoError(t, m.Store("k", 1))
	for range 5 {
		require.True(t, m.Contains("k"))
	}
	for i := range m.rings.of {
		require.Zero(t, m.rings.of[i].n.Load())
	}
	s, err := m.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 5, s.Hits)
}

// What has expired is freed first, however much of it there is, and then a write that
// finds no room still evicts.
func TestLimit_EvictsBesideExpired(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8}), "m", &Options{Limit: 8000})
	s := new(sundial)
	s.rule(&m.table)
	little := bytes.Repeat([]byte{1}, 16)
	for i := range 3000 {
		ttl := time.Second
		if i%20 == 0 {
			ttl = 0
		}
		require.NoError(t, m.StoreTTL(key16(i), little, ttl))
	}
	large := bytes.Repeat([]byte{1}, 9000)
	for i := 0; m.Evictions() == 0; i++ {
		_ = m.Store(fmt.Sprint("large ", i), large)
	}
	s.at = time.Minute
	before := m.Evictions()
	if err := m.Store("one more", large); err != nil {
		require.Greater(t, m.Evictions(), before, "refused, and nothing was evicted: %v", err)
	}
}

// hintOf returns the hint of a key's entry.
func hintOf(t *testing.T, m *Map[uint64, uint64], k uint64) uint32 {
	g, at := guard{t: &m.table, seg: m.segmentOf(t, hashKey(keyOf(k), 8, &m.secrets))}, m.placeOf(t, keyOf(k), 8)
	return g.row(at.index).hint(at.slot)
}

// A read that has found something before its handle was closed tells it nobody.
func TestLimit_ClosedTellsNobody(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Limit: 1, CountReads: true})
	other := open[uint64, uint64](t, a, "m")
	require.NoError(t, m.Store(0, 0))
	require.NoError(t, m.Store(1, 1))
	require.NoError(t, m.Close())
	require.Zero(t, m.Evictions())
	require.EqualValues(t, 1, other.Evictions())
	hint := hintOf(t, other, 1)
	m.tell(hashKey(keyOf(1), 8, &m.secrets))
	require.Equal(t, hint, hintOf(t, other, 1))
	m.countHit()
	s, err := other.Stats()
	require.NoError(t, err)
	require.Zero(t, s.Hits)
}

// A ring whose place was taken, and not filled yet, may have the hash of another stripe,
// which is not locked: its row stays as it is.
func TestLimit_HitOfAnotherStripe(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 5000})
	hash := func(k uint64) uint64 { return hashKey(keyOf(k), 8, &m.secrets) }
	k := uint64(1)
	for m.stripeAt(hash(k)) == m.stripeAt(hash(0)) {
		k++
	}
	require.NoError(t, m.Store(k, k))
	hint := hintOf(t, m, k)
	r := &m.rings.at(m.plan.stripeOf(hash(0)))[0]
	r.hashes[0].Store(hash(k))
	r.n.Store(1)
	require.NoError(t, m.Store(0, 0))
	require.Zero(t, r.n.Load())
	require.Equal(t, hint, hintOf(t, m, k))
}

// What is evicted while a content is built is not the stripes' business, which are not
// locked; and the tree stays that of the limit.
func TestLimit_Building(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 40})
	slots, _ := m.shapeOf(t)
	require.NoError(t, m.ReplaceAll(maps.All(numbered(2000, 1))))
	require.LessOrEqual(t, m.Len(), 40)
	require.Zero(t, m.Evictions())
	for i := range m.plan.stripes() {
		require.Zero(t, m.stripe(m.stripeOff+i*stripeSize).floor.Load())
	}
	after, _ := m.shapeOf(t)
	require.Equal(t, slots, after)
}

// Each use counts: a write over an entry, and reads, which the next one who locks the
// stripe is told of. What is evicted raises the floor, and has its count again when it
// comes back.
func TestLimit_Uses(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 2})
	uses := func(k uint64) int { return int(hintOf(t, m, k) & useMask) }
	require.NoError(t, m.Store(1, 1))
	require.Equal(t, 1, uses(1))
	for i := range 2 {
		require.Equal(t, outcome2(1, true), outcome3(t)(m.Swap(1, 1)))
		require.Equal(t, 2+i, uses(1))
	}
	for range 4 {
		m.Load(1)
	}
	require.True(t, sure(m.Persist(1)))
	require.Equal(t, 7, uses(1))
	floor := &m.stripe(m.stripeOff).floor
	require.Zero(t, floor.Load())
	for k := uint64(2); m.Contains(1); k++ {
		require.NoError(t, m.Store(k, k))
	}
	require.NotZero(t, floor.Load())
	require.NoError(t, m.Store(1, 1))
	require.Equal(t, 8, uses(1))
}

// An entry with a worth that nobody can have written goes first.
func TestLimit_WildWorth(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, spacious), "m", &Options{Limit: 4})
	collide(t, 16, &m.table)
	for i := range 4 {
		require.NoError(t, m.Store(key16(i), i))
	}
	k := key16(2)
	key, n := m.key(&k)
	g, at := guard{t: &m.table, seg: m.segmentOf(t, 0)}, m.placeOf(t, key, n)
	g.row(at.index).setHint(at.slot, (mostBonus+1)<<useBits|1)
	require.NoError(t, m.Store(key16(4), 4))
	require.False(t, m.Contains(k))
	require.Equal(t, 4, m.Len())
}

// A write for which there is no room leaves the old value of its key, whatever it has
// evicted.
func TestLimit_FailedWriteLeavesOldValue(t *testing.T) {
	large := bytes.Repeat([]byte{2}, 9000)
	verbs := map[string]func(m *Map[string, []byte]) error{
		"Store":    func(m *Map[string, []byte]) error { return m.Store("k", large) },
		"StoreTTL": func(m *Map[string, []byte]) error { return m.StoreTTL("k", large, time.Hour) },
		"StoreAll": func(m *Map[string, []byte]) error {
			_, err := m.StoreAll(maps.All(map[string][]byte{"k": large}))
			return err
		},
		"Swap":           func(m *Map[string, []byte]) error { _, _, err := m.Swap("k", large); return err },
		"CompareAndSwap": func(m *Map[string, []byte]) error { _, err := m.CompareAndSwap("k", []byte("old"), large); return err },
		"Compute Store": func(m *Map[string, []byte]) error {
			_, _, err := m.Compute("k", func([]byte, bool) ([]byte, Action) { return large, Store })
			return err
		},
		"Compute Renew": func(m *Map[string, []byte]) error {
			_, _, err := m.Compute("k", func([]byte, bool) ([]byte, Action) { return large, Renew })
			return err
		},
	}
	for name, do := range verbs {
		t.Run(name, func(t *testing.T) {
			a := shmtest.Heap(t, &arena.Options{Size: 512 << 10, Processes: 4, Objects: 8})
			m := create[string, []byte](t, a, "m", &Options{Limit: 100})
			require.NoError(t, m.Store("k", []byte("old")))
			for i := range 20 {
				require.NoError(t, m.Store(fmt.Sprint("other ", i), []byte("new")))
			}
			crowdOut(t, a)
			require.ErrorIs(t, do(m), ErrFull)
			v, _ := m.Load("k")
			require.Equal(t, "old", string(v))
			require.EqualValues(t, 20, m.Evictions(), "all others")
			require.Equal(t, 1, m.Len())
			shmtest.Clean(t, a)
		})
	}
}

// The same of values whose blocks are small: all that could be evicted is the old one.
func TestLimit_FailedWriteLeavesOldNumber(t *testing.T) {
	verbs := map[string]func(m *Map[string, uint64]) error{
		"Add":        func(m *Map[string, uint64]) error { _, err := Add(m, "k", 1); return err },
		"Store":      func(m *Map[string, uint64]) error { return m.Store("k", 2) },
		"another":    func(m *Map[string, uint64]) error { return m.Store("another", 2) },
		"AddInitial": func(m *Map[string, uint64]) error { _, err := AddInitial(m, "another", 1, 5, time.Hour); return err },
	}
	for name, do := range verbs {
		t.Run(name, func(t *testing.T) {
			a := shmtest.Heap(t, &arena.Options{Size: 512 << 10, Processes: 4, Objects: 8})
			m := create[string, uint64](t, a, "m", &Options{Limit: 100})
			require.NoError(t, m.Store("k", 1))
			crowdOut(t, a)
			err := do(m)
			if name == "another" || name == "AddInitial" { // "k" goes for it
				require.NoError(t, err)
				require.False(t, m.Contains("k"))
				require.EqualValues(t, 1, m.Evictions())
				return
			}
			require.ErrorIs(t, err, ErrFull)
			v, _ := m.Load("k")
			require.EqualValues(t, 1, v)
			require.Zero(t, m.Evictions())
		})
	}
}

// crowdOut fills an arena with what is not evicted: runs, and then blocks of all sizes.
func crowdOut(t *testing.T, a *arena.Arena) {
	t.Helper()
	m := create[uint64, []byte](t, a, "crowd", &Options{Capacity: 4000})
	n := uint64(0)
	for size := 9000; size > 0; size /= 2 {
		for m.Store(n, make([]byte, size)) == nil {
			n++
		}
	}
	for m.Store(n, nil) == nil {
		n++
	}
}

// A value that could not be there without all others evicts nobody for nothing.
func TestLimit_ImpossibleEvictsNobody(t *testing.T) {
	o := &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8}
	m := create[uint64, []byte](t, shmtest.Heap(t, o), "m", &Options{Limit: 4000})
	for i := range uint64(100) {
		require.NoError(t, m.Store(i, []byte("value")))
	}
	g := m.floor.Pages.Geometry()
	tables := m.plan.segmentSize(m.plan.buckets, m.floor.Pages) << m.plan.bits
	for _, size := range []uint64{4 << 20, g.MaxPages << g.Shift, g.MaxPages<<g.Shift - tables} {
		require.ErrorIs(t, m.Store(7, make([]byte, size)), ErrFull)
	}
	require.Zero(t, m.Evictions())
	require.Equal(t, 100, m.Len())
	s, err := m.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Refused)
	// Nor does a new key in a map that is at its limit.
	full := create[uint64, []byte](t, shmtest.Heap(t, o), "m", &Options{Limit: 1})
	require.NoError(t, full.Store(1, []byte("value")))
	require.ErrorIs(t, full.Store(2, make([]byte, 4<<20)), ErrFull)
	require.Zero(t, full.Evictions())
	require.True(t, full.Contains(1))
}

// A cache whose values change their size goes on: pages full of the old ones are emptied
// for the new ones.
func TestLimit_SizesChange(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	m := create[uint64, []byte](t, a, "m", &Options{Limit: 4000})
	k := uint64(0)
	for round, size := range []int{900, 10, 3000, 100, 9000, 20, 60_000, 2000, 10, 40_000, 0} {
		before, writes := m.Evictions(), 0
		for stored := 0; stored < 3<<20 && writes < 3000; stored += size {
			require.NoError(t, m.Store(k, make([]byte, size)), "values of %d bytes, round %d, write %d", size, round, writes)
			k++
			writes++
		}
		t.Logf("%5d writes of %6d bytes: %d evictions, %d entries", writes, size, m.Evictions()-before, m.Len())
	}
	require.NoError(t, m.Check())
	shmtest.Clean(t, a)
}

// A write that finds the arena full spares the next ones the question; when there is
// room again, what was evicted for nothing is little.
func TestLimit_FullIsNotAskedAgain(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	m := create[uint64, []byte](t, a, "m", &Options{Limit: 16_000})
	crowd := create[uint64, []byte](t, a, "crowd", nil)
	for i := range uint64(20) {
		require.NoError(t, crowd.Store(i, make([]byte, 20_000)))
	}
	k, value := uint64(0), make([]byte, 100)
	for ; m.Evictions() == 0; k++ {
		require.NoError(t, m.Store(k, value))
	}
	class, ok := m.floor.Pages.ClassFor(entryHeader + 8 + 100)
	require.True(t, ok)
	full, evicted := m.floor.Tally.Refused[class].Load(), m.Evictions()
	const writes = 6400
	for range writes {
		require.NoError(t, m.Store(k, value))
		k++
	}
	require.LessOrEqual(t, m.floor.Tally.Refused[class].Load()-full, uint64(writes/10), "some for each 64")
	require.InDelta(t, writes, m.Evictions()-evicted, writes/50)
	for i := range uint64(20) {
		_, err := crowd.Delete(i)
		require.NoError(t, err)
	}
	evicted = m.Evictions()
	for range 2000 {
		require.NoError(t, m.Store(k, value))
		k++
	}
	require.LessOrEqual(t, m.Evictions()-evicted, uint64(tightFor))
	require.NoError(t, m.Check())
	shmtest.Clean(t, a)
}
