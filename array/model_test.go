package array_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// TestModel compares random operations of two processes with a slice.
func TestModel(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 5 {
			model(t, r, a, b)
		}
	})
}

func model(t *testing.T, r *rand.Rand, a, b *arena.Arena) {
	want := make([]int32, 1+r.IntN(600))
	x, err := array.Create[int32](a, "x", len(want))
	require.NoError(t, err)
	y, err := array.OpenOrCreate[int32](b, "x", len(want))
	require.NoError(t, err)
	for range 1000 {
		step(t, r, []*array.Array[int32]{x, y}[r.IntN(2)], want)
		i := r.IntN(len(want))
		require.Equal(t, want[i], x.Load(i))
	}
	require.Equal(t, want, slices.Collect(x.Values()))
	require.NoError(t, x.Close())
	require.NoError(t, y.Close())
	require.NoError(t, a.Remove("x"))
}

func step(t *testing.T, r *rand.Rand, x *array.Array[int32], want []int32) {
	i, n := r.IntN(len(want)), int32(r.IntN(3)-1)
	var err error
	switch r.IntN(8) {
	case 0, 1:
		err = x.Store(i, n)
		want[i] = n
	case 2:
		var old int32
		old, err = x.Swap(i, n)
		require.Equal(t, want[i], old)
		want[i] = n
	case 3:
		var done bool
		done, err = x.CompareAndSwap(i, n, n+1)
		require.Equal(t, want[i] == n, done)
		if done {
			want[i] = n + 1
		}
	case 4:
		want[i] += n << 30
		var sum int32
		sum, err = array.Add(x, i, n<<30)
		require.Equal(t, want[i], sum)
	case 5:
		got := make([]int32, r.IntN(2*len(want)))
		require.Equal(t, copy(got, want), x.CopyTo(got))
		require.Equal(t, want[:min(len(want), len(got))], got[:min(len(want), len(got))])
	case 6:
		src := make([]int32, r.IntN(20))
		for j := range src {
			src[j] = int32(r.Uint32())
		}
		var copied int
		copied, err = x.CopyFrom(src)
		require.Equal(t, copy(want, src), copied)
	case 7:
		for j, v := range x.All() {
			require.Equal(t, want[j], v)
		}
		if r.IntN(20) == 0 {
			err = x.Fill(n)
			for j := range want {
				want[j] = n
			}
		}
	}
	require.NoError(t, err)
}

// Elements are whole beside writers, and no addition is lost.
func TestArray_Concurrent(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		const each = 1000
		a, b := openArena(nil)
		type halves struct{ A, B uint32 }
		pairs, err := array.Create[halves](a, "pairs", 16)
		require.NoError(t, err)
		sums, err := array.Create[uint16](a, "sums", 16)
		require.NoError(t, err)
		var work, reading sync.WaitGroup
		var done atomic.Bool
		for w := range uint32(3) {
			p, err := array.Open[halves](b, "pairs")
			require.NoError(t, err)
			s, err := array.Open[uint16](b, "sums")
			require.NoError(t, err)
			work.Go(func() {
				for i := range uint32(each) {
					n := w*each + i
					if err := p.Store(int(i%16), halves{n, ^n}); err != nil {
						t.Error(err)
					}
					if _, err := array.Add(s, int(i%16), 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		reading.Go(func() {
			for !done.Load() {
				for i, h := range pairs.All() {
					if h.A != ^h.B && h != (halves{}) {
						t.Errorf("element %d is torn: %+v", i, h)
						return
					}
				}
			}
		})
		work.Wait()
		done.Store(true)
		reading.Wait()
		total := 0
		for n := range sums.Values() {
			total += int(n)
		}
		require.Equal(t, 3*each, total)
	})
}

// A process closes its arena while its goroutines write: nothing reaches the
// segment after that.
func TestB8_ArenaClose(t *testing.T) {
	a := shmtest.Named(t, nil)
	watcher := create(t, a, 64)
	b, err := arena.Open(a.Name(), nil)
	require.NoError(t, err)
	x := open(t, b)
	var writers sync.WaitGroup
	for w := range uint64(4) {
		writers.Go(func() {
			for x.Fill(w+1) == nil {
				_, _ = x.CopyFrom(slices.Repeat([]uint64{w + 1}, 64))
				_ = x.CopyTo(make([]uint64, 64))
			}
		})
	}
	for watcher.Load(63) == 0 { // they are at it
	}
	require.NoError(t, b.Close())
	after := slices.Collect(watcher.Values())
	writers.Wait()
	require.Equal(t, after, slices.Collect(watcher.Values()))
	require.ErrorIs(t, x.Err(), array.ErrClosed)
}
