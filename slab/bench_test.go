package slab_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

const benchLive = 100_000

// benchSizes are 16 to 2048 bytes, evenly spread over the powers of two.
func benchSizes(rnd *rand.Rand) []uint64 {
	sizes := make([]uint64, 1<<16)
	for i := range sizes {
		top := uint64(16) << rnd.IntN(7)
		sizes[i] = top + rnd.Uint64N(top+1)
	}
	return sizes
}

// BenchmarkSlab_AllocFree replaces one of 100 000 live blocks by a new one: one
// allocation and one free an operation.
func BenchmarkSlab_AllocFree(b *testing.B) {
	for name, open := range map[string]func() *arena.Arena{
		"heap": func() *arena.Arena { return shmtest.Heap(b, benchOptions, shmtest.Unchecked) },
		"named": func() *arena.Arena {
			return shmtest.Named(b, benchOptions, shmtest.Unchecked)
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := slab.Of(open())
			rnd := rand.New(rand.NewPCG(1, 2))
			sizes := benchSizes(rnd)
			table := make([]uint64, benchLive)
			for i := range table {
				var err error
				table[i], err = grab(s, sizes[i%len(sizes)])
				require.NoError(b, err)
			}
			picks := make([]uint32, 1<<20)
			for i := range picks {
				picks[i] = rnd.Uint32N(benchLive)
			}
			b.ResetTimer()
			for i := range b.N {
				at := picks[i%len(picks)]
				if err := replace(s, &table[at], sizes[i%len(sizes)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// replace frees what a word of this process refers to, and puts a new block in
// its place.
func replace(s *slab.Slab, at *uint64, n uint64) error {
	op, err := s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	if err := op.Free(*at); err != nil {
		return err
	}
	if *at, err = op.Reserve(n); err != nil {
		return err
	}
	op.Record.Close() // the table is nobody else's
	return nil
}

var benchOptions = &arena.Options{Size: 256 << 20, MaxSize: 512 << 20, Processes: 8, Objects: 8}

// BenchmarkSlab_Hot frees and allocates the same block again and again: the
// instructions without the cache misses.
func BenchmarkSlab_Hot(b *testing.B) {
	s := slab.Of(shmtest.Heap(b, benchOptions, shmtest.Unchecked))
	for b.Loop() {
		ref, err := grab(s, 100)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Free(ref); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSlab_Replace is the whole way of a structure: reserve, lock, publish
// under a record, free the old block, count.
func BenchmarkSlab_Replace(b *testing.B) {
	a := shmtest.Heap(b, benchOptions, shmtest.Unchecked)
	c := createCells(b, a, 1000)
	i := 0
	for b.Loop() {
		op, err := c.s.Begin()
		if err != nil {
			b.Fatal(err)
		}
		ref, err := op.Reserve(100)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.publish(&op, i%c.n, ref); err != nil {
			b.Fatal(err)
		}
		op.End()
		i++
	}
}

// BenchmarkSlab_Full asks a full arena for one more block, or for a run: one of blocks of
// 512 bytes, and one where a block is free in each page, which is of no use.
func BenchmarkSlab_Full(b *testing.B) {
	for _, holes := range []bool{false, true} {
		s := slab.Of(shmtest.Heap(b, benchOptions, shmtest.Unchecked))
		seen := make(map[uint64]bool)
		var one []uint64 // a page
		for _, ref := range reserveAll(b, s, 512) {
			if p := s.Floor().Pages.PageAt(ref); !seen[p] {
				seen[p] = true
				one = append(one, ref)
			}
		}
		if holes {
			freeAll(b, s, one)
		}
		for _, n := range []uint64{64, 1024, 4096, 1 << 20, 1 << 40} {
			b.Run(fmt.Sprintf("holes=%t/%d", holes, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := grab(s, n); err == nil {
						b.Fatal("it is not full")
					}
				}
			})
		}
	}
}
