package hashmap

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// again attaches an arena once more: read-only.
func again(t *testing.T, a *arena.Arena) *arena.Arena {
	t.Helper()
	return shmtest.Again(t, a, &arena.Options{ReadOnly: true})
}

func TestMap_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	f := create[int, sealed](t, a, "f", nil)
	r := again(t, a)
	rm, rf := open[string, []byte](t, r, "m"), open[int, sealed](t, r, "f")
	for i := range 200 {
		require.NoError(t, m.Store(key16(i), sealBytes(1, uint64(i)))) // the segment grows meanwhile
		require.NoError(t, f.Store(i, seal(2, uint64(i))))
		got, ok := rm.Load(key16(i))
		require.True(t, ok)
		require.True(t, bytes.Equal(sealBytes(1, uint64(i)), got))
		s, ok := rf.Load(i)
		require.True(t, ok)
		require.Equal(t, seal(2, uint64(i)), s)
	}
	require.Len(t, contents(t, rm), 200)
	require.Len(t, contents(t, rf), 200)
	require.NoError(t, rm.Check())

	require.ErrorIs(t, rm.Store("k", nil), ErrReadOnly)
	require.ErrorIs(t, rf.Store(1, sealed{}), ErrReadOnly)
	_, err := rm.Delete("k")
	require.ErrorIs(t, err, ErrReadOnly)
	_, err = Create[string, int](r, "new", nil)
	require.ErrorIs(t, err, ErrReadOnly)
	_, err = OpenOrCreate[string, int](r, "new", nil)
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, rm.Close())
	_, ok := rm.Load(key16(1))
	require.False(t, ok)
	require.ErrorIs(t, rm.Err(), ErrClosed)
}

// requireEnded looks at a handle that answers nothing any more.
func requireEnded[V any](t *testing.T, m *Map[string, V], k string, v V, why error) {
	t.Helper()
	requireNothing(t, m, k)
	requireRefused(t, m, k, v, why)
}

func requireNothing[V any](t *testing.T, m *Map[string, V], k string) {
	t.Helper()
	got, ok := m.Load(k)
	require.False(t, ok)
	require.Zero(t, got)
	require.False(t, m.LoadInto(k, &got))
	require.Zero(t, m.Len())
	for range m.All() {
		t.Fatal("All yielded an entry")
	}
}

func requireRefused[V any](t *testing.T, m *Map[string, V], k string, v V, why error) {
	t.Helper()
	require.ErrorIs(t, m.Err(), why)
	require.ErrorIs(t, m.Check(), why)
	require.ErrorIs(t, m.Store(k, v), why)
	_, err := m.Delete(k)
	require.ErrorIs(t, err, why)
}

func TestMap_Close(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := create[string, []byte](t, a, "m", nil)
		other, third := open[string, []byte](t, a, "m"), open[string, []byte](t, b, "m")
		require.NoError(t, m.Store("k", []byte("v")))
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
		requireEnded(t, m, "k", []byte("w"), ErrClosed)
		for _, h := range []*Map[string, []byte]{other, third} {
			require.NoError(t, h.Err())
			require.NoError(t, h.Store("k", []byte("w")))
			require.Equal(t, map[string][]byte{"k": []byte("w")}, contents(t, h))
		}
	})
}

// A Load of a fixed value by a key of 8 to 16 bytes has a path of its own. It
// finds nothing either, though all it looks at is still there: the writing
// handle holds it.
func TestMap_EndedShortcut(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m, closed := create[string, int](t, a, "m", nil), open[string, int](t, a, "m")
	reader := open[string, int](t, again(t, a), "m")
	require.NoError(t, m.Store(hot, 1))
	for _, h := range []*Map[string, int]{m, closed, reader} {
		require.Equal(t, map[string]int{hot: 1}, contents(t, h))
	}
	require.NoError(t, closed.Close())
	requireNothing(t, closed, hot)
	require.NoError(t, a.Remove("m"))
	for _, h := range []*Map[string, int]{m, closed, reader} {
		requireNothing(t, h, hot)
	}
}

// The heap segments are the test's own: they stay when the arena is closed, and
// so does what can be read there.
func TestMap_CloseArena(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := create[string, []byte](t, a, "m", nil)
		f := create[string, int](t, a, "f", nil)
		require.NoError(t, m.Store("k", []byte("v")))
		require.NoError(t, f.Store("k", 1))
		require.NoError(t, a.Close())
		if a.Name() != "" {
			requireNothing(t, m, "k")
			requireNothing(t, f, "k")
		}
		requireRefused(t, m, "k", []byte("w"), ErrClosed)
		requireRefused(t, f, "k", 2, ErrClosed)
		require.NoError(t, m.Close())
		_, err := Open[string, []byte](a, "m", nil)
		require.ErrorIs(t, err, ErrClosed)
		if a != b {
			require.Len(t, contents(t, open[string, []byte](t, b, "m")), 1)
		}
	})
}

// A handle whose Close has begun refuses to store, also before the rest of
// Close has happened: it must never go on without the lock.
func TestMap_CloseBegun(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 1))
	m.open.Store(^uint64(0)) // what Close does first
	require.ErrorIs(t, m.Store("k", 2), ErrClosed)
	require.ErrorIs(t, m.Store("new", 2), ErrClosed)
	_, err := m.Delete("k")
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, m.Err(), ErrClosed)
	require.NoError(t, m.Close())
	require.Equal(t, map[string]int{"k": 1}, contents(t, open[string, int](t, a, "m")))
}

// Handles, and then the arena, are closed under running operations.
func TestMap_CloseBeside(t *testing.T) {
	for _, named := range []bool{false, true} {
		for round := range 30 {
			backing := shmtest.Heap
			if named {
				shmtest.NeedNamed(t)
				backing = shmtest.Named
			}
			a := backing(t, small)
			keep := create[string, int](t, a, "m", nil)
			m := open[string, int](t, a, "m")
			var all sync.WaitGroup
			ended := make(chan error, 4)
			for g := range 4 {
				all.Go(func() {
					for i := 0; ; i++ {
						k := key16((g*7 + i) % 20)
						err := m.Store(k, i)
						if g == 0 && err == nil {
							_, err = m.Delete(k)
						}
						m.Load(k)
						if err != nil {
							ended <- err
							return
						}
					}
				})
			}
			for m.Len() < 5 {
				require.Empty(t, ended, "a writer ended before anything was closed")
				runtime.Gosched()
			}
			if round%2 == 0 {
				require.NoError(t, m.Close())
				all.Wait()
				require.NoError(t, keep.Check())
			}
			require.NoError(t, a.Close())
			all.Wait()
			for range 4 {
				require.ErrorIs(t, <-ended, ErrClosed)
			}
		}
	}
}

// Whoever has a map open when it is removed is told so, whether he writes or
// only reads; its memory is freed with the last writing handle.
func TestMap_Removed(t *testing.T) {
	a := shmtest.Named(t, roomy)
	b := shmtest.Again(t, a, nil)
	m := create[string, []byte](t, a, "m", nil)
	other, reader := open[string, []byte](t, b, "m"), open[string, []byte](t, again(t, a), "m")
	used := shmtest.Clean(t, a).UsedBytes
	for i := range 100 {
		require.NoError(t, m.Store(key16(i), sealBytes(1, uint64(i))))
	}
	require.NoError(t, a.Remove("m"))
	for _, h := range []*Map[string, []byte]{m, other, reader} {
		requireEnded(t, h, key16(1), []byte("w"), ErrRemoved)
	}
	require.NoError(t, m.Close())
	require.Equal(t, 1, shmtest.Clean(t, a).Garbage)
	require.Greater(t, shmtest.Clean(t, a).UsedBytes, used)
	require.NoError(t, other.Close())
	require.Zero(t, shmtest.Clean(t, a).UsedBytes)
	require.ErrorIs(t, reader.Err(), ErrRemoved)

	// The same name again is another map.
	m = create[string, []byte](t, a, "m", nil)
	require.NoError(t, m.Store("k", nil))
	require.ErrorIs(t, reader.Err(), ErrRemoved)
	_, ok := reader.Load("k")
	require.False(t, ok)
}

func TestMap_Renamed(t *testing.T) {
	a := shmtest.Named(t, roomy)
	old := create[string, int](t, a, "m", nil)
	reader := open[string, int](t, again(t, a), "m")
	next := create[string, int](t, a, "next", nil)
	require.NoError(t, old.Store("k", 1))
	require.NoError(t, next.Store("k", 2))
	require.NoError(t, a.Rename("next", "m"))
	requireEnded(t, old, "k", 3, ErrRemoved)
	requireEnded(t, reader, "k", 3, ErrRemoved)
	require.NoError(t, next.Store("l", 4), "a handle follows its object")
	now := open[string, int](t, a, "m")
	require.Equal(t, map[string]int{"k": 2, "l": 4}, contents(t, now))
	_, err := Open[string, int](a, "next", nil)
	require.Error(t, err)
}

// TestB5_RemovedAndReused: after a removal the memory of the map belongs to
// others at once. Old handles change not one byte of it, and find nothing in
// it, whatever it contains.
func TestB5_RemovedAndReused(t *testing.T) {
	a := shmtest.Named(t, small)
	b := shmtest.Again(t, a, nil)
	m, reader := create[string, int](t, a, "m", nil), open[string, int](t, again(t, a), "m")
	for i := range 50 {
		require.NoError(t, m.Store(key16(i), i))
	}
	require.NoError(t, b.Remove("m"))
	require.NoError(t, m.Close())
	require.Zero(t, shmtest.Clean(t, b).UsedBytes)

	// The whole arena full of another map, whose values look like buckets that
	// lead everywhere.
	next := create[string, []byte](t, b, "next", nil)
	v := make([]byte, 1500)
	for i := range v {
		v[i] = byte(i * i >> 3)
	}
	for i := 0; next.Store(fmt.Sprint(i), v[i%700:]) == nil; i++ {
	}
	before, err := b.Freeze()
	require.NoError(t, err)
	for i := range 60 {
		requireEnded(t, m, key16(i), 7, ErrClosed)
		requireEnded(t, reader, key16(i), 7, ErrRemoved)
	}
	after, err := b.Freeze()
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// The same while the old handle is still open: then its memory is not reused.
func TestB5_RemovedAndPinned(t *testing.T) {
	a := shmtest.Named(t, small)
	b := shmtest.Again(t, a, nil)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 1))
	require.NoError(t, b.Remove("m"))
	next := create[string, []byte](t, b, "next", nil)
	for i := 0; next.Store(fmt.Sprint(i), make([]byte, 1500)) == nil; i++ {
	}
	before, err := b.Freeze()
	require.NoError(t, err)
	for range 20 {
		requireEnded(t, m, "k", 7, ErrRemoved)
	}
	after, err := b.Freeze()
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, next.Check())
	require.NoError(t, m.Close())
}

// A write over a read-only mapping is refused, also while an old content is there that
// a writer would help to take down.
func TestMap_ReadOnlyBesideClear(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := create[string, int](t, a, "m", nil)
	r := open[string, int](t, shmtest.Again(t, a, &arena.Options{ReadOnly: true}), "m")
	require.NoError(t, m.Store("k", 1))
	end := exchange(t, m)
	require.True(t, r.hasOld())
	refusesUpdates(t, r, "k", 1, ErrReadOnly)
	require.ErrorIs(t, r.Store("k", 1), ErrReadOnly)
	require.ErrorIs(t, second(Add(r, "k", 1)), ErrReadOnly)
	end()
}
