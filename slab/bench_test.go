package slab_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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

// churn replaces one of 100 000 live blocks by a new one of another size: one allocation
// and one free an operation.
type churn struct {
	sizes []uint64
	picks []uint32
}

func newChurn() *churn {
	rnd := rand.New(rand.NewPCG(1, 2))
	c := &churn{sizes: benchSizes(rnd), picks: make([]uint32, 1<<20)}
	for i := range c.picks {
		c.picks[i] = rnd.Uint32N(benchLive)
	}
	return c
}

// pick says which block is replaced by the i-th operation, and how large the new one is.
func (c *churn) pick(i int) (at int, n uint64) {
	return int(c.picks[i%len(c.picks)]), c.sizes[i%len(c.sizes)]
}

// fill returns as many blocks as live, of this process.
func (c *churn) fill(s *slab.Slab) (table []uint64, err error) {
	table = make([]uint64, benchLive)
	for i := range table {
		if table[i], err = grab(s, c.sizes[i%len(c.sizes)]); err != nil {
			return nil, err
		}
	}
	return table, nil
}

func (c *churn) bench(b *testing.B, s *slab.Slab) {
	table, err := c.fill(s)
	require.NoError(b, err)
	b.ResetTimer()
	for i := range b.N {
		at, n := c.pick(i)
		if err := replace(s, &table[at], n); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	freeAll(b, s, table)
}

// BenchmarkSlab_AllocFree is churn in an arena on the Go heap and in a named one, and
// with Go's own allocator, which also has to find out what is free. bench_linux_test.go
// has it with a second process beside; bench/blocks.go measures them in turns.
func BenchmarkSlab_AllocFree(b *testing.B) {
	c := newChurn()
	b.Run("heap", func(b *testing.B) { c.bench(b, slab.Of(shmtest.Heap(b, benchOptions, shmtest.Unchecked))) })
	b.Run("named", func(b *testing.B) { c.bench(b, slab.Of(shmtest.Named(b, benchOptions, shmtest.Unchecked))) })
	b.Run("go", func(b *testing.B) {
		table := make([][]byte, benchLive)
		for i := range table {
			table[i] = make([]byte, c.sizes[i%len(c.sizes)])
		}
		b.ResetTimer()
		for i := range b.N {
			at, n := c.pick(i)
			table[at] = make([]byte, n)
		}
	})
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
// 512 bytes, and one where a block is free in each page, which is of no use. The first
// refusal is apart: it looks at the pages that others keep blocks of.
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
				refused := func() {
					if _, err := grab(s, n); err == nil {
						b.Fatal("it is not full")
					}
				}
				from := time.Now()
				refused()
				first := time.Since(from)
				for b.Loop() {
					refused()
				}
				b.ReportMetric(float64(first), "first-ns")
			})
		}
	}
}
