package slab_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// modelOps is how many operations a model test runs.
func modelOps(full int) int {
	switch {
	case raceEnabled || testing.Short():
		return full / 50
	default:
		return full
	}
}

// live is what the model knows of the blocks in the cells.
type live struct{ ref, n, seed uint64 }

// randomSize is small mostly, now and then large, rarely a run.
func randomSize(rnd *rand.Rand) uint64 {
	switch x := rnd.IntN(1000); {
	case x < 900:
		return 16 + rnd.Uint64N(400)
	case x < 998:
		return 16 + rnd.Uint64N(4000)
	default:
		return 4096 + rnd.Uint64N(64<<10)
	}
}

// Random operations on cells against a map of what should be in them: contents
// whole, sizes right, blocks apart, full an error that changes nothing.
func TestModel(t *testing.T) {
	for _, page := range []int{4096, 16384, 65536} {
		t.Run(fmt.Sprintf("%dKiB", page>>10), func(t *testing.T) {
			a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, MaxSize: 6 << 20, PageSize: page, Processes: 4, Objects: 8})
			runModel(t, a, createCells(t, a, 20000), modelOps(500_000), rand.New(rand.NewPCG(uint64(page), 7)))
		})
	}
}

func runModel(t *testing.T, a *arena.Arena, c *cells, ops int, rnd *rand.Rand) {
	model := make(map[int]live)
	full := 0
	for op := range ops {
		// First the arena fills, then it empties, and so on.
		i, grow := rnd.IntN(c.n), op/(c.n*3)%2 == 0
		if was, ok := model[i]; ok {
			n, seed, err := c.get(i)
			require.NoError(t, err)
			require.Equal(t, was, live{c.ref(i), n, seed}, "cell %d, operation %d", i, op)
		} else {
			require.Zero(t, c.ref(i))
		}
		if rnd.IntN(10) < 3 || !grow && rnd.IntN(10) < 6 {
			require.NoError(t, c.del(i))
			delete(model, i)
			continue
		}
		n, seed := randomSize(rnd), rnd.Uint64()
		err := c.put(i, n, seed)
		if err != nil {
			require.ErrorIs(t, err, slab.ErrFull)
			full++
			continue // what was there stays
		}
		model[i] = live{c.ref(i), n, seed}
		size, err := c.s.Size(c.ref(i))
		require.NoError(t, err)
		require.GreaterOrEqual(t, size, n)
		if op%(ops/10) == 0 {
			apart(t, c)
			shmtest.Clean(t, a)
		}
	}
	apart(t, c)
	c.check(t)
	t.Logf("%d operations, full %d times, %d cells in use", ops, full, len(model))
	require.True(t, full > 0 || ops < 10*c.n, "it should have been full now and then")
	for i := range c.n {
		require.NoError(t, c.del(i))
	}
	r := shmtest.Clean(t, a)
	require.Equal(t, 1, r.Blocks, "the root of the cells")
	quiet(t, c.s)
}

// apart checks that no two blocks share a byte.
func apart(t *testing.T, c *cells) {
	t.Helper()
	var spans [][2]uint64
	for i := range c.n {
		if ref := c.ref(i); ref != 0 {
			size, err := c.s.Size(ref)
			require.NoError(t, err)
			spans = append(spans, [2]uint64{ref, ref + size})
		}
	}
	slices.SortFunc(spans, func(a, b [2]uint64) int { return int(int64(a[0] - b[0])) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			t.Fatalf("blocks %#x and %#x overlap", spans[i-1], spans[i])
		}
	}
}

// Runs of random lengths, freed in random order: the pages merge again.
func TestRuns_Random(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 4 << 20, Processes: 4, Objects: 8})
	s, rnd := slab.Of(a), rand.New(rand.NewPCG(3, 4))
	pages := s.Floor().Pages.Pages()
	var refs []uint64
	for range modelOps(20000) {
		if n := len(refs); n > 0 && rnd.IntN(5) < 2 {
			i := rnd.IntN(n)
			require.NoError(t, s.Free(refs[i]))
			require.ErrorIs(t, s.Free(refs[i]), slab.ErrNotAllocated)
			refs[i] = refs[n-1]
			refs = refs[:n-1]
			continue
		}
		n := 2049 + rnd.Uint64N(100<<10)
		ref, err := grab(s, n)
		if err != nil {
			require.ErrorIs(t, err, slab.ErrFull)
			freeAll(t, s, refs)
			refs = refs[:0]
			whole, err := grab(s, pages<<12)
			require.NoError(t, err, "everything is free")
			require.NoError(t, s.Free(whole))
			continue
		}
		size, err := s.Size(ref)
		require.NoError(t, err)
		require.Equal(t, (n+4095)&^4095, size)
		refs = append(refs, ref)
	}
	freeAll(t, s, refs)
}
