package value_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

func BenchmarkValue(b *testing.B) {
	a := shmtest.Named(b, nil)
	v, err := value.Create(a, "x", uint64(5))
	require.NoError(b, err)
	var sum uint64
	b.Run("Load", func(b *testing.B) {
		for b.Loop() {
			sum += v.Load()
		}
	})
	b.Run("Version", func(b *testing.B) {
		for b.Loop() {
			sum += v.Version()
		}
	})
	b.Run("Store", func(b *testing.B) {
		for b.Loop() {
			_ = v.Store(6)
		}
	})
	b.Run("Swap", func(b *testing.B) {
		for b.Loop() {
			_, _ = v.Swap(6)
		}
	})
	b.Run("Update", func(b *testing.B) {
		for b.Loop() {
			_, _ = v.Update(func(n uint64) uint64 { return n + 1 })
		}
	})
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			_, _ = value.Add(v, 1)
		}
	})
}

// BenchmarkCounter stands beside an atomic number of one process, with as many
// goroutines as processors where it says parallel.
func BenchmarkCounter(b *testing.B) {
	a := shmtest.Named(b, nil)
	c, err := value.CreateCounter(a, "c")
	require.NoError(b, err)
	plain := new(atomic.Uint64)
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			c.Add(1)
		}
	})
	b.Run("atomic.Add", func(b *testing.B) {
		for b.Loop() {
			plain.Add(1)
		}
	})
	// Each goroutine has an attach of its own, as processes have.
	b.Run("Add/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			own, err := value.OpenCounter(shmtest.Again(b, a, nil), "c")
			if err != nil {
				b.Error(err)
				return
			}
			for pb.Next() {
				own.Add(1)
			}
		})
	})
	b.Run("atomic.Add/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				plain.Add(1)
			}
		})
	})
	b.Run("Load", func(b *testing.B) {
		for b.Loop() {
			_ = c.Load()
		}
	})
}
