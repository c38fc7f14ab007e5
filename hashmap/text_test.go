package hashmap

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// V of string. Its verbs are those of []byte, but that a string may not change
// once somebody has it.

func sameText(a, b string) bool { return a == b }

func randomText(r *rand.Rand, n int) func() string {
	return func() string {
		return strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(1+r.IntN(n)))
	}
}

func TestText_Model(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		r := seeded(t)
		a, b := opener(roomy)
		m := newModel(t, sameText, create[string, string](t, a, "m", &Options{Capacity: 10_000}), open[string, string](t, b, "m"))
		m.run(r, 20_000, func() string { return textOf(r.IntN(41), r.IntN(100)) }, randomText(r, 1500))
		require.Zero(t, m.full)
	})
}

func TestText_FullArena(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8})
	m := newModel(t, sameText, create[int, string](t, a, "m", &Options{Capacity: 400}))
	m.run(r, 10_000, func() int { return r.IntN(400) }, randomText(r, 10_000))
	require.NotZero(t, m.full)
}

// What was loaded stays as it was, whatever becomes of the entry and its block.
func TestText_Stays(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, string](t, a, "m", nil)
	first := strings.Repeat("first", 10)
	require.NoError(t, m.Store("k", first))
	var kept []string
	keep := func(v string, ok bool) {
		t.Helper()
		require.True(t, ok)
		kept = append(kept, v)
	}
	keep(m.Load("k"))
	var into string
	keep(into, m.LoadInto("k", &into))
	kept[1] = into
	for v := range m.Values() {
		keep(v, true)
	}
	v, ok, err := m.LoadOrStore("k", "")
	require.NoError(t, err)
	keep(v, ok)
	v, ok, err = m.Compute("k", func(old string, ok bool) (string, Action) {
		keep(old, ok)
		return "", Cancel
	})
	require.NoError(t, err)
	keep(v, ok)
	v, ok, err = m.Swap("k", first)
	require.NoError(t, err)
	keep(v, ok)
	v, ok, err = m.LoadAndDelete("k")
	require.NoError(t, err)
	keep(v, ok)
	for i := range 1000 { // each block there is comes along
		require.NoError(t, m.Store("k", strings.Repeat(fmt.Sprint(i%10), 50)))
	}
	require.Len(t, kept, 8)
	for i, v := range kept {
		require.Equal(t, first, v, "%d", i)
	}
}

func TestText_Allocs(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, string](t, a, "m", nil)
	require.NoError(t, m.Store("k", strings.Repeat("v", 900)))
	require.NoError(t, m.Store("l", ""))
	buffer, sink := make([]byte, 0, 1000), ""
	require.Zero(t, testing.AllocsPerRun(100, func() {
		buffer, _ = m.LoadAppend(buffer[:0], "k")
	}))
	require.Len(t, buffer, 900)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !m.Contains("k") || m.Store("k", "another value") != nil {
			t.Error("no room")
		}
	}))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { sink, _ = m.Load("k") }), 1.0)
	require.Equal(t, "another value", sink)
	require.Zero(t, testing.AllocsPerRun(100, func() { sink, _ = m.Load("l") }))
	require.Empty(t, sink)
}

func TestRace_Text(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m, other := create[uint64, string](t, a, "m", &Options{Capacity: 60}), open[uint64, string](t, b, "m")
		whole := func(k uint64, v string) error {
			if _, ok := wholeBytes(k, []byte(v)); !ok {
				return fmt.Errorf("key %d: torn or wrong: %d bytes", k, len(v))
			}
			return nil
		}
		read := func(r *rand.Rand) error {
			k := r.Uint64N(10)
			if v, ok := other.Load(k); ok {
				return whole(k, v)
			}
			return nil
		}
		swap := func(r *rand.Rand) error {
			k := r.Uint64N(10)
			v, ok, err := m.Swap(k, string(sealBytes(k, r.Uint64())))
			if err != nil || !ok {
				return err
			}
			return whole(k, v)
		}
		take := func(r *rand.Rand) error {
			k := r.Uint64N(10)
			v, ok, err := other.LoadAndDelete(k)
			if err != nil || !ok {
				return err
			}
			return whole(k, v)
		}
		compare := func(r *rand.Rand) error {
			k := r.Uint64N(10)
			v, _ := m.Load(k)
			_, err := m.CompareAndSwap(k, v, string(sealBytes(k, r.Uint64())))
			return err
		}
		crowd(t, 300*time.Millisecond, read, swap, take, compare)
	})
}
