package slab_test

import (
	"errors"
	"io/fs"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

var heldSpec = arena.Spec{Kind: arena.KindValue, Size: 128}

// hold creates an object "x" and a handle on it.
func hold(t *testing.T, a *arena.Arena) *slab.Handle {
	t.Helper()
	o, err := slab.Of(a).Create("x", heldSpec, func(at mem.Ptr) { mem.Zero(at, heldSpec.Size) })
	require.NoError(t, err)
	h := new(slab.Handle)
	h.Hold(slab.Of(a), o)
	return h
}

func requireHandle(t *testing.T, h *slab.Handle, want error) {
	t.Helper()
	require.Equal(t, want != nil, h.Gone())
	require.Equal(t, want != nil, h.Barred())
	require.ErrorIs(t, h.Err(), want)
	require.ErrorIs(t, h.Refusal(), want)
}

// A handle that was closed keeps what it held until it is collected: a writer
// that asked before may still be about to store.
func TestB5_HandleClosed(t *testing.T) {
	a := shmtest.Heap(t, nil)
	h := hold(t, a)
	requireHandle(t, h, nil)
	require.NoError(t, h.Kept())
	h.Close()
	h.Close()
	requireHandle(t, h, arena.ErrClosed)
	require.NoError(t, h.Kept(), "what was stored has reached the segment")
	require.NoError(t, a.Remove("x"))
	for range 3 {
		runtime.GC()
		r := shmtest.Clean(t, a)
		require.Equal(t, 1, r.Garbage)
		require.Equal(t, 1, r.Blocks)
	}
	requireHandle(t, h, arena.ErrClosed)
	require.Zero(t, shmtest.Collected(t, a).Blocks)
}

func TestHandle_Ended(t *testing.T) {
	a := shmtest.Heap(t, nil)
	h := hold(t, a)
	require.NoError(t, a.Remove("x"))
	requireHandle(t, h, arena.ErrRemoved)
	again := hold(t, a)
	require.NoError(t, a.Close())
	for _, h := range []*slab.Handle{h, again} {
		require.True(t, h.Shut())
		requireHandle(t, h, arena.ErrClosed)
		require.ErrorIs(t, h.Kept(), arena.ErrClosed)
	}
}

func TestHandle_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	require.False(t, hold(t, a).ReadOnly())
	b := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	o, err := b.OpenObject("x", heldSpec)
	require.NoError(t, err)
	h := new(slab.Handle)
	h.Hold(slab.Of(b), o)
	require.True(t, h.ReadOnly())
	require.False(t, h.Gone())
	require.NoError(t, h.Err())
	require.True(t, h.Barred())
	require.ErrorIs(t, h.Refusal(), arena.ErrReadOnly)
	h.Close()
	requireHandle(t, h, arena.ErrClosed)
}

// Handles are dropped in the middle of everything else; in the end all is free.
func TestHandle_DroppedUnderLoad(t *testing.T) {
	const objects = 200 // all of them fit, collected or not
	a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, Objects: objects})
	var done atomic.Bool
	collector := make(chan struct{})
	go func() {
		defer close(collector)
		for !done.Load() {
			runtime.GC()
		}
	}()
	for i := range objects {
		if h := hold(t, a); i%2 == 0 {
			h.Close()
		}
		require.NoError(t, a.Remove("x"))
	}
	done.Store(true)
	<-collector
	require.Zero(t, shmtest.Collected(t, a).Blocks)
}

// OpenOrCreate tries again when it loses the name, and gives up on other errors.
func TestOpenOrCreate(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		results []error // of open, create, open, create
		want    int     // index of the one that is returned
	}{
		{[]error{nil}, 0},
		{[]error{other}, 0},
		{[]error{fs.ErrNotExist, nil}, 1},
		{[]error{fs.ErrNotExist, other}, 1},
		{[]error{fs.ErrNotExist, fs.ErrExist, nil}, 2},
		{[]error{fs.ErrNotExist, fs.ErrExist, fs.ErrNotExist, nil}, 3},
	} {
		calls := 0
		call := func(kind int) func() (int, error) {
			return func() (int, error) {
				require.Equal(t, kind, calls%2)
				calls++
				return calls - 1, c.results[calls-1]
			}
		}
		got, err := slab.OpenThenCreate(call(0), call(1))
		require.Equal(t, c.want, got)
		require.ErrorIs(t, err, c.results[c.want])
		require.Equal(t, len(c.results), calls)
	}
}
