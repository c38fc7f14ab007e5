package value_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

// TestModel compares random operations of two processes with plain variables.
func TestModel(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		modelValue(t, rand.New(rand.NewPCG(seed, 1)), a, b)
		modelCounter(t, rand.New(rand.NewPCG(seed, 2)), a, b)
	})
}

func modelValue(t *testing.T, r *rand.Rand, a, b *arena.Arena) {
	var model int16
	version := uint64(1)
	x, err := value.Create(a, "x", model)
	require.NoError(t, err)
	y, err := value.Open[int16](b, "x")
	require.NoError(t, err)
	for range 3000 {
		v := []*value.Value[int16]{x, y}[r.IntN(2)]
		n := int16(r.IntN(5) - 2)
		old := model
		var err error
		switch r.IntN(6) {
		case 0:
			err = v.Store(n)
			model = n
		case 1:
			var got int16
			got, err = v.Swap(n)
			require.Equal(t, old, got)
			model = n
		case 2:
			var done bool
			done, err = v.CompareAndSwap(n, n+1)
			require.Equal(t, model == n, done)
			if !done {
				version--
			} else {
				model = n + 1
			}
		case 3:
			model *= 3
			var got int16
			got, err = v.Update(func(n int16) int16 { return n * 3 })
			require.Equal(t, model, got)
		case 4:
			model += n * 9000
			var got int16
			got, err = value.Add(v, n*9000)
			require.Equal(t, model, got)
		case 5:
			var got int16
			var now uint64
			got, now, err = v.Wait(t.Context(), version-1)
			require.Equal(t, model, got)
			require.Equal(t, version, now)
			version--
		}
		require.NoError(t, err)
		version++
		require.Equal(t, model, x.Load())
		require.Equal(t, version, y.Version())
	}
	require.NoError(t, x.Close())
	require.NoError(t, y.Close())
}

func modelCounter(t *testing.T, r *rand.Rand, a, b *arena.Arena) {
	var model uint64
	x, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	y, err := value.OpenCounter(b, "c")
	require.NoError(t, err)
	for range 3000 {
		c := []*value.Counter{x, y}[r.IntN(2)]
		switch n := r.Uint64() >> r.IntN(64); r.IntN(5) {
		case 0:
			require.NoError(t, c.Reset())
			model = 0
		default:
			c.Add(n)
			model += n
		}
		require.Equal(t, model, x.Load())
		require.Equal(t, model, y.Load())
	}
	require.NoError(t, x.Close())
	require.NoError(t, y.Close())
}
