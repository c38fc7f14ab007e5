package array_test

import (
	"sync/atomic"
	"testing"

	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// BenchmarkArray stands beside a slice of atomic numbers.
func BenchmarkArray(b *testing.B) {
	const n = 1024
	x := create(b, shmtest.Named(b, nil), n)
	slice := make([]atomic.Uint64, n)
	var sum uint64
	b.Run("Load", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sum += x.Load(i % n)
		}
	})
	b.Run("Load/slice", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sum += slice[i%n].Load()
		}
	})
	b.Run("Store", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = x.Store(i%n, 1)
		}
	})
	b.Run("Store/slice", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			slice[i%n].Store(1)
		}
	})
	b.Run("Add", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, _ = array.Add(x, i%n, 1)
		}
	})
	b.Run("Add/slice", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			slice[i%n].Add(1)
		}
	})
	b.Run("CopyTo/1024", func(b *testing.B) {
		dst := make([]uint64, n)
		for b.Loop() {
			_ = x.CopyTo(dst)
		}
	})
	b.Run("All/1024", func(b *testing.B) {
		for b.Loop() {
			for _, v := range x.All() {
				sum += v
			}
		}
	})
}
