package hashmap

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

const benchOps = 1 << 18

// benchKeys returns n keys of 16 bytes.
func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key:%012d", i)
	}
	return keys
}

// benchOrder returns a sequence of n numbers by zipf's law.
func benchOrder(n int) []uint32 {
	order := make([]uint32, benchOps)
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, uint64(n-1))
	place := rand.Perm(n)
	for i := range order {
		order[i] = uint32(place[z.Uint64()])
	}
	return order
}

// testArena returns an arena in a file of its own.
func testArena(t testing.TB, size, max int64) *arena.Arena {
	t.Helper()
	return shmtest.Named(t, &arena.Options{Size: size, MaxSize: max})
}

func benchMap(b *testing.B, keys []string) *Map[string, [64]byte] {
	b.Helper()
	size := int64(8<<20 + len(keys)*160)
	m, err := Create[string, [64]byte](testArena(b, size, size), "m", &Options{Capacity: len(keys)})
	require.NoError(b, err)
	for _, k := range keys {
		require.NoError(b, m.Store(k, [64]byte{1}))
	}
	b.ReportAllocs()
	b.ResetTimer()
	return m
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		keys, order := benchKeys(n), benchOrder(n)
		b.Run(fmt.Sprintf("shm/%d", n), func(b *testing.B) {
			m := benchMap(b, keys)
			var s byte
			for i := 0; i < b.N; i++ {
				v, _ := m.Load(keys[order[i&(benchOps-1)]])
				s += v[0]
			}
			_ = s
		})
		b.Run(fmt.Sprintf("builtin/%d", n), func(b *testing.B) {
			m := make(map[string][64]byte, n)
			for _, k := range keys {
				m[k] = [64]byte{1}
			}
			b.ResetTimer()
			var s byte
			for i := 0; i < b.N; i++ {
				v := m[keys[order[i&(benchOps-1)]]]
				s += v[0]
			}
			_ = s
		})
	}
}

func BenchmarkLoadMiss(b *testing.B) {
	keys := benchKeys(100_000)
	m := benchMap(b, keys[:50_000])
	for i := 0; i < b.N; i++ {
		m.Load(keys[50_000+i%50_000])
	}
}

func BenchmarkLoadAppend(b *testing.B) {
	m, err := Create[string, []byte](testArena(b, 64<<20, 64<<20), "m", &Options{Capacity: 10_000})
	require.NoError(b, err)
	keys, order := benchKeys(10_000), benchOrder(10_000)
	for _, k := range keys {
		require.NoError(b, m.Store(k, make([]byte, 1000)))
	}
	buffer := make([]byte, 0, 1024)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		m.LoadAppend(buffer, keys[order[i&(benchOps-1)]])
	}
}

func BenchmarkStore(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		keys, order := benchKeys(n), benchOrder(n)
		b.Run(fmt.Sprintf("replace/%d", n), func(b *testing.B) {
			m := benchMap(b, keys)
			for i := 0; i < b.N; i++ {
				if err := m.Store(keys[order[i&(benchOps-1)]], [64]byte{2}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("half/%d", n), func(b *testing.B) {
			m := benchMap(b, keys)
			for i := 0; i < b.N; i++ {
				if k := keys[order[i&(benchOps-1)]]; i&1 == 0 {
					m.Load(k)
				} else if err := m.Store(k, [64]byte{2}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInsert stores new keys, in no order, into a map that was made for them.
// When all are there it begins again with a new one.
func BenchmarkInsert(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		keys := benchKeys(n)
		rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			size := int64(8<<20 + n*160)
			a := testArena(b, size, size)
			var m *Map[string, [64]byte]
			renew := func() {
				if m != nil {
					require.NoError(b, m.Close())
					require.NoError(b, a.Remove("m"))
				}
				var err error
				m, err = Create[string, [64]byte](a, "m", &Options{Capacity: n})
				require.NoError(b, err)
			}
			insert := func(i int) {
				if err := m.Store(keys[i%n], [64]byte{1}); err != nil {
					b.Fatal(err)
				}
			}
			renew()
			for i := range n { // so that all memory is mapped
				insert(i)
			}
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				if i%n == 0 {
					b.StopTimer()
					renew()
					b.StartTimer()
				}
				insert(i)
			}
		})
	}
}

func BenchmarkAll(b *testing.B) {
	keys := benchKeys(100_000)
	m := benchMap(b, keys)
	n := 0
	for i := 0; i < b.N; i++ {
		for range m.All() {
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
}

// BenchmarkLoadEncoded reads values that only a codec can store: remembered, and
// decoded each time.
func BenchmarkLoadEncoded(b *testing.B) {
	keys, order := benchKeys(1000), benchOrder(1000)
	for name, cached := range map[string]int{"cached": 2000, "decoded": -1} {
		b.Run(name, func(b *testing.B) {
			m, err := CreateEncoded[string](testArena(b, 64<<20, 64<<20), "m", JSON[config](), &Options{Cache: cached})
			require.NoError(b, err)
			for i, k := range keys {
				require.NoError(b, m.Store(k, configOf(i%10)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			n := 0
			for i := 0; i < b.N; i++ {
				v, _ := m.Load(keys[order[i&(benchOps-1)]])
				n += len(v.Name)
			}
			_ = n
		})
	}
}

// BenchmarkLimit is what a map with a limit costs more: a hit, which is told now
// and then; and a new key, which drives another one out, at the limit or in a full arena.
func BenchmarkLimit(b *testing.B) {
	const n = 1000
	keys, order := benchKeys(1<<16), benchOrder(n)
	for name, o := range map[string]*Options{"limit": {Limit: 2 * n}, "none": {Capacity: 2 * n}} {
		m, err := Create[string, [64]byte](testArena(b, 32<<20, 32<<20), "m", o)
		require.NoError(b, err)
		for _, k := range keys[:n] {
			require.NoError(b, m.Store(k, [64]byte{1}))
		}
		b.Run("load/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				m.Load(keys[order[i&(benchOps-1)]])
			}
		})
		b.Run("parallel/"+name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					m.Load(keys[order[i&(benchOps-1)]])
				}
			})
		})
		b.Run("insert/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				if err := m.Store(keys[i&(1<<16-1)], [64]byte{2}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("miss/"+name, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				m.Load("absent:" + keys[0][:9])
			}
		})
	}
	b.Run("insert/full", func(b *testing.B) {
		m, err := Create[string, [64]byte](testArena(b, 1<<20, 1<<20), "m", &Options{Limit: 1 << 14})
		require.NoError(b, err)
		b.ReportAllocs()
		for i := 0; i < b.N; i++ {
			if err := m.Store(keys[i&(1<<16-1)], [64]byte{2}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
