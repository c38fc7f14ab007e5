package hashmap

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// newTold makes a map whose codec counts what it decodes, and the handle that
// writes it.
func newTold(t *testing.T, o *Options) (m, writer values[string, string], c *fragile) {
	t.Helper()
	a := shmtest.Heap(t, roomy)
	c = new(fragile)
	writer = createEncoded[string](t, a, "m", Codec[string](new(fragile)), nil)
	return openEncoded[string](t, a, "m", Codec[string](c), o), writer, c
}

func load(t *testing.T, m values[string, string], k, want string) *string {
	t.Helper()
	v, ok := m.Encoded.Load(k)
	require.True(t, ok)
	require.Equal(t, want, *v)
	return v
}

func TestCache_Same(t *testing.T) {
	m, writer, c := newTold(t, nil)
	collide(t, 16, &m.raw.table, &writer.raw.table) // hot and cold share a bucket
	require.NoError(t, writer.Store(hot, "one"))
	one := load(t, m, hot, "one")
	for i := range 10 {
		require.Same(t, one, load(t, m, hot, "one"))
		require.NoError(t, writer.Store(cold, fmt.Sprint(i)))
		require.Same(t, one, load(t, m, hot, "one"), "another key of the bucket was written")
	}
	require.Equal(t, 1, c.decoded)
	require.NoError(t, writer.Store(hot, "one"))
	require.Same(t, one, load(t, m, hot, "one"), "it was stored again")
	require.Equal(t, 1, c.decoded)

	require.NoError(t, writer.Store(hot, "two"))
	two := load(t, m, hot, "two")
	require.NotSame(t, one, two)
	require.Equal(t, "one", *one, "who has it keeps it")
	require.Equal(t, 2, c.decoded)
	require.True(t, yes(t)(writer.Delete(hot)))
	_, ok := m.Encoded.Load(hot)
	require.False(t, ok)
	require.NoError(t, writer.Store(hot, "two"))
	require.NotSame(t, two, load(t, m, hot, "two"), "it was forgotten when it was not there")
}

// The block of an entry is freed and becomes an entry of the same key again: the
// slot holds the same word, and another value.
func TestCache_BlockComesBack(t *testing.T) {
	m, writer, _ := newTold(t, nil)
	slot := func() uint64 {
		k := hot
		n := uint64(len(k))
		at := m.raw.placeOf(t, mem.PtrOf([]byte(k)), n)
		return at.old
	}
	came := 0
	for i := 0; came < 5 && i < 100_000; i++ {
		require.NoError(t, writer.Store(hot, fmt.Sprintf("%06d", i)))
		first, word := load(t, m, hot, fmt.Sprintf("%06d", i)), slot()
		for j := range 200 {
			text := fmt.Sprintf("%06d", 200_000+j)
			require.NoError(t, writer.Store(hot, text))
			if slot() == word {
				came++
				require.NotSame(t, first, load(t, m, hot, text))
				break
			}
		}
	}
	require.Equal(t, 5, came, "blocks that came back")
}

// A writer stands still, or has died, between the slot and the version: those who
// search find the new value, and so must who remembers the old one.
func TestCache_BetweenSlotAndVersion(t *testing.T) {
	m, writer, _ := newTold(t, nil)
	collide(t, 16, &m.raw.table, &writer.raw.table)
	require.NoError(t, writer.Store(hot, "one"))
	load(t, m, hot, "one")
	b := m.raw.homeBucket(t, 0)
	version := b.version.Load()
	require.NoError(t, writer.Store(hot, "two"))
	b.version.Store(version)
	var own string
	require.True(t, yes(t)(m.LoadInto(hot, &own)))
	require.Equal(t, "two", own)
	load(t, m, hot, "two")
	load(t, m, hot, "two")
	require.True(t, yes(t)(writer.Delete(hot)))
	b.version.Store(version)
	_, ok := m.Encoded.Load(hot)
	require.False(t, ok)
}

// The segment of a key is replaced. Its memory stays as it was, as far as we know:
// here it does.
func TestCache_Split(t *testing.T) {
	m, writer, _ := newTold(t, nil)
	require.NoError(t, writer.Store(hot, "one"))
	one := load(t, m, hot, "one")
	k := []byte(hot)
	at := m.raw.placeOf(t, mem.PtrOf(k), uint64(len(k)))
	image := *at.bucket
	before := m.raw.version.Load()
	for i := 0; m.raw.placeOf(t, mem.PtrOf(k), uint64(len(k))).bucket == at.bucket; i++ {
		require.NoError(t, writer.Store(fmt.Sprint("other ", i), "text"))
	}
	require.NotEqual(t, before, m.raw.version.Load())
	require.Same(t, one, load(t, m, hot, "one"), "it moved, and is the same")
	m.cache.find(new(hot), hashKey(mem.PtrOf(k), 16, &m.raw.secrets)).at = found{
		bucket: &image, slot: &image.slots[at.slot], word: at.old, version: image.version.Load(), tree: before,
	}
	require.NoError(t, writer.Store(hot, "two"))
	load(t, m, hot, "two")

	require.NoError(t, writer.ReplaceAll(func(yield func(string, string) bool) { yield(hot, "three") }))
	load(t, m, hot, "three")
	require.NoError(t, writer.Clear())
	_, ok := m.Encoded.Load(hot)
	require.False(t, ok)
}

// However many keys are loaded, no more are remembered than was said.
func TestCache_Bound(t *testing.T) {
	for _, n := range []int{-1, 1, 3, 8, 9, 100, 0} {
		m, writer, c := newTold(t, &Options{Cache: n})
		most := n
		switch n {
		case -1:
			most = 0
		case 0:
			most = defaultCache
		}
		const keys = 4000
		for i := range keys {
			require.NoError(t, writer.Store(key16(i), fmt.Sprint(i)))
			load(t, m, key16(i), fmt.Sprint(i))
		}
		kept := 0
		for i := range m.cache.places {
			if m.cache.places[i].Load() != nil {
				kept++
			}
		}
		require.Equal(t, most/max(1, min(most, ways))*min(most, ways), kept, "cache of %d: all places are taken", n)
		require.LessOrEqual(t, kept, most)
		require.Equal(t, keys, c.decoded)
		require.NoError(t, m.Close())
		for i := range m.cache.places {
			require.Nil(t, m.cache.places[i].Load())
		}
	}
}

// What is used stays, though many others come by once.
func TestCache_Used(t *testing.T) {
	m, writer, c := newTold(t, &Options{Cache: 64})
	for i := range 3000 {
		require.NoError(t, writer.Store(key16(i), fmt.Sprint(i)))
	}
	for i := range 3000 {
		load(t, m, key16(i), fmt.Sprint(i))
		for range 2 {
			load(t, m, hot, fmt.Sprint(number(hot)))
		}
	}
	require.Less(t, c.decoded, 3000+10)
}

// number is which key of key16 one is.
func number(k string) (n int) {
	for key16(n) != k {
		n++
	}
	return n
}

// Two keys of one hash are two.
func TestCache_EqualHash(t *testing.T) {
	m, writer, c := newTold(t, nil)
	collide(t, 16, &m.raw.table, &writer.raw.table)
	for i := range 6 {
		require.NoError(t, writer.Store(key16(i), fmt.Sprint(i)))
	}
	for range 3 {
		for i := range 6 {
			load(t, m, key16(i), fmt.Sprint(i))
		}
	}
	require.Equal(t, 6, c.decoded)
}

// The memory of a key is the caller's, to use again.
func TestCache_OwnKey(t *testing.T) {
	m, writer, c := newTold(t, nil)
	require.NoError(t, writer.Store("one", "1"))
	require.NoError(t, writer.Store("two", "2"))
	b, k := []byte("one"), ""
	mem.SetString(&k, b)
	load(t, m, k, "1")
	copy(b, "two")
	load(t, m, k, "2")
	load(t, m, "one", "1")
	require.Equal(t, 2, c.decoded)
}

// Nobody else keeps a value than the cache.
func TestCache_Forgets(t *testing.T) {
	m, writer, _ := newTold(t, nil)
	require.NoError(t, writer.Store("k", "value"))
	v := weak.Make(load(t, m, "k", "value"))
	require.NoError(t, writer.Store("k", "other"))
	load(t, m, "k", "other")
	runtime.GC()
	require.Nil(t, v.Value())
	runtime.KeepAlive(m)
}

func TestCache_NoAllocation(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := createEncoded[string](t, a, "m", JSON[config](), nil)
	fixed := createEncoded[point](t, a, "fixed", JSON[config](), nil)
	raw := createEncoded[string](t, a, "raw", Codec[[]uint64](words{}), nil)
	keys := []string{"", "short", hot, strings.Repeat("long ", 20)}
	for i, k := range keys {
		require.NoError(t, m.Store(k, configOf(i)))
	}
	require.NoError(t, fixed.Store(point{X: 1}, configOf(3)))
	r := openEncoded[string](t, again(t, a), "m", JSON[config](), nil)
	for _, h := range []values[string, config]{m, r} {
		noAllocation(t, "Load", func() {
			for _, k := range keys {
				if _, ok := h.Encoded.Load(k); !ok {
					panic(k)
				}
			}
		})
	}
	noAllocation(t, "Load of fixed", func() { fixed.Encoded.Load(point{X: 1}) })
	noAllocation(t, "Load of a miss", func() { m.Encoded.Load("nobody") })
	noAllocation(t, "Contains", func() { m.Contains("short") })
	buffer, list := make([]byte, 0, 1<<12), []uint64{1, 2, 3}
	noAllocation(t, "LoadAppend", func() { m.LoadAppend(buffer, hot) })
	// Under the race detector a sync.Pool loses some of what it is given.
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _ = raw.Store(hot, list) }), 2.0)
}
