package value_test

import (
	"errors"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

type pair struct{ A, B int32 }

func TestValue_Verbs(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		x, err := value.Create(a, "x", uint64(7))
		require.NoError(t, err)
		y, err := value.Open[uint64](b, "x")
		require.NoError(t, err)
		require.EqualValues(t, 7, y.Load())
		require.EqualValues(t, 1, y.Version())

		require.NoError(t, x.Store(math.MaxUint64))
		require.EqualValues(t, uint64(math.MaxUint64), y.Load())
		require.EqualValues(t, 2, y.Version())

		old, err := y.Swap(1)
		require.NoError(t, err)
		require.EqualValues(t, uint64(math.MaxUint64), old)

		done, err := x.CompareAndSwap(2, 3)
		require.NoError(t, err)
		require.False(t, done)
		require.EqualValues(t, 3, x.Version(), "nothing happened")
		done, err = x.CompareAndSwap(1, 3)
		require.NoError(t, err)
		require.True(t, done)

		got, err := y.Update(func(n uint64) uint64 { return n * 10 })
		require.NoError(t, err)
		require.EqualValues(t, 30, got)
		got, err = value.Add(x, math.MaxUint64)
		require.NoError(t, err)
		require.EqualValues(t, 29, got)
		require.EqualValues(t, 29, y.Load())
		require.EqualValues(t, 6, y.Version())
		require.NoError(t, x.Err())
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
}

// roundTrip stores and loads values of one type.
func roundTrip[T comparable](t *testing.T, a *arena.Arena, name string, values ...T) {
	t.Helper()
	v, err := value.Create(a, name, values[0])
	require.NoError(t, err)
	require.Equal(t, values[0], v.Load())
	for _, x := range values {
		before := v.Load()
		old, err := v.Swap(x)
		require.NoError(t, err)
		require.Equal(t, before, old)
		require.Equal(t, x, v.Load())
		done, err := v.CompareAndSwap(x, values[0])
		require.NoError(t, err)
		require.True(t, done)
	}
	require.NoError(t, v.Close())
	require.NoError(t, a.Remove(name))
}

func TestValue_Types(t *testing.T) {
	a := shmtest.Heap(t, nil)
	roundTrip(t, a, "bool", false, true)
	roundTrip(t, a, "int8", 0, math.MinInt8, int8(-1))
	roundTrip(t, a, "int", 0, math.MinInt, -1)
	roundTrip(t, a, "uint16", 0, uint16(math.MaxUint16))
	roundTrip(t, a, "float32", 0, float32(math.Inf(-1)))
	roundTrip(t, a, "float64", 0, math.Pi)
	roundTrip(t, a, "complex64", 0, complex64(complex(1, -1)))
	roundTrip(t, a, "pair", pair{}, pair{-1, 1})
	roundTrip(t, a, "bytes", [5]byte{}, [5]byte{1, 2, 3, 4, 5})
	roundTrip(t, a, "duration", 0, time.Hour)
}

func TestValue_Types_Refused(t *testing.T) {
	a := shmtest.Heap(t, nil)
	for want, create := range map[string]func() error{
		"pair.Next: pointer": func() error {
			type pair struct{ Next *int }
			_, err := value.Create(a, "x", pair{})
			return err
		},
		"larger than 8 bytes are not supported": func() error {
			_, err := value.Open[[9]byte](a, "x")
			return err
		},
		"1 bytes of padding at offset 1": func() error {
			_, err := value.OpenOrCreate(a, "x", struct {
				A uint8
				B uint16
			}{})
			return err
		},
		"string: string":             func() error { _, err := value.Create(a, "x", ""); return err },
		"it has no bytes to share":   func() error { _, err := value.Create(a, "x", struct{}{}); return err },
		"means nothing in another p": func() error { _, err := value.Create(a, "x", uintptr(0)); return err },
	} {
		err := create()
		require.ErrorIs(t, err, value.ErrTypeMismatch, want)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, `"x"`)
	}
	require.Empty(t, a.Objects())
}

func TestValue_Open(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		_, err := value.Open[int32](a, "x")
		require.ErrorIs(t, err, fs.ErrNotExist)
		x, err := value.OpenOrCreate(a, "x", int32(1))
		require.NoError(t, err)
		y, err := value.OpenOrCreate(b, "x", int32(2))
		require.NoError(t, err)
		require.EqualValues(t, 1, y.Load(), "the first one's")
		_, err = value.Create(b, "x", int32(3))
		require.ErrorIs(t, err, fs.ErrExist)

		_, err = value.Open[uint32](b, "x")
		require.ErrorIs(t, err, value.ErrTypeMismatch)
		require.ErrorContains(t, err, "uint32")
		_, err = value.OpenCounter(b, "x")
		require.ErrorIs(t, err, value.ErrTypeMismatch)
		require.ErrorContains(t, err, "it is a value, want a counter")
		_, err = value.Create(a, "", int32(3))
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = value.Create(a, strings.Repeat("x", arena.MaxName+1), int32(3))
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
}

// An arena that is full says so, and what failed is free again.
func TestValue_Full(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 128 << 10, Objects: 16})
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = value.Create(a, strings.Repeat("x", n+1), n)
	}
	require.ErrorIs(t, err, value.ErrFull)
	require.Len(t, a.Objects(), n-1)
	shmtest.Clean(t, a)
}

func TestValue_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	x, err := value.Create(a, "x", 5)
	require.NoError(t, err)
	r := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	y, err := value.Open[int](r, "x")
	require.NoError(t, err)
	require.Equal(t, 5, y.Load())
	require.EqualValues(t, 1, y.Version())
	require.NoError(t, y.Err())

	require.ErrorIs(t, y.Store(6), value.ErrReadOnly)
	require.ErrorIs(t, y.Store(6), fs.ErrPermission)
	_, err = y.Swap(6)
	require.ErrorIs(t, err, value.ErrReadOnly)
	_, err = y.CompareAndSwap(5, 6)
	require.ErrorIs(t, err, value.ErrReadOnly)
	_, err = y.Update(func(n int) int { return n + 1 })
	require.ErrorIs(t, err, value.ErrReadOnly)
	_, err = value.Add(y, 1)
	require.ErrorIs(t, err, value.ErrReadOnly)
	_, err = value.Create(r, "z", 5)
	require.ErrorIs(t, err, value.ErrReadOnly)
	_, err = value.OpenOrCreate(r, "z", 5)
	require.ErrorIs(t, err, value.ErrReadOnly)
	require.Equal(t, 5, x.Load())

	require.NoError(t, x.Close())
	require.NoError(t, a.Remove("x"))
	shmtest.Collected(t, a)
	z, err := value.Create(a, "z", 77) // in the block that x had
	require.NoError(t, err)
	require.Equal(t, 77, z.Load())
	require.Zero(t, y.Load())
	require.Zero(t, y.Version())
	require.ErrorIs(t, y.Err(), value.ErrRemoved)
	require.ErrorIs(t, y.Store(6), value.ErrRemoved)
	require.NoError(t, y.Close())
}

// requireEnded wants every verb to end with the error.
func requireEnded(t *testing.T, v *value.Value[uint64], want error) {
	t.Helper()
	require.Zero(t, v.Load())
	require.Zero(t, v.Version())
	require.ErrorIs(t, v.Err(), want)
	require.ErrorIs(t, v.Store(1), want)
	_, err := v.Swap(1)
	require.ErrorIs(t, err, want)
	_, err = v.CompareAndSwap(0, 1)
	require.ErrorIs(t, err, want)
	_, err = v.Update(func(uint64) uint64 { panic("nothing to update") })
	require.ErrorIs(t, err, want)
	_, err = value.Add(v, 1)
	require.ErrorIs(t, err, want)
	_, version, err := v.Wait(t.Context(), 0)
	require.ErrorIs(t, err, want)
	require.Zero(t, version)
}

func TestValue_Close(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		x, err := value.Create(a, "x", uint64(5))
		require.NoError(t, err)
		y, err := value.Open[uint64](b, "x")
		require.NoError(t, err)
		require.NoError(t, x.Close())
		require.NoError(t, x.Close())
		requireEnded(t, x, value.ErrClosed)
		require.ErrorContains(t, x.Err(), `"x"`)
		require.EqualValues(t, 5, y.Load(), "another handle")
		require.NoError(t, b.Close())
		requireEnded(t, y, value.ErrClosed)
		require.ErrorIs(t, y.Err(), fs.ErrClosed)
		require.NoError(t, y.Close())
	})
}

func TestValue_Remove(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		x, err := value.Create(a, "x", uint64(5))
		require.NoError(t, err)
		require.NoError(t, b.Remove("x"))
		requireEnded(t, x, value.ErrRemoved)
		require.ErrorIs(t, x.Err(), fs.ErrNotExist)

		again, err := value.Create(b, "x", uint64(6))
		require.NoError(t, err)
		requireEnded(t, x, value.ErrRemoved)
		next, err := value.Create(b, "next", uint64(7))
		require.NoError(t, err)
		require.NoError(t, b.Rename("next", "x"))
		requireEnded(t, again, value.ErrRemoved)
		require.EqualValues(t, 7, next.Load(), "the handle follows the object")
		y, err := value.Open[uint64](a, "x")
		require.NoError(t, err)
		require.EqualValues(t, 7, y.Load())
	})
}

// A writer that is stopped just before its store must not hit what the block of a
// removed object has become, even if its handle is closed meanwhile: while it can
// reach the handle, the block becomes nothing.
func TestB5_Pinned(t *testing.T) {
	a := shmtest.Named(t, nil)
	b := shmtest.Again(t, a, nil)
	x, err := value.Create(a, "x", uint64(5))
	require.NoError(t, err)
	c, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	addLate := value.Adder(c)
	before := shmtest.Clean(t, a).Blocks
	require.NoError(t, x.Close())
	require.NoError(t, c.Close())
	require.NoError(t, b.Remove("x"))
	require.NoError(t, b.Remove("c"))
	r := shmtest.Clean(t, b)
	require.Equal(t, 2, r.Garbage)
	require.Equal(t, before, r.Blocks, "kept by a's handles")

	// b takes blocks of both sizes; none of them is one of the two.
	fillers := fill(t, b)
	value.LostStore(x, math.MaxUint64) // the store of one who had looked before
	addLate(math.MaxUint64)
	for i, f := range fillers {
		require.EqualValues(t, i, f.Load())
		require.NoError(t, f.Close())
	}

	runtime.KeepAlive(x)
	addLate = nil
	r = shmtest.Collected(t, b)
	require.Equal(t, before-2+len(fillers), r.Blocks)
}

// fill creates counters and values that hold their own index.
func fill(t *testing.T, a *arena.Arena) (all []interface {
	Load() uint64
	Close() error
}) {
	t.Helper()
	for i := uint64(0); i < 20; i += 2 {
		v, err := value.Create(a, "v"+string(rune('a'+i)), i)
		require.NoError(t, err)
		c, err := value.CreateCounter(a, "c"+string(rune('a'+i)))
		require.NoError(t, err)
		c.Add(i + 1)
		all = append(all, v, c)
	}
	return all
}

// An object that nobody holds any more is let go, closed or not.
func TestValue_Dropped(t *testing.T) {
	a := shmtest.Heap(t, nil)
	func() {
		_, err := value.Create(a, "x", 5)
		require.NoError(t, err)
		c, err := value.CreateCounter(a, "c")
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}()
	require.NoError(t, a.Remove("x"))
	require.NoError(t, a.Remove("c"))
	require.Zero(t, shmtest.Collected(t, a).Blocks)
}

func TestValue_Corrupt(t *testing.T) {
	a := shmtest.Heap(t, nil)
	forge(t, a, "small", arena.KindValue, 64)
	forge(t, a, "large", arena.KindCounter, 4096)
	_, err := value.Open[uint64](a, "small")
	require.ErrorIs(t, err, value.ErrCorrupt)
	require.ErrorContains(t, err, "64 bytes, want 128")
	_, err = value.OpenCounter(a, "large")
	require.ErrorIs(t, err, value.ErrCorrupt)
	require.ErrorContains(t, err, "4096 bytes, want 2048")
	for _, o := range a.Objects() {
		require.Zero(t, o.Handles, "closed again")
	}
}

func TestAdd_Wraps(t *testing.T) {
	a := shmtest.Heap(t, nil)
	i, err := value.Create(a, "int8", int8(127))
	require.NoError(t, err)
	n, err := value.Add(i, 1)
	require.NoError(t, err)
	require.EqualValues(t, -128, n)
	done, err := i.CompareAndSwap(-128, 0)
	require.NoError(t, err)
	require.True(t, done, "no carry left the byte")

	u, err := value.Create(a, "uint32", uint32(1))
	require.NoError(t, err)
	w, err := value.Add(u, math.MaxUint32)
	require.NoError(t, err)
	require.Zero(t, w)

	l, err := value.Create(a, "int64", int64(math.MinInt64))
	require.NoError(t, err)
	m, err := value.Add(l, -1)
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, m)
}

// Update in two processes and several goroutines loses nothing.
func TestValue_Update_Concurrent(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		const each = 1000
		a, b := open(nil)
		done := make(chan error)
		for i := range 4 {
			v, err := value.OpenOrCreate([]*arena.Arena{a, b}[i%2], "x", uint16(0))
			require.NoError(t, err)
			go func() {
				var err error
				for range each {
					_, e := v.Update(func(n uint16) uint16 { return n + 1 })
					err = errors.Join(err, e)
				}
				done <- err
			}()
		}
		for range 4 {
			require.NoError(t, <-done)
		}
		v, err := value.Open[uint16](a, "x")
		require.NoError(t, err)
		require.EqualValues(t, 4*each, v.Load())
		require.EqualValues(t, 4*each+1, v.Version())
	})
}

// The callback may close the arena under its own update.
func TestValue_Update_Close(t *testing.T) {
	for _, initial := range []int{0, 1} {
		a := shmtest.Named(t, nil)
		b := shmtest.Again(t, a, nil)
		x, err := value.Create(a, "x", initial)
		require.NoError(t, err)
		y, err := value.Open[int](b, "x")
		require.NoError(t, err)
		_, err = x.Update(func(n int) int {
			require.NoError(t, a.Close())
			return n + 1
		})
		require.ErrorIs(t, err, value.ErrClosed)
		require.Equal(t, initial, y.Load())
		require.NoError(t, y.Close())
	}
}

func TestValue_Allocs(t *testing.T) {
	a := shmtest.Heap(t, nil)
	v, err := value.Create(a, "x", pair{1, 2})
	require.NoError(t, err)
	n, err := value.Create(a, "n", int32(1))
	require.NoError(t, err)
	c, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	for name, f := range map[string]func(){
		"Load":         func() { _ = v.Load() },
		"Store":        func() { _ = v.Store(pair{3, 4}) },
		"Swap":         func() { _, _ = v.Swap(pair{3, 4}) },
		"Version":      func() { _ = v.Version() },
		"Update":       func() { _, _ = v.Update(func(p pair) pair { p.A++; return p }) },
		"Add":          func() { _, _ = value.Add(n, 1) },
		"Counter.Add":  func() { c.Add(1) },
		"Counter.Load": func() { _ = c.Load() },
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}
