package value_test

import (
	"context"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

// result is what a Wait returned.
type result struct {
	x, version uint64
	err        error
}

// wait waits in another goroutine.
func wait(ctx context.Context, v *value.Value[uint64], since uint64) <-chan result {
	c := make(chan result, 1)
	go func() {
		x, version, err := v.Wait(ctx, since)
		c <- result{x, version, err}
	}()
	return c
}

// asleep returns when a goroutine sleeps on the value.
func asleep(v *value.Value[uint64]) {
	for {
		if a, _ := value.Asleep(v); a {
			return
		}
		runtime.Gosched()
	}
}

// soon is what every wait in a test ends by, one way or the other.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, a *arena.Arena, initial uint64) *value.Value[uint64] {
	t.Helper()
	v, err := value.Create(a, "x", initial)
	require.NoError(t, err)
	keep(t, v)
	return v
}

func open(t *testing.T, a *arena.Arena) *value.Value[uint64] {
	t.Helper()
	v, err := value.Open[uint64](a, "x")
	require.NoError(t, err)
	keep(t, v)
	return v
}

// keep keeps a handle from being closed by the garbage collector in the middle of
// a test.
func keep(t *testing.T, handle any) {
	t.Cleanup(func() { runtime.KeepAlive(handle) })
}

func TestWait(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		x, ctx := create(t, a, 5), soon(t)
		y := open(t, b)
		require.Equal(t, result{5, 1, nil}, <-wait(ctx, y, 0), "the first one at once")
		for i := uint64(0); i < 20; i++ {
			got := wait(ctx, y, y.Version())
			asleep(y)
			require.NoError(t, x.Store(100+i))
			require.Equal(t, result{100 + i, 2 + i, nil}, <-got)
		}
		got := wait(ctx, x, x.Version())
		asleep(x)
		require.NoError(t, x.Store(119), "the same value")
		require.Equal(t, result{119, 22, nil}, <-got)
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
}

// Of a crowd one sleeps, and all get the change.
func TestWait_Crowd(t *testing.T) {
	a := shmtest.Heap(t, nil)
	x, ctx := create(t, a, 5), soon(t)
	var all []<-chan result
	for range 50 {
		all = append(all, wait(ctx, x, 1))
	}
	for parked := false; !parked; {
		_, parked = value.Asleep(x)
	}
	require.NoError(t, x.Store(6))
	for _, c := range all {
		require.Equal(t, result{6, 2, nil}, <-c)
	}
	a1, p1 := value.Asleep(x)
	require.False(t, a1)
	require.False(t, p1)
}

// When the sleeper's context ends, one of the others sleeps on.
func TestWait_Context(t *testing.T) {
	a := shmtest.Heap(t, nil)
	x := create(t, a, 5)
	ctx, cancel := context.WithCancel(t.Context())
	first := wait(ctx, x, 1)
	asleep(x)
	second := wait(soon(t), x, 1)
	brief, drop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer drop()
	third := wait(brief, x, 1)
	require.ErrorIs(t, (<-third).err, context.DeadlineExceeded)
	cancel()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	require.NoError(t, x.Store(6))
	require.Equal(t, result{6, 2, nil}, <-second)
	require.Equal(t, result{6, 2, nil}, <-wait(ctx, x, 1), "what is there already is returned first")
	require.ErrorIs(t, (<-wait(ctx, x, 2)).err, context.Canceled)
}

func TestWait_Ends(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		x, ctx := create(t, a, 5), soon(t)

		y := open(t, b)
		got := wait(ctx, y, 1)
		asleep(y)
		require.NoError(t, y.Close())
		require.ErrorIs(t, (<-got).err, value.ErrClosed)

		got = wait(ctx, x, 1)
		asleep(x)
		require.NoError(t, b.Remove("x"))
		require.ErrorIs(t, (<-got).err, value.ErrRemoved)

		y = create(t, b, 5)
		got = wait(ctx, y, 1)
		asleep(y)
		require.NoError(t, b.Close())
		require.ErrorIs(t, (<-got).err, value.ErrClosed)
	})
}

func TestWait_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	x, ctx := create(t, a, 5), soon(t)
	y := open(t, shmtest.Again(t, a, &arena.Options{ReadOnly: true}))
	for i := uint64(1); i < 10; i++ {
		got := wait(ctx, y, i)
		asleep(y)
		require.False(t, value.Watched(y), "it can't ask for a wake-up")
		require.NoError(t, x.Store(i))
		require.Equal(t, result{i, i + 1, nil}, <-got)
	}
	got := wait(ctx, y, 10)
	asleep(y)
	require.NoError(t, a.Remove("x"))
	require.ErrorIs(t, (<-got).err, value.ErrRemoved)
}

// A writer is killed after it stored the value and before it raised the change
// word. Nobody raises it for him but those who wait.
func TestB18_WaitSurvivesLostChange(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		x, ctx := create(t, a, 5), soon(t)
		y := open(t, b)

		got := wait(ctx, y, y.Version())
		asleep(y)
		value.LostStore(x, 6)
		require.Equal(t, result{6, 2, nil}, <-got, "while it sleeps")
		require.EqualValues(t, 2, x.Version(), "raised for everybody")

		since := y.Version()
		value.LostStore(x, 7)
		require.Equal(t, result{7, 3, nil}, <-wait(ctx, y, since), "between Version and Wait")

		value.LostStore(x, 8)
		require.Equal(t, result{8, 4, nil}, <-wait(ctx, y, 3), "between two Waits")

		first, second := wait(ctx, y, 4), wait(ctx, y, 4)
		asleep(y)
		value.LostStore(x, 9)
		require.Equal(t, result{9, 5, nil}, <-first)
		require.Equal(t, result{9, 5, nil}, <-second)
	})
}

// A read-only waiter can't raise the change word, but does not miss the change.
func TestB18_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	x, ctx := create(t, a, 5), soon(t)
	y := open(t, shmtest.Again(t, a, &arena.Options{ReadOnly: true}))
	first, second := wait(ctx, y, 1), wait(ctx, y, 1)
	asleep(y)
	value.LostStore(x, 6)
	require.Equal(t, result{6, 2, nil}, <-first)
	require.Equal(t, result{6, 2, nil}, <-second)
	require.EqualValues(t, 2, y.Version())
	require.EqualValues(t, 1, x.Version())

	got := wait(ctx, y, 2)
	asleep(y)
	require.NoError(t, x.Store(7))
	require.Equal(t, result{7, 3, nil}, <-got)
}

// The kernel compares the low half of the change word only.
func TestWait_LowHalfWraps(t *testing.T) {
	a := shmtest.Heap(t, nil)
	x, ctx := create(t, a, 5), soon(t)
	value.SetChange(x, math.MaxUint32)
	got := wait(ctx, x, x.Version())
	asleep(x)
	require.NoError(t, x.Store(6))
	require.Equal(t, result{6, 1 << 32, nil}, <-got)

	got = wait(ctx, x, x.Version())
	asleep(x)
	value.SetChange(x, 2<<32) // the low half is the same, and nobody wakes
	require.Equal(t, result{6, 2 << 32, nil}, <-got)
}

// Every waiter of two processes sees the last of many stores.
func TestWait_Storm(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		const last = 2000
		a, b := openArena(nil)
		x, ctx := create(t, a, 0), soon(t)
		var all sync.WaitGroup
		for i := range 6 {
			v := open(t, []*arena.Arena{a, b}[i%2])
			all.Go(func() {
				var n, seen, version uint64
				var err error
				for n < last {
					if n, version, err = v.Wait(ctx, version); err != nil {
						t.Error(err)
						return
					}
					if n < seen {
						t.Errorf("%d after %d", n, seen)
						return
					}
					seen = n
				}
			})
		}
		for i := uint64(1); i <= last; i++ {
			require.NoError(t, x.Store(i))
			if i%100 == 0 {
				runtime.Gosched()
			}
		}
		all.Wait()
	})
}
