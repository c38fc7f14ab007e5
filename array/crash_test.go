//go:build crash

package array_test

import (
	"io/fs"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// found returns the elements of "x"; nil: there is no array.
func found(t *testing.T, a *arena.Arena) []uint64 {
	x, err := array.Open[uint64](a, "x")
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return nil
	}
	return slices.Collect(x.Values())
}

// steps are the operations to be cut off at every tick, and what a survivor may
// find; the last of it after the operation.
var steps = map[string]struct {
	do    func(x *array.Array[uint64]) error
	found [][]uint64
}{
	"Store": {
		func(x *array.Array[uint64]) error { return x.Store(1, 7) },
		[][]uint64{{1, 2, 3}, {1, 7, 3}},
	},
	"Swap": {
		func(x *array.Array[uint64]) error { _, err := x.Swap(1, 7); return err },
		[][]uint64{{1, 2, 3}, {1, 7, 3}},
	},
	"CompareAndSwap": {
		func(x *array.Array[uint64]) error { _, err := x.CompareAndSwap(1, 2, 7); return err },
		[][]uint64{{1, 2, 3}, {1, 7, 3}},
	},
	"Add": {
		func(x *array.Array[uint64]) error { _, err := array.Add(x, 1, 5); return err },
		[][]uint64{{1, 2, 3}, {1, 7, 3}},
	},
	"CopyFrom": {
		func(x *array.Array[uint64]) error { _, err := x.CopyFrom([]uint64{7, 8}); return err },
		[][]uint64{{1, 2, 3}, {7, 2, 3}, {7, 8, 3}},
	},
	"Fill": {
		func(x *array.Array[uint64]) error { return x.Fill(7) },
		[][]uint64{{1, 2, 3}, {7, 2, 3}, {7, 7, 3}, {7, 7, 7}},
	},
}

func TestCrash_EachTick(t *testing.T) {
	for name, s := range steps {
		t.Run(name, func(t *testing.T) {
			shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
				seg := shmtest.Segment(t, small)
				x := create(t, shmtest.OnSegment(t, seg, nil), 3)
				t.Cleanup(func() { runtime.KeepAlive(x) })
				_, err := x.CopyFrom([]uint64{1, 2, 3})
				require.NoError(t, err)
				return &shmtest.Run{
					Segment: seg,
					Do:      func() { require.NoError(t, s.do(x)) },
					Verify: func(t *testing.T, a *arena.Arena, whole bool) {
						if whole {
							require.Equal(t, s.found[len(s.found)-1], found(t, a))
						} else {
							require.Contains(t, s.found, found(t, a))
						}
					},
				}
			})
		})
	}
}

var small = &arena.Options{Size: 48 << 10, Processes: 2, Objects: 2}

// A small array is a block, a large one a run of pages.
func TestCrash_Create(t *testing.T) {
	for _, n := range []int{3, 1000} {
		shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
			seg := shmtest.Segment(t, small)
			a := shmtest.OnSegment(t, seg, nil)
			return &shmtest.Run{
				Segment: seg,
				Do: func() {
					x := create(t, a, n)
					t.Cleanup(func() { runtime.KeepAlive(x) })
				},
				Verify: func(t *testing.T, a *arena.Arena, whole bool) {
					if got := found(t, a); whole || got != nil {
						require.Equal(t, make([]uint64, n), got)
					}
				},
			}
		})
	}
}
