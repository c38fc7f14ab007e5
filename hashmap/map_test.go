package hashmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var roomy = &arena.Options{Size: 1 << 20, MaxSize: 64 << 20}

// exercise stores, replaces and deletes every key, and compares each time.
func exercise[K comparable, V any](t *testing.T, a, b *arena.Arena, name string, keys []K, value func(i int) V) {
	t.Helper()
	m := create[K, V](t, a, name, &Options{Capacity: len(keys)})
	other := open[K, V](t, b, name)
	require.GreaterOrEqual(t, other.Cap(), len(keys))
	for i, k := range keys {
		_, ok := m.Load(k)
		require.False(t, ok)
		require.NoError(t, m.Store(k, value(i)))
	}
	require.NoError(t, other.Check())
	require.Len(t, contents(t, other), len(keys))
	for i, k := range keys {
		got, ok := other.Load(k)
		require.True(t, ok)
		require.EqualValues(t, value(i), got)
		require.NoError(t, other.Store(k, value(i+1)))
		require.True(t, m.LoadInto(k, &got))
		require.EqualValues(t, value(i+1), got)
	}
	for _, k := range keys {
		ok, err := m.Delete(k)
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = other.Delete(k)
		require.NoError(t, err)
		require.False(t, ok)
		var v V
		require.False(t, other.LoadInto(k, &v))
	}
	require.Zero(t, m.Len())
	require.Empty(t, contents(t, other))
	require.NoError(t, m.Check())
	require.NoError(t, m.Close())
	require.NoError(t, other.Close())
	require.NoError(t, a.Remove(name))
}

// textOf returns key i of n bytes, different from all others if n bears it.
func textOf(n, i int) string {
	b := []byte(fmt.Sprintf("%d:%s", i, strings.Repeat("x", n)))[:n]
	if n >= 4 {
		binary.LittleEndian.PutUint16(b[n-2:], uint16(i))
	}
	return string(b)
}

func textKeys(n, count int) (keys []string) {
	seen := make(map[string]bool)
	for i := range count {
		if k := textOf(n, i); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}

func bytesValue(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1+i*7%3000) }

func textValue(i int) string { return string(bytesValue(i)) }

func fixedValue(i int) [64]byte { return [64]byte{0: byte(i), 63: byte(i >> 8)} }

func TestMap_TextKeys(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		for n := range 41 {
			keys := textKeys(n, 30)
			exercise(t, a, b, fmt.Sprintf("fixed %d", n), keys, fixedValue)
			exercise(t, a, b, fmt.Sprintf("bytes %d", n), keys, bytesValue)
			exercise(t, a, b, fmt.Sprintf("text %d", n), keys, textValue)
		}
		for _, n := range []int{255, 4096, keyLimit - 1, keyLimit} {
			keys := textKeys(n, 10)
			exercise(t, a, b, fmt.Sprintf("fixed %d", n), keys, fixedValue)
			exercise(t, a, b, fmt.Sprintf("bytes %d", n), keys, bytesValue)
		}
	})
}

type point struct {
	X, Y int32
	On   bool
	Tag  [3]uint8
	Z    uint32
}

type name string

func TestMap_FixedKeys(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		fixedKeys(t, a, b, func(i int) bool { return i%2 == 0 })
		fixedKeys(t, a, b, func(i int) uint8 { return uint8(i) })
		fixedKeys(t, a, b, func(i int) int16 { return int16(-i) })
		fixedKeys(t, a, b, func(i int) [3]byte { return [3]byte{byte(i), 0, byte(i)} })
		fixedKeys(t, a, b, func(i int) [7]byte { return [7]byte{6: byte(i)} })
		fixedKeys(t, a, b, func(i int) int { return -i })
		fixedKeys(t, a, b, func(i int) point { return point{X: int32(i), On: true, Z: 9} })
		fixedKeys(t, a, b, func(i int) [2]uint64 { return [2]uint64{7, uint64(i)} })
		fixedKeys(t, a, b, func(i int) [17]byte { return [17]byte{16: byte(i)} })
		fixedKeys(t, a, b, func(i int) [32]byte { return [32]byte{16: byte(i)} })
		fixedKeys(t, a, b, func(i int) [40]byte { return [40]byte{7: byte(i)} })
		fixedKeys(t, a, b, func(i int) [1000]byte { return [1000]byte{500: byte(i)} })
		fixedKeys(t, a, b, func(i int) name { return name(textOf(i%20, i)) })

		// The lengths of keys and of values do not meet in the code, so not each with
		// each: every pair of types is as much to compile as a whole package.
		keys := []int{3, 1, 4, 159, 26}
		exercise(t, a, b, "fixed", keys, fixedValue)
		exercise(t, a, b, "bytes", keys, bytesValue)
		exercise(t, a, b, "byte", keys, func(i int) byte { return byte(i) })
	})
}

func fixedKeys[K comparable](t *testing.T, a, b *arena.Arena, key func(i int) K) {
	t.Helper()
	var keys []K
	seen := make(map[K]bool)
	for i := range 30 {
		if k := key(i); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	exercise(t, a, b, "odd", keys, func(i int) [13]byte { return [13]byte{12: byte(i)} })
}

// Values may have padding and floating-point parts, and be large.
func TestMap_Values(t *testing.T) {
	type loose struct {
		A int8
		B float64
		C uint16
	}
	a := shmtest.Heap(t, roomy)
	keys := textKeys(12, 20)
	exercise(t, a, a, "loose", keys, func(i int) loose { return loose{int8(i), float64(i) / 3, 7} })
	exercise(t, a, a, "large", keys[:2], func(i int) [maxFixed]byte { return [maxFixed]byte{maxFixed - 1: byte(i)} })
	exercise(t, a, a, "bytes", keys[:9], func(i int) []byte { return bytes.Repeat([]byte{1}, i*50_000+1) })

	m := create[string, []byte](t, a, "nothing", nil)
	require.NoError(t, m.Store("k", nil))
	v, ok := m.Load("k")
	require.True(t, ok, "an empty value is there")
	require.Empty(t, v)
}

// Keys that differ in one byte, or in length only, are different keys.
func TestMap_NearKeys(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", &Options{Capacity: 10000})
	want := make(map[string]int)
	for n := range 70 {
		zero := make([]byte, n)
		for i := -1; i < n; i++ {
			k := bytes.Clone(zero)
			if i >= 0 {
				k[i] = 1
			}
			want[string(k)] = len(want)
			require.NoError(t, m.Store(string(k), want[string(k)]))
		}
	}
	require.Equal(t, want, contents(t, m))
}

func TestMap_TooLarge(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	long := strings.Repeat("k", keyLimit+1)
	require.ErrorIs(t, m.Store(long, nil), ErrTooLarge)
	require.ErrorContains(t, m.Store(long, nil), "key of 65537 bytes")
	_, err := m.Delete(long)
	require.ErrorIs(t, err, ErrTooLarge)
	_, ok := m.Load(long)
	require.False(t, ok)
	f := create[string, int](t, a, "f", nil)
	require.ErrorIs(t, f.Store(long, 1), ErrTooLarge)
	_, ok = f.Load(long)
	require.False(t, ok)
	_, ok = f.Load(strings.Repeat("k", keyLimit))
	require.False(t, ok)
	require.NoError(t, f.Err())

	// A key that the arena could not hold.
	tiny := shmtest.Heap(t, &arena.Options{Size: 48 << 10, Processes: 4, Objects: 8})
	x := create[string, int](t, tiny, "x", &Options{Capacity: 1})
	require.ErrorIs(t, x.Store(long[:keyLimit], 1), ErrTooLarge)
	_, ok = x.Load(long[:keyLimit])
	require.False(t, ok)
	_, err = Create[string, [1 << 17]byte](tiny, "y", nil)
	require.Error(t, err)
}

func TestMap_RefusedTypes(t *testing.T) {
	type padded struct {
		A int8
		B int64
	}
	type floating struct{ F [2]float32 }
	type pointing struct{ Next *int }
	a := shmtest.Heap(t, nil)
	refused[padded, int](t, a, "padded: 7 bytes of padding at offset 1, before field B")
	refused[floating, int](t, a, "floating.F[]: float32")
	wrong[float64, int](t, "float64: float64")
	refused[pointing, int](t, a, "pointing.Next: pointer (*int)")
	wrong[any, int](t, "interface")
	wrong[uintptr, int](t, "uintptr")
	wrong[chan int, int](t, "chan")
	wrong[[2]string, int](t, "[2]string[]: string")
	wrong[[keyLimit + 1]byte, int](t, "65537 bytes, want at most 65536")
	wrong[struct{}, int](t, "it has no bytes")
	wrong[int, [0]int](t, "it has no bytes")
	refused[int, pointing](t, a, "pointing.Next: pointer (*int)")
	wrong[int, [2]string](t, "string")
	wrong[int, []int](t, "slice")
	wrong[int, map[int]int](t, "map")
	wrong[int, sync.Mutex](t, "Mutex")
	wrong[int, [maxFixed + 1]byte](t, "1048577 bytes, want at most 1048576")
	require.Empty(t, a.Objects())
}

// wrong is refused without a Map of those types, which is much to compile.
func wrong[K comparable, V any](t *testing.T, text string) {
	t.Helper()
	_, err := shapeOf[K, V]()
	require.ErrorIs(t, err, ErrTypeMismatch)
	require.ErrorContains(t, err, text)
}

func refused[K comparable, V any](t *testing.T, a *arena.Arena, text string) {
	t.Helper()
	_, err := Create[K, V](a, "m", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
	require.ErrorContains(t, err, text)
	_, err = Open[K, V](a, "m", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
	_, err = OpenOrCreate[K, V](a, "m", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
}

func TestMap_OtherTypes(t *testing.T) {
	a := shmtest.Heap(t, nil)
	create[string, int](t, a, "m", nil)
	mismatch[string, uint](t, a)
	mismatch[string, int32](t, a)
	mismatch[string, []byte](t, a)
	mismatch[string, string](t, a)
	mismatch[int, int](t, a)
	mismatch[[8]byte, int](t, a)
	open[name, int](t, a, "m") // a string by another name
	create[string, string](t, a, "text", nil)
	open[string, name](t, a, "text")
	_, err := Open[string, []byte](a, "text", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
	_, err = Open[string, int](a, "other", nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Create[string, int](a, "m", nil)
	require.ErrorIs(t, err, fs.ErrExist)
}

func mismatch[K comparable, V any](t *testing.T, a *arena.Arena) {
	t.Helper()
	_, err := Open[K, V](a, "m", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
	_, err = OpenOrCreate[K, V](a, "m", nil)
	require.ErrorIs(t, err, ErrTypeMismatch)
}

func TestMap_BadCapacity(t *testing.T) {
	a := shmtest.Heap(t, nil)
	for _, n := range []int{-1, 1<<36 + 1} {
		_, err := Create[int, int](a, "m", &Options{Capacity: n})
		require.ErrorContains(t, err, fmt.Sprint("capacity ", n))
	}
	_, err := Create[int, int](a, "m", &Options{Capacity: 1 << 36})
	require.ErrorIs(t, err, ErrFull)
	require.Empty(t, a.Objects())
}

// A map takes as many random keys as it was made for.
func TestMap_Capacity(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{1, 10, 100, 1000, 4095, 4096, 5000, 100_000} {
		for range max(1, min(20, 20_000/n)) {
			a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, MaxSize: 1<<20 + int64(n)*128})
			m := create[uint64, uint32](t, a, "m", &Options{Capacity: n})
			require.GreaterOrEqual(t, m.Cap(), n)
			for i := range n {
				require.NoError(t, m.Store(random.Uint64(), uint32(i)), "key %d of %d, seed %d", i, n, seed)
			}
			require.Equal(t, n, m.Len())
		}
	}
}

func TestMap_OpenOrCreateRace(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		for round := range 30 {
			name := fmt.Sprint("m", round%3)
			var all sync.WaitGroup
			maps := make([]*Map[string, int], 8)
			errs := make([]error, 2*len(maps))
			for i := range maps {
				all.Go(func() {
					from := a
					if i%2 == 1 {
						from = b
					}
					if maps[i], errs[2*i] = OpenOrCreate[string, int](from, name, nil); errs[2*i] == nil {
						errs[2*i+1] = maps[i].Store(fmt.Sprint(i), i)
					}
				})
			}
			all.Wait()
			for i, m := range maps {
				require.NoError(t, errs[2*i])
				require.NoError(t, errs[2*i+1])
				require.Equal(t, len(maps), m.Len())
			}
			require.NoError(t, maps[0].Check())
			require.NoError(t, a.Remove(name))
			for _, m := range maps {
				require.NoError(t, m.Close())
			}
		}
	})
}

func TestMap_LoadAppend(t *testing.T) {
	a := shmtest.Heap(t, nil)
	m := create[string, []byte](t, a, "m", nil)
	require.NoError(t, m.Store("k", []byte("value")))
	got, ok := m.LoadAppend([]byte("a "), "k")
	require.True(t, ok)
	require.Equal(t, "a value", string(got))
	got, ok = m.LoadAppend([]byte("a "), "other")
	require.False(t, ok)
	require.Equal(t, "a ", string(got))
	f := create[string, int](t, a, "f", nil)
	require.PanicsWithValue(t, "hashmap: LoadAppend of a Map[string, int]", func() { f.LoadAppend(nil, "k") })
	n := 7
	require.False(t, f.LoadInto("k", &n))
	require.Zero(t, n, "not there: as Load has it")
}

func TestMap_NoAllocation(t *testing.T) {
	a := shmtest.Named(t, roomy)
	text := create[string, [64]byte](t, a, "text", nil)
	fixed := create[point, sealed](t, a, "fixed", nil)
	raw := create[string, []byte](t, a, "raw", nil)
	keys := []string{"", "short", "key:000000000001", strings.Repeat("long ", 20)}
	for _, k := range keys {
		require.NoError(t, text.Store(k, [64]byte{1}))
		require.NoError(t, raw.Store(k, make([]byte, 900)))
	}
	require.NoError(t, fixed.Store(point{X: 1}, seal(1, 1)))
	noAllocation(t, "Load", func() {
		for _, k := range keys {
			if v, ok := text.Load(k); !ok || v[0] != 1 {
				panic(k)
			}
		}
	})
	noAllocation(t, "Load of a miss", func() { text.Load("nobody") })
	noAllocation(t, "Load of fixed", func() { fixed.Load(point{X: 1}) })
	noAllocation(t, "LoadInto", func() {
		var s sealed
		fixed.LoadInto(point{X: 1}, &s)
	})
	buffer := make([]byte, 0, 1024)
	noAllocation(t, "LoadAppend", func() {
		for _, k := range keys {
			if b, ok := raw.LoadAppend(buffer, k); !ok || len(b) != 900 {
				panic(k)
			}
		}
	})
	noAllocation(t, "Store", func() { _ = text.Store(keys[2], [64]byte{2}) })
	noAllocation(t, "Store of bytes", func() { _ = raw.Store(keys[2], buffer) })
}

// Nor does an iteration allocate, over keys and values of fixed size.
func TestMap_IterationsAllocateNothing(t *testing.T) {
	m := create[point, sealed](t, shmtest.Named(t, roomy), "m", nil)
	const n = 500
	for i := range n {
		require.NoError(t, m.Store(point{X: int32(i)}, seal(uint64(i), 1)))
	}
	seen := 0
	for what, iterate := range map[string]func(){
		"All": func() {
			for k, v := range m.All() {
				if seen++; v != seal(uint64(k.X), 1) {
					panic(k)
				}
			}
		},
		"Keys": func() {
			for range m.Keys() {
				seen++
			}
		},
		"Values": func() {
			for range m.Values() {
				seen++
			}
		},
		"Range": func() { _ = m.Range(func(point, sealed) bool { seen++; return true }) },
		"nested": func() { // of one handle, and one within the other
			for range m.Keys() {
				seen++
				for range m.All() {
					break
				}
			}
		},
	} {
		iterate()
		require.Equal(t, n, seen, what)
		if !mem.Race { // where a sync.Pool forgets at random
			noAllocation(t, what, iterate)
		}
		seen = 0
	}
}

func noAllocation(t *testing.T, what string, f func()) {
	t.Helper()
	require.Zero(t, testing.AllocsPerRun(200, f), what)
}

// An iteration may end early, and store and delete what it sees.
func TestMap_AllAndChange(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[int, int](t, a, "m", &Options{Capacity: 500})
	for i := range 500 {
		require.NoError(t, m.Store(i, i))
	}
	n := 0
	for range m.All() {
		if n++; n == 10 {
			break
		}
	}
	require.Equal(t, 10, n)
	for k, v := range m.All() {
		require.NoError(t, m.Store(k, v+1))
		if k%2 == 0 {
			_, err := m.Delete(k)
			require.NoError(t, err)
		}
	}
	require.Equal(t, 250, m.Len())
	for k, v := range contents(t, m) {
		require.Equal(t, k+1, v)
	}
}
