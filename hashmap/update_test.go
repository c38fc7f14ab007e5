package hashmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// outcome is what a verb returns, for one comparison.
type outcome struct {
	value any
	ok    bool
}

func got[V any](t *testing.T) func(v V, ok bool, err error) outcome {
	return func(v V, ok bool, err error) outcome {
		t.Helper()
		require.NoError(t, err)
		return outcome{v, ok}
	}
}

func yes(t *testing.T) func(ok bool, err error) bool {
	return func(ok bool, err error) bool {
		t.Helper()
		require.NoError(t, err)
		return ok
	}
}

// to returns a function for Compute.
func to[V any](v V, what Action) func(V, bool) (V, Action) {
	return func(V, bool) (V, Action) { return v, what }
}

func TestUpdate_Verbs(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := create[string, int](t, a, "m", nil)
		other := open[string, int](t, b, "m")
		verbs(t, m, other, "k", func(i int) int { return i })
		raw, text := create[string, []byte](t, a, "raw", nil), create[string, string](t, a, "text", nil)
		for i, size := range []int{0, 1, 7, 8, 9, 3000} {
			value := func(j int) []byte { return bytes.Repeat([]byte{byte(j)}, size*max(1, j)) }
			if size == 0 {
				value = func(j int) []byte { return bytes.Repeat([]byte{7}, j) }
			}
			verbs(t, raw, open[string, []byte](t, b, "raw"), fmt.Sprint("k", i), value)
			verbs(t, text, open[string, string](t, b, "text"), fmt.Sprint("k", i), func(j int) string { return string(value(j)) })
		}
	})
}

// verbs takes a key that is not there through all verbs, and away again.
func verbs[V any](t *testing.T, m, other verbal[string, V], k string, value func(i int) V) {
	t.Helper()
	var none V
	result, done := got[V](t), yes(t)
	holds := func(v V) {
		t.Helper()
		require.True(t, other.Contains(k))
		require.Equal(t, map[string]V{k: v}, contents(t, other))
	}
	require.False(t, m.Contains(k))
	require.Equal(t, outcome{none, false}, result(m.LoadAndDelete(k)))
	require.False(t, done(m.CompareAndSwap(k, none, value(1))))
	require.False(t, done(m.CompareAndDelete(k, none)))
	require.Equal(t, outcome{none, false}, result(m.Compute(k, to(value(1), Delete))))
	require.Equal(t, outcome{none, false}, result(m.Compute(k, to(value(1), Cancel))))
	require.Zero(t, other.Len())

	require.Equal(t, outcome{value(1), false}, result(m.LoadOrStore(k, value(1))))
	holds(value(1))
	require.Equal(t, outcome{value(1), true}, result(m.LoadOrStore(k, value(2))))
	require.Equal(t, outcome{value(1), true}, result(other.Swap(k, value(2))))
	holds(value(2))
	require.False(t, done(m.CompareAndSwap(k, value(1), value(3))))
	require.True(t, done(m.CompareAndSwap(k, value(2), value(3))))
	holds(value(3))
	require.False(t, done(m.CompareAndDelete(k, value(2))))
	require.Equal(t, outcome{value(3), true}, result(other.Compute(k, to(value(4), Cancel))))
	holds(value(3))
	require.Equal(t, outcome{value(4), true}, result(other.Compute(k, func(old V, ok bool) (V, Action) {
		require.True(t, ok)
		require.Equal(t, value(3), old)
		return value(4), Store
	})))
	holds(value(4))
	require.Equal(t, outcome{none, false}, result(m.Compute(k, to(value(5), Delete))))
	require.False(t, other.Contains(k))
	require.Equal(t, outcome{none, false}, result(m.Swap(k, value(5))))
	holds(value(5))
	require.Equal(t, outcome{value(5), true}, result(m.LoadAndDelete(k)))
	require.Equal(t, outcome{value(6), true}, result(m.Compute(k, to(value(6), Store))))
	holds(value(6))
	require.True(t, done(m.CompareAndDelete(k, value(6))))
	require.Zero(t, other.Len())
	require.NoError(t, m.Check())
}

func TestUpdate_KeysValues(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	for range m.Keys() {
		t.Fatal("an empty map has no keys")
	}
	for range m.Values() {
		t.Fatal("an empty map has no values")
	}
	want := make(map[string]int)
	for i := range 300 {
		k, v := textOf(i%41, i), fmt.Sprint(i%7)
		require.NoError(t, m.Store(k, []byte(v)))
	}
	for _, v := range m.All() {
		want[string(v)]++
	}
	require.Equal(t, slices.Sorted(maps.Keys(contents(t, m))), slices.Sorted(m.Keys()))
	for v := range m.Values() {
		want[string(v)]--
	}
	for v, n := range want {
		require.Zero(t, n, "value %s", v)
	}
	n := 0
	for range m.Keys() {
		if n++; n == 5 {
			break
		}
	}
	for range m.Values() {
		if n++; n == 10 {
			break
		}
	}
	require.Equal(t, 10, n)
	f := create[point, sealed](t, a, "f", nil)
	for i := range 100 {
		require.NoError(t, f.Store(point{X: int32(i)}, seal(1, uint64(i))))
	}
	for k := range f.Keys() {
		require.Equal(t, point{X: k.X}, k)
		n++
	}
	for v := range f.Values() {
		require.True(t, v.whole(1))
		n++
	}
	require.Equal(t, 210, n)
}

// The values of every size from 1 byte on differ in one byte at most.
func TestUpdate_Compare(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	for n := range 40 {
		v := bytes.Repeat([]byte{0xa5}, n)
		require.NoError(t, m.Store("k", v))
		for i := range n {
			v[i]++
			require.False(t, yes(t)(m.CompareAndSwap("k", v, nil)), "byte %d of %d", i, n)
			require.False(t, yes(t)(m.CompareAndDelete("k", v)), "byte %d of %d", i, n)
			v[i]--
		}
		require.False(t, yes(t)(m.CompareAndSwap("k", append(v, 0), nil)))
		require.False(t, yes(t)(m.CompareAndSwap("k", append(v, 0xa5), nil)))
		require.True(t, yes(t)(m.CompareAndSwap("k", v, v)), "%d bytes", n)
	}
	require.NoError(t, m.Store("k", nil))
	require.True(t, yes(t)(m.CompareAndDelete("k", []byte{})), "nil equals an empty value")
	compareFixed(t, a, [1]byte{1}, [1]byte{2})
	compareFixed(t, a, [3]byte{1, 2, 3}, [3]byte{1, 2, 4})
	compareFixed(t, a, [7]byte{6: 3}, [7]byte{})
	compareFixed(t, a, [13]byte{12: 1}, [13]byte{})
	compareFixed(t, a, uint16(1), 257)
	compareFixed(t, a, true, false)
	compareFixed(t, a, point{Tag: [3]uint8{2: 1}}, point{})
	compareFixed(t, a, 0.0, math.Copysign(0, -1))
	compareFixed(t, a, math.NaN(), math.Inf(1))
}

func compareFixed[V any](t *testing.T, a *arena.Arena, v, w V) {
	t.Helper()
	m := create[string, V](t, a, fmt.Sprintf("%T", v)+fmt.Sprint(v), nil)
	require.NoError(t, m.Store("k", v))
	require.False(t, yes(t)(m.CompareAndSwap("k", w, w)))
	require.False(t, yes(t)(m.CompareAndDelete("k", w)))
	require.True(t, yes(t)(m.CompareAndSwap("k", v, w)))
	require.True(t, yes(t)(m.CompareAndDelete("k", w)))
}

// A value with padding has no bytes to compare by; all other verbs take it.
func TestUpdate_Padding(t *testing.T) {
	type padded struct {
		A int8
		B int64
	}
	type blank struct {
		A int64
		_ int64
	}
	a := shmtest.Heap(t, roomy)
	m := create[string, padded](t, a, "m", nil)
	refused := func(err error, text string) {
		t.Helper()
		require.ErrorIs(t, err, ErrTypeMismatch)
		require.ErrorContains(t, err, text)
	}
	_, err := m.CompareAndSwap("k", padded{}, padded{1, 2})
	refused(err, `hashmap "m": values can't be compared`)
	refused(err, "padded: 7 bytes of padding at offset 1, before field B")
	_, err = m.CompareAndDelete("k", padded{})
	refused(err, "padded: 7 bytes of padding")
	_, err = create[string, blank](t, a, "blank", nil).CompareAndDelete("k", blank{})
	refused(err, "blank._: blank field of 8 bytes at offset 8")
	inc := func(v padded, ok bool) (padded, Action) {
		v.B++
		return v, Store
	}
	for i := range 3 {
		require.Equal(t, outcome{padded{B: int64(i + 1)}, true}, got[padded](t)(m.Compute("k", inc)))
	}
	require.Equal(t, outcome{padded{B: 3}, true}, got[padded](t)(m.LoadAndDelete("k")))
}

func TestUpdate_Add(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	addsUp[int](t, a)
	addsUp[int8](t, a)
	addsUp[uint32](t, a)
	addsUp[time.Duration](t, a)
	addsUp[float32](t, a)
	addsUp[float64](t, a)
}

func addsUp[N Number](t *testing.T, a *arena.Arena) {
	t.Helper()
	m := create[string, N](t, a, fmt.Sprintf("%T", N(0)), nil)
	want := map[string]N{"low": 0, "high": 0}
	for i := range 300 {
		for k := range want {
			delta := N(i) / 3
			if k == "low" {
				delta = -delta
			}
			want[k] += delta
			sum, err := Add(m, k, delta)
			require.NoError(t, err)
			require.Equal(t, want[k], sum)
		}
	}
	require.Equal(t, want, contents(t, m))
}

// A failed verb leaves the old value, and what it reserved is free again.
func TestUpdate_Full(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8})
	m := create[string, []byte](t, a, "m", &Options{Capacity: 2000})
	n, err := fill(m, 1000)
	require.ErrorIs(t, err, ErrFull)
	big, before := make([]byte, 20_000), contents(t, m)
	for _, k := range []string{key16(0), "new"} {
		old, there := m.Load(k)
		_, ok, err := m.Swap(k, big)
		require.ErrorIs(t, err, ErrFull)
		require.False(t, ok)
		if v, ok, err := m.LoadOrStore(k, big); there {
			require.Equal(t, outcome{old, true}, got[[]byte](t)(v, ok, err))
		} else {
			require.ErrorIs(t, err, ErrFull)
			require.Nil(t, v)
		}
		ok, err = m.CompareAndSwap(k, old, big)
		require.Equal(t, there, errors.Is(err, ErrFull))
		require.False(t, ok)
		v, ok, err := m.Compute(k, to(big, Store))
		require.ErrorIs(t, err, ErrFull)
		require.Nil(t, v)
		require.False(t, ok)
	}
	require.Equal(t, before, contents(t, m))
	requireFilled(t, m, n, 1000)
	for i := range n {
		v, ok, err := m.LoadAndDelete(key16(i))
		require.NoError(t, err)
		require.True(t, ok)
		require.Len(t, v, 1000)
	}
	again, err := fill(m, 1000)
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, n, again)
}

// The segment is full: only new keys are refused.
func TestUpdate_FullSegment(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	collide(t, 16, &m.table)
	slots := int(bucketSlots * m.plan.most)
	for i := range slots {
		require.Equal(t, outcome{i, false}, got[int](t)(m.LoadOrStore(key16(i), i)))
	}
	before, used := contents(t, m), shmtest.Clean(t, a).UsedBytes
	_, _, err := m.LoadOrStore(key16(slots), 1)
	require.ErrorIs(t, err, ErrFull)
	_, _, err = m.Swap(key16(slots), 1)
	require.ErrorIs(t, err, ErrFull)
	_, _, err = m.Compute(key16(slots), to(1, Store))
	require.ErrorIs(t, err, ErrFull)
	sum, err := Add(m, key16(slots), 1)
	require.ErrorIs(t, err, ErrFull)
	require.Zero(t, sum)
	loaded, err := m.Fetch(t.Context(), key16(slots), func(context.Context, string) (int, error) { return 9, nil }, nil)
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, 9, loaded)
	require.False(t, yes(t)(m.CompareAndSwap(key16(slots), 0, 1)))
	require.False(t, m.Contains(key16(slots)))
	require.Equal(t, before, contents(t, m))
	require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)

	last := key16(slots - 1)
	require.Equal(t, outcome{slots - 1, true}, got[int](t)(m.Swap(last, 1)))
	require.Equal(t, outcome{2, true}, got[int](t)(m.Compute(last, to(2, Store))))
	require.True(t, yes(t)(m.CompareAndSwap(last, 2, 3)))
	sum, err = Add(m, last, 4)
	require.NoError(t, err)
	require.Equal(t, 7, sum)
	require.True(t, m.freeSpares(0))
	require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)
}

func TestUpdate_TooLarge(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	long := string(make([]byte, keyLimit+1))
	require.False(t, m.Contains(long))
	refusesUpdates(t, m, long, 1, ErrTooLarge)
	_, err := Add(m, long, 1)
	require.ErrorIs(t, err, ErrTooLarge)
}

// refusesUpdates sees every verb refused, whether k is there or not.
func refusesUpdates[K comparable, V any](t *testing.T, m verbal[K, V], k K, v V, why error) {
	t.Helper()
	var none V
	refused := func(got V, ok bool, err error) {
		t.Helper()
		require.ErrorIs(t, err, why)
		require.False(t, ok)
		require.Equal(t, none, got)
	}
	refused(m.LoadOrStore(k, v))
	refused(m.Swap(k, v))
	refused(m.LoadAndDelete(k))
	for _, what := range []Action{Cancel, Store, Delete} {
		refused(m.Compute(k, func(V, bool) (V, Action) {
			t.Fatal("the function was called")
			return v, what
		}))
	}
	for _, x := range []V{v, none} {
		ok, err := m.CompareAndSwap(k, x, v)
		refused(none, ok, err)
		ok, err = m.CompareAndDelete(k, x)
		refused(none, ok, err)
	}
}

// A read-only arena refuses every verb that may write, whether it would or not.
func TestUpdate_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 7))
	r := open[string, int](t, again(t, a), "m")
	require.True(t, r.Contains("k"))
	require.False(t, r.Contains("l"))
	require.Equal(t, []string{"k"}, slices.Collect(r.Keys()))
	require.Equal(t, []int{7}, slices.Collect(r.Values()))
	for _, k := range []string{"k", "l"} {
		refusesUpdates(t, r, k, 7, ErrReadOnly)
		_, err := Add(r, k, 1)
		require.ErrorIs(t, err, ErrReadOnly)
	}
	require.Equal(t, map[string]int{"k": 7}, contents(t, m))
}

func TestUpdate_Ended(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := create[string, int](t, a, "m", nil)
		closed, late, far := open[string, int](t, a, "m"), open[string, int](t, a, "m"), open[string, int](t, b, "m")
		require.NoError(t, m.Store("k", 7))
		ended := func(m *Map[string, int], why error) {
			t.Helper()
			require.False(t, m.Contains("k"))
			require.Empty(t, slices.Collect(m.Keys()))
			require.Empty(t, slices.Collect(m.Values()))
			for _, k := range []string{"k", "l"} {
				refusesUpdates(t, m, k, 7, why)
				_, err := Add(m, k, 1)
				require.ErrorIs(t, err, why)
			}
		}
		require.NoError(t, closed.Close())
		ended(closed, ErrClosed)
		was := late.open.Swap(shut) // what Close does first
		ended(late, ErrClosed)
		late.open.Store(was)
		require.Equal(t, map[string]int{"k": 7}, contents(t, m))
		require.NoError(t, a.Remove("m"))
		for _, m := range []*Map[string, int]{m, late, far} {
			ended(m, ErrRemoved)
		}
	})
}

func TestUpdate_ArenaClosed(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 7))
	require.NoError(t, a.Close())
	require.False(t, m.Contains("k"))
	refusesUpdates(t, m, "k", 7, ErrClosed)
	_, err := Add(m, "k", 1)
	require.ErrorIs(t, err, ErrClosed)
}

// An entry that can't be is an error, not an absent key, and ends every verb.
func TestUpdate_Damaged(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m, err := Create[string, int](a, "m", nil)
	require.NoError(t, err)
	require.NoError(t, m.Store("k", 7))
	head, err := m.floor.View.Slice(entryOf(t, &m.table, "k"), 8)
	require.NoError(t, err)
	head[4] = 200 // the length of the value
	for range 2 {
		refusesUpdates(t, m, "k", 7, ErrCorrupt)
		_, err = Add(m, "k", 1)
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.False(t, m.Contains("k"))
	require.ErrorIs(t, m.Err(), ErrCorrupt)
}

// What happens between the look without lock and the one under it. A function
// of Compute is a place to make it happen.
func TestUpdate_ComputeBeside(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	collide(t, 16, &m.table) // hot and cold share a bucket
	f := create[string, int](t, a, "f", nil)
	collide(t, 16, &f.table)
	require.NoError(t, m.Store(hot, []byte{1}))
	require.NoError(t, f.Store(hot, 1))

	// Each time, meanwhile happens in the first call.
	computes := func(meanwhile func()) (seen []int) {
		v, ok, err := m.Compute(hot, func(old []byte, ok bool) ([]byte, Action) {
			if len(seen) == 0 {
				meanwhile()
			}
			seen = append(seen, -1)
			if ok {
				seen[len(seen)-1] = int(old[0])
				old[0]++ // in place
				return old, Store
			}
			return []byte{100}, Store
		})
		require.NoError(t, err)
		require.True(t, ok)
		now, _ := m.Load(hot)
		require.Equal(t, now, v)
		return append(seen, int(now[0]))
	}
	store := func(k string, v byte) func() {
		return func() { require.NoError(t, m.Store(k, []byte{v})) }
	}
	require.Equal(t, []int{1, 2}, computes(func() {}))
	require.Equal(t, []int{2, 50, 51}, computes(store(hot, 50)))
	require.Equal(t, []int{51, 52, 53}, computes(store(hot, 52)), "what f has made of its copy is not what it was given")
	require.Equal(t, []int{53, 54}, computes(store(cold, 9)), "another key of the bucket does not count")
	require.Equal(t, []int{54, 55}, computes(func() { store(hot, 9)(); store(hot, 54)() }), "nor a value that is back")
	require.Equal(t, []int{55, -1, 100}, computes(func() { _, _ = m.Delete(hot) }))
	_, _ = m.Delete(hot)
	require.Equal(t, []int{-1, 100}, computes(func() {}))
	_, _ = m.Delete(hot)
	require.Equal(t, []int{-1, 5, 6}, computes(store(hot, 5)))
	_, _ = m.Delete(hot)
	require.Equal(t, []int{-1, 100}, computes(func() { store(hot, 5)(); _, _ = m.Delete(hot) }))

	calls := 0
	sum, ok, err := f.Compute(hot, func(old int, ok bool) (int, Action) {
		if calls++; calls < 4 {
			require.NoError(t, f.Store(hot, old+10))
		}
		require.NoError(t, f.Store(cold, calls))
		return old + 1, Store
	})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 32, sum)
	require.Equal(t, 4, calls)
	_, ok, err = f.Compute(hot, func(old int, ok bool) (int, Action) {
		if calls++; calls == 5 {
			require.NoError(t, f.Store(hot, 1))
		}
		return 0, Delete
	})
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, 6, calls)
	require.Equal(t, map[string]int{cold: 4}, contents(t, f))
}

// A block that was freed and is an entry of the same key again is another value.
func TestUpdate_ComputeReused(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store(hot, 1))
	calls, at, tries := 0, uint64(0), 0
	sum, _, err := m.Compute(hot, func(old int, ok bool) (int, Action) {
		if calls++; calls == 1 {
			at = entryOf(t, &m.table, hot)
			for again := uint64(0); again != at; again = entryOf(t, &m.table, hot) {
				tries++
				require.Less(t, tries, 10_000, "the block is not reused")
				require.NoError(t, m.Store(hot, 1000))
			}
		}
		return old + 1, Store
	})
	require.NoError(t, err)
	require.Equal(t, 2, calls)
	require.Equal(t, 1001, sum)
}

// A function that panics has changed nothing, and nothing is held up by it.
func TestUpdate_ComputePanics(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 1))
	for range 40 { // more than there are records
		require.PanicsWithValue(t, "mine", func() {
			_, _, _ = m.Compute("k", func(int, bool) (int, Action) { panic("mine") })
		})
		require.PanicsWithValue(t, "hashmap: Compute: the function has returned Action(9)", func() {
			_, _, _ = m.Compute("k", to(1, 9))
		})
	}
	require.NoError(t, m.Store("k", 2))
	require.Equal(t, map[string]int{"k": 2}, contents(t, m))
}

// The stack moves while the function runs, and the key with it.
func TestUpdate_ComputeDeep(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[point, sealed](t, a, "m", nil)
	for i := range 20 {
		done := make(chan error)
		go func() { // on a small stack
			_, _, err := m.Compute(point{X: int32(i)}, func(old sealed, ok bool) (sealed, Action) {
				return seal(deep(1000*(i+1)), uint64(i)), Store
			})
			done <- err
		}()
		require.NoError(t, <-done)
		v, ok := m.Load(point{X: int32(i)})
		require.True(t, ok)
		require.Equal(t, seal(0, uint64(i)), v)
	}
}

// deep takes some stack for each of n calls.
func deep(n int) uint64 {
	var frame [16]uint64
	if n > 0 {
		frame[n%16] = deep(n - 1)
	}
	return frame[(n+1)%16]
}

// The key comes, or its value goes, after the look without lock: what was
// reserved is given back, and the answer is what stands under the lock.
func TestUpdate_Late(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	require.NoError(t, m.Store("k", []byte("value")))
	used := shmtest.Clean(t, a).UsedBytes
	w := []byte("longer than what is there")
	for range 50 {
		require.Equal(t, outcome{[]byte("value"), true}, late(t, m, "k", w))
		require.False(t, lateCompare(t, m, "k", w, w))
		require.False(t, lateCompare(t, m, "l", nil, w))
	}
	require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)
	require.Equal(t, map[string][]byte{"k": []byte("value")}, contents(t, m))
}

// late is LoadOrStore of one who has not seen the key.
func late[V any](t *testing.T, m *Map[string, V], k string, v V) outcome {
	key, n := m.key(&k)
	op, ref, err := m.begin(key, n, &v)
	require.NoError(t, err)
	defer op.End()
	var out V
	ok, err := m.exchange(&op, key, n, hashKey(key, n, &m.secrets), ref, true, &out)
	require.NoError(t, err)
	return outcome{out, ok}
}

// lateCompare is CompareAndSwap of one who has seen old.
func lateCompare[V any](t *testing.T, m *Map[string, V], k string, old, v V) bool {
	key, n := m.key(&k)
	op, ref, err := m.begin(key, n, &v)
	require.NoError(t, err)
	defer op.End()
	ok, err := m.changeFrom(&op, key, n, ref, &old)
	require.NoError(t, err)
	return ok
}

func TestUpdate_NoAllocation(t *testing.T) {
	a := shmtest.Named(t, roomy)
	text := create[string, [64]byte](t, a, "text", nil)
	fixed := create[point, sealed](t, a, "fixed", nil)
	raw := create[string, []byte](t, a, "raw", nil)
	count := create[string, int64](t, a, "count", nil)
	v, buffer, p := [64]byte{1}, make([]byte, 900), point{X: 1}
	s := seal(1, 1)
	for _, k := range []string{"k", hot} {
		require.NoError(t, text.Store(k, v))
		require.NoError(t, raw.Store(k, buffer))
	}
	require.NoError(t, fixed.Store(p, s))
	noAllocation(t, "Contains", func() {
		if !text.Contains("k") || !text.Contains(hot) || !raw.Contains("k") || !fixed.Contains(p) || text.Contains("nobody") {
			panic("Contains")
		}
	})
	noAllocation(t, "LoadOrStore", func() {
		_, _, _ = text.LoadOrStore(hot, v)
		_, _, _ = fixed.LoadOrStore(p, s)
		_, _, _ = text.LoadOrStore("new", v)
		_, _ = text.Delete("new")
	})
	noAllocation(t, "Swap", func() {
		_, _, _ = text.Swap("k", v)
		_, _, _ = fixed.Swap(p, s)
	})
	noAllocation(t, "LoadAndDelete", func() {
		_, _, _ = text.LoadAndDelete("k")
		_ = text.Store("k", v)
	})
	noAllocation(t, "CompareAndSwap", func() {
		_, _ = text.CompareAndSwap("k", v, v)
		_, _ = fixed.CompareAndSwap(p, s, s)
		_, _ = raw.CompareAndSwap("k", buffer, buffer)
		_, _ = raw.CompareAndSwap("k", buffer[1:], buffer)
	})
	noAllocation(t, "CompareAndDelete", func() {
		_, _ = text.CompareAndDelete("k", v)
		_, _ = raw.CompareAndDelete("k", buffer)
		_, _ = text.CompareAndDelete("k", v)
		_ = text.Store("k", v)
		_ = raw.Store("k", buffer)
	})
	noAllocation(t, "Compute", func() {
		_, _, _ = text.Compute("k", func(old [64]byte, ok bool) ([64]byte, Action) {
			old[0]++
			return old, Store
		})
		_, _, _ = fixed.Compute(p, func(old sealed, ok bool) (sealed, Action) { return old, Cancel })
	})
	noAllocation(t, "Add", func() { _, _ = Add(count, "k", 1) })
}

// counting runs n goroutines on two attaches, each of which counts rounds times.
func counting(t *testing.T, rounds int, count func(m *Map[string, int64], k string) error) {
	t.Helper()
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(small)
		m := create[string, int64](t, a, "m", &Options{Capacity: 20})
		other := open[string, int64](t, b, "m")
		collide(t, 16, &m.table, &other.table)
		const members = 6
		var all sync.WaitGroup
		errs := make([]error, members)
		for g := range members {
			from := m
			if g%2 == 1 {
				from = other
			}
			all.Go(func() {
				for i := 0; i < rounds && errs[g] == nil; i++ {
					errs[g] = count(from, key16(i%2))
				}
			})
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		want := map[string]int64{key16(0): int64(members * rounds / 2), key16(1): int64(members * rounds / 2)}
		require.Equal(t, want, contents(t, m))
		require.NoError(t, m.Check())
	})
}

func TestRace_Compute(t *testing.T) {
	counting(t, 2000, func(m *Map[string, int64], k string) error {
		_, _, err := m.Compute(k, func(old int64, ok bool) (int64, Action) { return old + 1, Store })
		return err
	})
}

func TestRace_CompareAndSwap(t *testing.T) {
	counting(t, 2000, func(m *Map[string, int64], k string) error {
		for {
			old, loaded, err := m.LoadOrStore(k, 1)
			if !loaded || err != nil {
				return err
			}
			if ok, err := m.CompareAndSwap(k, old, old+1); ok || err != nil {
				return err
			}
		}
	})
}

func TestRace_Add(t *testing.T) {
	counting(t, 2000, func(m *Map[string, int64], k string) error {
		_, err := Add(m, k, 1)
		return err
	})
}

// The sum of what is taken out is the sum of what was put in.
func TestRace_LoadAndDelete(t *testing.T) {
	counting(t, 2000, func(m *Map[string, int64], k string) error {
		taken, _, err := m.LoadAndDelete(k)
		if err == nil {
			_, err = Add(m, k, taken+1)
		}
		return err
	})
}

// What one swaps out another has put in: nothing is lost, nothing comes twice.
func TestRace_Swap(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(small)
		m := create[string, []byte](t, a, "m", &Options{Capacity: 20})
		handles := []*Map[string, []byte]{m, open[string, []byte](t, b, "m")}
		const members, rounds = 6, 1000
		out := make([][]string, members)
		errs := make([]error, members)
		var all sync.WaitGroup
		for g := range members {
			all.Go(func() {
				for i := 0; i < rounds && errs[g] == nil; i++ {
					mine := fmt.Sprintf("%d:%d:%s", g, i, textOf(i%40, 0)) // of all lengths: larger ones come between
					old, ok, err := handles[g%2].Swap("k", []byte(mine))
					if errs[g] = err; ok {
						out[g] = append(out[g], string(old))
					}
				}
			})
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		last, ok := m.Load("k")
		require.True(t, ok)
		seen := map[string]bool{string(last): true}
		for _, o := range slices.Concat(out...) {
			require.False(t, seen[o], "%q came twice", o)
			seen[o] = true
		}
		require.Len(t, seen, members*rounds)
	})
}

// Of many that store a key which is not there one does, and all return its
// value.
func TestRace_LoadOrStore(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(small)
		m := create[string, []byte](t, a, "m", &Options{Capacity: 20})
		handles := []*Map[string, []byte]{m, open[string, []byte](t, b, "m")}
		const members = 8
		for round := range 300 {
			var all sync.WaitGroup
			var values [members]string
			var loaded [members]bool
			var errs [members]error
			start := make(chan struct{})
			for g := range members {
				all.Go(func() {
					<-start
					v, ok, err := handles[g%2].LoadOrStore("k", fmt.Appendf(nil, "%d of round %d", g, round))
					values[g], loaded[g], errs[g] = string(v), ok, err
				})
			}
			close(start)
			all.Wait()
			require.NoError(t, errors.Join(errs[:]...))
			now, ok := m.Load("k")
			require.True(t, ok)
			stored := 0
			for g, v := range values {
				require.Equal(t, string(now), v)
				if !loaded[g] {
					stored++
					require.Equal(t, fmt.Sprintf("%d of round %d", g, round), v)
				}
			}
			require.Equal(t, 1, stored)
			require.True(t, yes(t)(m.CompareAndDelete("k", now)))
		}
		require.Zero(t, m.Len())
	})
}

// A key whose value never changes always compares equal, though its blocks are
// freed and become those of other values all the time: the answer no must have
// been true.
func TestRace_CompareStable(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 120 << 10, Processes: 4, Objects: 8})
		m := create[uint64, large](t, a, "m", &Options{Capacity: 20})
		other := open[uint64, large](t, b, "m")
		value := *sealLarge(0, 0)
		value[len(value)-1] = 7 // a comparison takes long
		require.NoError(t, m.Store(0, value))
		roomless := func(err error) error {
			if errors.Is(err, ErrFull) {
				return nil
			}
			return err
		}
		same := func(*rand.Rand) error {
			if ok, err := other.CompareAndSwap(0, value, value); err != nil || !ok {
				return errors.Join(roomless(err), unless(ok || err != nil, "key 0 compares unequal"))
			}
			return nil
		}
		computed := func(*rand.Rand) error {
			v, ok, err := m.Compute(0, func(v large, ok bool) (large, Action) { return v, Cancel })
			return errors.Join(err, unless(ok && v == value, "key 0 is torn"))
		}
		churn := func(r *rand.Rand) error {
			k := 1 + r.Uint64N(2)
			if _, err := m.Delete(k); err != nil {
				return err
			}
			return roomless(m.Store(k, *sealLarge(k, r.Uint64()>>32)))
		}
		crowd(t, 400*time.Millisecond, same, computed, churn)
	})
}

func unless(ok bool, text string) error {
	if ok {
		return nil
	}
	return errors.New(text)
}
