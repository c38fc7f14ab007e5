package hashmap

import (
	"bytes"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// vast is an arena for large values, not larger than a machine's shared memory is at
// least; under the race detector, which looks at every word, a sixteenth of it.
func vast() *arena.Options {
	o := &arena.Options{Size: 256 << 10, MaxSize: 48 << 20, Processes: 4, Objects: 8}
	if mem.Race {
		o.MaxSize /= 16
	}
	return o
}

// mib is what the tests call a MiB: a 48th of that.
var mib = int(vast().MaxSize / 48)

// overVast runs a test over every backing.
func overVast(t *testing.T, test func(t *testing.T, a, b *arena.Arena)) {
	t.Helper()
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(vast())
		test(t, a, b)
	})
}

// noise returns n bytes of which no part is like another one.
func noise(n int64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// holdsOnly finds one key in a map in all the ways there are, with its value.
func holdsOnly(t *testing.T, m *Map[string, []byte], k string, want []byte) {
	t.Helper()
	equal := func(what string, got []byte, ok bool) {
		t.Helper()
		require.True(t, ok, what)
		require.True(t, bytes.Equal(want, got), "%s: %d bytes, want %d", what, len(got), len(want)) // not shown
	}
	got, ok := m.Load(k)
	equal("Load", got, ok)
	equal("LoadInto", got, m.LoadInto(k, &got))
	got, ok = m.LoadAppend(append(got[:0], "before"...), k)
	equal("LoadAppend", got[len("before"):], ok)
	require.Equal(t, "before", string(got[:len("before")]))
	entries, next, err := m.Scan(0, 10)
	require.NoError(t, err)
	require.Zero(t, next)
	require.Len(t, entries, 1)
	equal("Scan", entries[0].Value, entries[0].Key == k)
	for key, v := range m.All() {
		equal("All", v, key == k)
	}
	require.Equal(t, 1, m.Len())
}

// Values about the size of a MiB, and of some, by one handle after the other.
func TestLarge_Values(t *testing.T) {
	text := noise(int64(3*mib + 1))
	overVast(t, func(t *testing.T, a, b *arena.Arena) {
		m, other := create[string, []byte](t, a, "m", nil), open[string, []byte](t, b, "m")
		for _, n := range []int{mib - 1, mib, mib + 1, len(text) - 1} {
			v, w := text[:n], text[1:n]
			require.NoError(t, m.Store("k", v))
			holdsOnly(t, other, "k", v)
			previous, loaded, err := other.Swap("k", w)
			require.NoError(t, err)
			require.True(t, loaded && bytes.Equal(v, previous))
			holdsOnly(t, m, "k", w)
			got, ok, err := m.Compute("k", func(old []byte, ok bool) ([]byte, Action) {
				require.True(t, ok && bytes.Equal(w, old))
				return append(old, text[n]), Store
			})
			require.NoError(t, err)
			require.True(t, ok && bytes.Equal(text[1:n+1], got))
			holdsOnly(t, other, "k", text[1:n+1])
			swapped, err := other.CompareAndSwap("k", v, w) // of the same length
			require.NoError(t, err)
			require.False(t, swapped)
			swapped, err = other.CompareAndSwap("k", text[1:n+1], v)
			require.NoError(t, err)
			require.True(t, swapped)
			previous, loaded, err = m.LoadAndDelete("k")
			require.NoError(t, err)
			require.True(t, loaded && bytes.Equal(v, previous))
			require.Zero(t, other.Len())
		}
	})
}

// The largest value that the arena has room for, and one byte more: who finds no room
// leaves the old value.
func TestLarge_Largest(t *testing.T) {
	text := noise(vast().MaxSize)
	overVast(t, func(t *testing.T, a, b *arena.Arena) {
		m, other := create[string, []byte](t, a, "m", nil), open[string, []byte](t, b, "m")
		used := shmtest.Clean(t, a).UsedBytes
		n := roomFor(t, m, text)
		require.Greater(t, n, len(text)*9/10)
		require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)

		require.NoError(t, m.Store("k", text[:n]))
		holdsOnly(t, other, "k", text[:n])
		for _, refused := range [][]byte{text[1:n], text} {
			noRoomFor(t, other, refused)
		}
		_, _, err := m.LoadOrStore("another", text[:n])
		require.ErrorIs(t, err, ErrFull)
		got, ok := m.Load("k")
		require.True(t, ok && bytes.Equal(text[:n], got))

		ok, err = other.CompareAndDelete("k", text[:n])
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)
		require.NoError(t, other.Store("k", text[:n/3]))
		previous, _, err := m.Swap("k", text[1:n/3]) // there is room for both
		require.NoError(t, err)
		require.True(t, bytes.Equal(text[:n/3], previous))
		holdsOnly(t, other, "k", text[1:n/3])
	})
}

// roomFor returns how many bytes of a text a key of one byte can have, if it is more than
// nine tenths: such a block is a number of whole pages.
func roomFor(t *testing.T, m *Map[string, []byte], text []byte) int {
	page := int(m.floor.Pages.Geometry().PageSize())
	bytes := func(pages int) int { return pages*page - entryHeader - 8 }
	least := len(text) / page * 9 / 10
	more := sort.Search(len(text)/page-least, func(i int) bool {
		if err := m.Store("k", text[:bytes(least+i)]); err != nil {
			require.ErrorIs(t, err, ErrFull)
			return true
		}
		ok, err := m.Delete("k")
		require.NoError(t, err)
		return !ok
	})
	n := bytes(least + more - 1)
	require.ErrorIs(t, m.Store("k", text[:n+1]), ErrFull)
	require.Zero(t, m.Len())
	return n
}

// noRoomFor has the verbs that write find no room for a value of "k".
func noRoomFor(t *testing.T, m *Map[string, []byte], v []byte) {
	t.Helper()
	require.ErrorIs(t, m.Store("k", v), ErrFull)
	previous, loaded, err := m.Swap("k", v)
	require.ErrorIs(t, err, ErrFull)
	require.True(t, !loaded && previous == nil)
	_, ok, err := m.Compute("k", func([]byte, bool) ([]byte, Action) { return v, Store })
	require.ErrorIs(t, err, ErrFull)
	require.False(t, ok)
	n, err := m.StoreAll(func(yield func(string, []byte) bool) { yield("k", v) })
	require.ErrorIs(t, err, ErrFull)
	require.Zero(t, n)
}

// Values that are strings.
func TestLarge_Strings(t *testing.T) {
	text := string(noise(int64(2 * mib)))
	overVast(t, func(t *testing.T, a, b *arena.Arena) {
		m, other := create[string, string](t, a, "m", nil), open[string, string](t, b, "m")
		require.NoError(t, m.Store("k", text))
		got, ok := other.Load("k")
		require.True(t, ok && got == text)
		got, ok, err := other.Swap("k", text[1:])
		require.NoError(t, err)
		require.True(t, ok && got == text)
		got, ok = m.Load("k")
		require.True(t, ok && got == text[1:])
	})
}

// The longest key, and one byte more.
func TestLarge_Keys(t *testing.T) {
	long := string(noise(keyLimit + 1))
	first, last := "x"+long[1:keyLimit], long[:keyLimit-1]+"x"
	value := noise(int64(mib))
	overVast(t, func(t *testing.T, a, b *arena.Arena) {
		m, other := create[string, []byte](t, a, "m", nil), open[string, []byte](t, b, "m")
		require.NoError(t, m.Store(long[:keyLimit], value))
		holdsOnly(t, other, long[:keyLimit], value)
		for _, k := range []string{first, last, long[:keyLimit-1], long} {
			require.False(t, other.Contains(k))
			_, ok := other.Load(k)
			require.False(t, ok)
		}
		refusesUpdates(t, other, long, []byte("v"), ErrTooLarge)
		require.ErrorIs(t, m.Store(long, value), ErrTooLarge)
		_, err := m.StoreAll(func(yield func(string, []byte) bool) { yield(long, value) })
		require.ErrorIs(t, err, ErrTooLarge)
		require.NoError(t, m.Err())
		holdsOnly(t, m, long[:keyLimit], value)

		for _, k := range []string{first, last, long[:keyLimit-1]} {
			_, loaded, err := other.LoadOrStore(k, []byte(k[:9]))
			require.NoError(t, err)
			require.False(t, loaded)
		}
		n := 0
		for k, v := range m.AllPrefix(long[:keyLimit-1]) {
			require.True(t, k == long[:keyLimit] && bytes.Equal(v, value) || (k == last || k == long[:keyLimit-1]) && string(v) == k[:9])
			n++
		}
		require.Equal(t, 3, n)
		got, _, err := m.Compute(long[:keyLimit], func([]byte, bool) ([]byte, Action) { return nil, Delete })
		require.NoError(t, err)
		require.Empty(t, got)
		deleted, err := other.DeleteAll(func(yield func(string) bool) {
			_ = yield(first) && yield(long[:keyLimit]) && yield(strings.Clone(last))
		})
		require.NoError(t, err)
		require.Equal(t, 2, deleted)
		holdsOnly(t, m, long[:keyLimit-1], []byte(long[:9]))
	})
}
