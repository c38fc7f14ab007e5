package array_test

import (
	"io/fs"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

func create(t testing.TB, a *arena.Arena, n int) *array.Array[uint64] {
	t.Helper()
	x, err := array.Create[uint64](a, "x", n)
	require.NoError(t, err)
	return x
}

func open(t testing.TB, a *arena.Arena) *array.Array[uint64] {
	t.Helper()
	x, err := array.Open[uint64](a, "x")
	require.NoError(t, err)
	return x
}

func TestArray_Verbs(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		x := create(t, a, 3)
		y := open(t, b)
		require.Equal(t, 3, y.Len())
		require.Equal(t, []uint64{0, 0, 0}, slices.Collect(y.Values()))

		require.NoError(t, x.Store(2, 7))
		require.EqualValues(t, 7, y.Load(2))
		old, err := y.Swap(2, math.MaxUint64)
		require.NoError(t, err)
		require.EqualValues(t, 7, old)
		done, err := x.CompareAndSwap(2, 7, 8)
		require.NoError(t, err)
		require.False(t, done)
		done, err = x.CompareAndSwap(2, math.MaxUint64, 8)
		require.NoError(t, err)
		require.True(t, done)
		sum, err := array.Add(y, 0, math.MaxUint64)
		require.NoError(t, err)
		require.EqualValues(t, uint64(math.MaxUint64), sum)

		require.Equal(t, map[int]uint64{0: math.MaxUint64, 1: 0, 2: 8}, maps.Collect(x.All()))
		for range x.Values() {
			break
		}
		for range x.All() {
			break
		}
		require.NoError(t, x.Fill(4))
		dst := []uint64{9, 9, 9, 9}
		require.Equal(t, 3, y.CopyTo(dst))
		require.Equal(t, []uint64{4, 4, 4, 9}, dst)
		require.Equal(t, 1, y.CopyTo(dst[3:]))
		require.Equal(t, []uint64{4, 4, 4, 4}, dst)
		n, err := y.CopyFrom([]uint64{1, 2})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, []uint64{1, 2, 4}, slices.Collect(x.Values()))
		n, err = y.CopyFrom([]uint64{5, 6, 7, 8})
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, []uint64{5, 6, 7}, slices.Collect(x.Values()))
		require.NoError(t, x.Err())
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
}

func TestArray_Index(t *testing.T) {
	a := shmtest.Heap(t, nil)
	x, err := array.Create[int8](a, "x", 3)
	require.NoError(t, err)
	for _, i := range []int{-1, 3, math.MaxInt, math.MinInt} {
		for _, f := range []func(){
			func() { x.Load(i) },
			func() { _ = x.Store(i, 1) },
			func() { _, _ = x.Swap(i, 1) },
			func() { _, _ = x.CompareAndSwap(i, 0, 1) },
			func() { _, _ = array.Add(x, i, 1) },
		} {
			require.Panics(t, f)
		}
	}
	require.PanicsWithError(t, "runtime error: index out of range [5] with length 3", func() { x.Load(5) })
	require.Equal(t, []int8{0, 0, 0}, slices.Collect(x.Values()))
	require.NoError(t, x.Close())
	require.Panics(t, func() { x.Load(5) }, "closed or not")
}

func TestArray_Length(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, MaxSize: 4 << 20})
	for _, n := range []int{0, -1, math.MinInt} {
		_, err := array.Create[int8](a, "x", n)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "want at least 1")
	}
	for _, n := range []int{4 << 20 / 8, 1 << 30, math.MaxInt} {
		_, err := array.OpenOrCreate[int8](a, "x", n)
		require.ErrorIs(t, err, array.ErrFull)
		require.ErrorContains(t, err, `"x"`)
		require.ErrorContains(t, err, "4194304")
	}
	require.Empty(t, a.Objects())
	shmtest.Clean(t, a)

	x, err := array.OpenOrCreate[int8](a, "x", 300000)
	require.NoError(t, err, "more than there is now: the arena grows")
	require.NoError(t, x.Store(299999, -1))
	y, err := array.OpenOrCreate[int8](a, "x", 300000)
	require.NoError(t, err)
	require.EqualValues(t, -1, y.Load(299999))
	_, err = array.OpenOrCreate[int8](a, "x", 200000)
	require.ErrorIs(t, err, array.ErrTypeMismatch)
	require.ErrorContains(t, err, "it has 300000 elements, want 200000")
}

// A block that was something else before is all zeros.
func TestArray_Reused(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 128 << 10, Objects: 16})
	for _, n := range []int{1, 100, 600, 2000} {
		for range 40 {
			x := create(t, a, n)
			require.Equal(t, make([]uint64, n), slices.Collect(x.Values()))
			require.NoError(t, x.Fill(math.MaxUint64))
			require.NoError(t, a.Remove("x"))
			x = nil
			shmtest.Collected(t, a)
		}
	}
}

type point struct{ X, Y int16 }

func TestArray_Types(t *testing.T) {
	a := shmtest.Heap(t, nil)
	points, err := array.Create[point](a, "points", 2)
	require.NoError(t, err)
	require.NoError(t, points.Store(1, point{-1, 2}))
	require.Equal(t, point{-1, 2}, points.Load(1))
	done, err := points.CompareAndSwap(1, point{-1, 2}, point{3, -4})
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, []point{{}, {3, -4}}, slices.Collect(points.Values()))

	bytes, err := array.Create[int8](a, "bytes", 2)
	require.NoError(t, err)
	require.NoError(t, bytes.Store(1, 127))
	sum, err := array.Add(bytes, 1, 2)
	require.NoError(t, err)
	require.EqualValues(t, -127, sum)
	done, err = bytes.CompareAndSwap(1, -127, 0)
	require.NoError(t, err)
	require.True(t, done, "no carry left the byte")

	for want, open := range map[string]func() error{
		"Next: pointer": func() error {
			_, err := array.Create[struct{ Next *int }](a, "x", 2)
			return err
		},
		"larger than 8 bytes": func() error { _, err := array.Open[[2]uint64](a, "x"); return err },
		"1 bytes of padding": func() error {
			_, err := array.OpenOrCreate[struct {
				A uint8
				B uint16
			}](a, "x", 2)
			return err
		},
		"types have fingerprint": func() error { _, err := array.Open[uint8](a, "bytes"); return err },
	} {
		err := open()
		require.ErrorIs(t, err, array.ErrTypeMismatch)
		require.ErrorContains(t, err, want)
	}
}

func TestArray_Open(t *testing.T) {
	a := shmtest.Heap(t, nil)
	_, err := array.Open[uint64](a, "x")
	require.ErrorIs(t, err, fs.ErrNotExist)
	create(t, a, 2)
	_, err = array.Create[uint64](a, "x", 2)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = array.Create[uint64](a, strings.Repeat("x", arena.MaxName+1), 2)
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestArray_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	x := create(t, a, 2)
	require.NoError(t, x.Store(1, 5))
	r := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	y := open(t, r)
	require.Equal(t, []uint64{0, 5}, slices.Collect(y.Values()))
	requireRefused(t, y, array.ErrReadOnly)
	require.EqualValues(t, 5, y.Load(1))
	require.NoError(t, y.Err())
	_, err := array.OpenOrCreate[uint64](r, "z", 2)
	require.ErrorIs(t, err, array.ErrReadOnly)

	require.NoError(t, x.Close())
	require.NoError(t, a.Remove("x"))
	shmtest.Collected(t, a)
	z, err := array.Create[uint64](a, "z", 2) // in the block that x had
	require.NoError(t, err)
	require.NoError(t, z.Fill(77))
	requireEnded(t, y, array.ErrRemoved)
	require.NoError(t, y.Close())
}

// requireRefused wants every write to fail with the error.
func requireRefused(t *testing.T, x *array.Array[uint64], want error) {
	t.Helper()
	require.ErrorIs(t, x.Store(0, 1), want)
	_, err := x.Swap(0, 1)
	require.ErrorIs(t, err, want)
	_, err = x.CompareAndSwap(0, 0, 1)
	require.ErrorIs(t, err, want)
	_, err = array.Add(x, 0, 1)
	require.ErrorIs(t, err, want)
	n, err := x.CopyFrom([]uint64{1})
	require.ErrorIs(t, err, want)
	require.Zero(t, n)
	require.ErrorIs(t, x.Fill(1), want)
}

// requireEnded wants reads to return nothing besides.
func requireEnded(t *testing.T, x *array.Array[uint64], want error) {
	t.Helper()
	requireRefused(t, x, want)
	require.ErrorIs(t, x.Err(), want)
	require.Zero(t, x.Load(0))
	require.Empty(t, slices.Collect(x.Values()))
	require.Empty(t, maps.Collect(x.All()))
	dst := []uint64{9, 9, 9, 9}
	require.Zero(t, x.CopyTo(dst))
	require.Equal(t, []uint64{0, 0, 9, 9}, dst)
	require.Equal(t, 2, x.Len())
}

func TestArray_Ended(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		x := create(t, a, 2)
		y := open(t, b)
		require.NoError(t, x.Fill(5))
		require.NoError(t, x.Close())
		require.NoError(t, x.Close())
		requireEnded(t, x, array.ErrClosed)
		require.EqualValues(t, 5, y.Load(1))

		require.NoError(t, b.Remove("x"))
		requireEnded(t, y, array.ErrRemoved)
		z := create(t, b, 2)
		requireEnded(t, y, array.ErrRemoved)
		require.NoError(t, z.Fill(5))
		next, err := array.Create[uint64](a, "next", 2)
		require.NoError(t, err)
		require.NoError(t, a.Rename("next", "x"))
		requireEnded(t, z, array.ErrRemoved)
		require.NoError(t, next.Store(0, 3), "the handle follows the object")
		require.EqualValues(t, 3, open(t, b).Load(0))

		require.NoError(t, b.Close())
		requireEnded(t, y, array.ErrClosed)
		require.NoError(t, y.Close())
	})
}

// The store of a writer that was stopped just before it does not hit what the
// block has become, even if the handle is closed meanwhile: while the writer can
// reach the handle, the block becomes nothing.
func TestB5_Pinned(t *testing.T) {
	a := shmtest.Named(t, nil)
	b := shmtest.Again(t, a, nil)
	x := create(t, a, 100)
	before := shmtest.Clean(t, a).Blocks
	require.NoError(t, x.Close())
	require.NoError(t, b.Remove("x"))
	r := shmtest.Clean(t, b)
	require.Equal(t, 1, r.Garbage)
	require.Equal(t, before, r.Blocks)
	var others []*array.Array[uint64]
	for i := range 10 {
		y, err := array.Create[uint64](b, strings.Repeat("y", i+1), 100)
		require.NoError(t, err)
		others = append(others, y)
	}
	for i := range 100 {
		array.StaleStore(x, i, math.MaxUint64)
	}
	for _, y := range others {
		require.Equal(t, make([]uint64, 100), slices.Collect(y.Values()))
	}
	runtime.KeepAlive(x)
	r = shmtest.Collected(t, b)
	require.Equal(t, before-1+len(others), r.Blocks)
}

// An object that nobody holds any more is let go, closed or not.
func TestArray_Dropped(t *testing.T) {
	a := shmtest.Heap(t, nil)
	func() { create(t, a, 100) }()
	func() { require.NoError(t, open(t, a).Close()) }()
	require.NoError(t, a.Remove("x"))
	require.Zero(t, shmtest.Collected(t, a).Blocks)
}

// forge makes an object that says it holds uint64s: length of them, in a root
// block of any size.
func forge(t *testing.T, a *arena.Arena, name string, size, length uint64) {
	t.Helper()
	info, err := mem.Describe(reflect.TypeFor[uint64]())
	require.NoError(t, err)
	spec := arena.Spec{Kind: arena.KindArray, Fingerprint: info.Fingerprint, Size: size}
	o, err := slab.Of(a).Create(name, spec, func(at mem.Ptr) {
		mem.Zero(at, size)
		mem.Cast[psync.Word64](at).Store(length)
	})
	require.NoError(t, err)
	require.NoError(t, o.Close())
}

// A length that does not fit the block is never believed.
func TestArray_Corrupt(t *testing.T) {
	a := shmtest.Heap(t, nil)
	for i, bad := range []struct{ size, length uint64 }{
		{8, 1}, {56, math.MaxUint64}, {64, 0}, {64, 1}, {72, 0}, {72, 2}, {76, 1}, {128, math.MaxUint64}, {128, 1 << 61},
	} {
		name := strings.Repeat("x", i+1)
		forge(t, a, name, bad.size, bad.length)
		_, err := array.Open[uint64](a, name)
		require.ErrorIs(t, err, array.ErrCorrupt, "%+v", bad)
		_, err = array.OpenOrCreate[uint64](a, name, 1)
		require.ErrorIs(t, err, array.ErrCorrupt, "%+v", bad)
		require.NoError(t, a.Remove(name))
	}
	forge(t, a, "good", 72, 1)
	x, err := array.Open[uint64](a, "good")
	require.NoError(t, err)
	require.Equal(t, 1, x.Len())
}

func TestArray_Allocs(t *testing.T) {
	a := shmtest.Heap(t, nil)
	x := create(t, a, 100)
	small, err := array.Create[uint8](a, "small", 1)
	require.NoError(t, err)
	var dst [100]uint64
	for name, f := range map[string]func(){
		"Load":     func() { _ = x.Load(5) },
		"Store":    func() { _ = x.Store(5, 1) },
		"Swap":     func() { _, _ = x.Swap(5, 1) },
		"Add":      func() { _, _ = array.Add(x, 5, 1) },
		"Add byte": func() { _, _ = array.Add(small, 0, 1) },
		"CopyTo":   func() { _ = x.CopyTo(dst[:]) },
		"CopyFrom": func() { _, _ = x.CopyFrom(dst[:]) },
		"All": func() {
			for range x.All() {
			}
		},
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}
