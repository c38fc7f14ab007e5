package hashmap

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

// scanAll scans from the beginning to the end and calls between after each call.
func scanAll[K comparable, V any](t testing.TB, m *Map[K, V], n int, between func(calls int)) map[K]V {
	t.Helper()
	all := make(map[K]V)
	var cursor Cursor
	for calls := 1; ; calls++ {
		entries, next, err := m.Scan(cursor, n)
		require.NoError(t, err)
		for _, e := range entries {
			_, twice := all[e.Key]
			require.False(t, twice, "key %v was returned twice", e.Key)
			all[e.Key] = e.Value
		}
		if next == 0 {
			return all
		}
		require.GreaterOrEqual(t, len(entries), n)
		require.Greater(t, next, cursor, "in the order of hashes")
		cursor = next
		between(calls)
	}
}

func TestMap_Scan(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[string, []byte](t, a, "m", &Options{Capacity: 10})
		other := open[string, []byte](t, b, "m")
		require.Empty(t, scanAll(t, other, 10, func(int) {}))
		want := make(map[string][]byte)
		for i := range 5000 {
			want[key16(i)] = fmt.Append(nil, i)
			require.NoError(t, m.Store(key16(i), want[key16(i)]))
		}
		for _, n := range []int{-1, 1, 100, 4999, 5000, 1 << 40} {
			calls := 0
			require.Equal(t, want, scanAll(t, other, n, func(int) { calls++ }))
			require.Less(t, calls, 5000/max(n, 1)+1)
		}
	})
}

// A scan goes on in other handles, one of them read-only, while the map grows
// between the calls: by several depths, so that cursors and segments differ.
func TestMap_ScanAcrossSplits(t *testing.T) {
	for _, first := range []int{60, 400, 3000} {
		a := shmtest.Named(t, spacious)
		m := create[uint64, uint64](t, a, "m", &Options{Capacity: first})
		m.plan.most = min(m.plan.most, 31) // many segments
		handles := []*Map[uint64, uint64]{m, open[uint64, uint64](t, again(t, a), "m")}
		for k := range uint64(first) {
			require.NoError(t, m.Store(k, k))
		}
		bits := m.dir.Load().Bits
		more := uint64(1 << 20)
		var cursor Cursor
		seen := make(map[uint64]int)
		for calls := 0; ; calls++ {
			entries, next, err := handles[calls%2].Scan(cursor, 1+first/50)
			require.NoError(t, err)
			for _, e := range entries {
				seen[e.Key]++
			}
			if cursor = next; cursor == 0 {
				break
			}
			for i := uint64(0); calls < 12 && i < 2000; i++ {
				more++
				require.NoError(t, m.Store(more, 0))
			}
		}
		require.Greater(t, m.dir.Load().Bits, bits)
		for k := range uint64(first) {
			require.Equal(t, 1, seen[k], "key %d of %d", k, first)
		}
		for k, times := range seen {
			require.Equal(t, 1, times, "key %d of %d", k, first)
		}
	}
}

// Beside writers, and splits under the calls.
func TestMap_ScanBesideWriters(t *testing.T) {
	o := *spacious
	seg := shmtest.Segment(t, &o)
	m := create[uint64, sealed](t, shmtest.OnSegment(t, seg, &o), "m", &Options{Capacity: 1})
	const kept = 500
	for k := range uint64(kept) {
		require.NoError(t, m.Store(k, seal(k, 0)))
	}
	var stop atomic.Bool
	var writers sync.WaitGroup
	defer func() { stop.Store(true); writers.Wait() }()
	w := open[uint64, sealed](t, shmtest.OnSegment(t, seg, &o), "m")
	writers.Go(func() {
		for n := uint64(0); !stop.Load(); n++ {
			k := n % kept
			if n%2 == 0 {
				k = 1000 + n%20_000
			}
			if err := w.Store(k, seal(k, n)); err != nil {
				t.Error(err)
				return
			}
			if n%3 == 0 {
				if _, err := w.Delete(1000 + rand.Uint64N(20_000)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
		seen := make(map[uint64]int)
		var cursor Cursor
		for more := true; more; more = cursor != 0 {
			entries, next, err := m.Scan(cursor, 100)
			require.NoError(t, err)
			for _, e := range entries {
				require.True(t, e.Value.whole(e.Key), "key %d", e.Key)
				seen[e.Key]++
			}
			cursor = next
		}
		for k := range uint64(kept) {
			require.Equal(t, 1, seen[k])
		}
	}
}

// An exchange ends a scan, at each place, and leads on at the same place.
func TestMap_ScanReplaced(t *testing.T) {
	for _, smaller := range []bool{false, true} {
		a := shmtest.Heap(t, spacious)
		m := create[uint64, pair](t, a, "m", &Options{Capacity: 1})
		contents := [2]map[uint64]pair{make(map[uint64]pair), make(map[uint64]pair)}
		for k := range uint64(3000) {
			contents[0][k] = pair{1, k}
			if !smaller || k < 20 {
				contents[1][k] = pair{2, k}
			}
		}
		require.NoError(t, m.ReplaceAll(maps.All(contents[0])))
		seen := make(map[uint64]uint64)
		var cursor Cursor
		for calls := 0; ; calls++ {
			if calls == 3 {
				require.NoError(t, m.ReplaceAll(maps.All(contents[1])))
				entries, next, err := m.Scan(cursor, 100)
				require.ErrorIs(t, err, ErrReplaced)
				require.Empty(t, entries)
				require.Equal(t, cursor>>cursorEnd, next>>cursorEnd)
				cursor = next
			}
			entries, next, err := m.Scan(cursor, 100)
			require.NoError(t, err)
			for _, e := range entries {
				require.NotContains(t, seen, e.Key)
				seen[e.Key] = e.Value[0]
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		for k := range contents[1] {
			require.Contains(t, seen, k, "a key of both contents")
		}
	}
}

type pair [2]uint64

func TestMap_ScanCursor(t *testing.T) {
	a := shmtest.Named(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Capacity: 2000})
	for k := range uint64(2000) {
		require.NoError(t, m.Store(k, k))
	}
	_, cursor, err := m.Scan(0, 1)
	require.NoError(t, err)
	require.NotZero(t, cursor)
	for _, c := range []Cursor{1, anew, cursor ^ 1, cursor & cursorPart, ^Cursor(0)} {
		_, next, err := m.Scan(c, 1)
		require.ErrorIs(t, err, ErrCursor, "%#x", c)
		require.Equal(t, c, next)
	}
	first, after, err := m.Scan(cursor, 1)
	require.NoError(t, err)
	second, twice, err := open[uint64, uint64](t, again(t, a), "m").Scan(cursor, 1)
	require.NoError(t, err)
	require.Equal(t, first, second, "used twice")
	require.Equal(t, after, twice)

	require.NoError(t, a.Remove("m"))
	_, next, err := m.Scan(cursor, 1)
	require.ErrorIs(t, err, ErrRemoved)
	require.Equal(t, cursor, next)
	fresh := create[uint64, uint64](t, a, "m", &Options{Capacity: 2000})
	_, _, err = fresh.Scan(cursor, 1)
	require.ErrorIs(t, err, ErrCursor, "another map of that name")
	require.NoError(t, fresh.Close())
	_, _, err = fresh.Scan(0, 1)
	require.ErrorIs(t, err, ErrClosed)
}

// An iteration yields entries of one content, wherever it is exchanged, and if
// nobody waits for it, says that it has ended early.
func TestMap_RangeReplaced(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[uint64, uint64](t, a, "m", &Options{Capacity: 300})
		other := open[uint64, uint64](t, b, "m")
		m.keepFor = atOnce
		for at := range 300 {
			require.NoError(t, m.ReplaceAll(maps.All(numbered(300, 0))))
			n := 0
			err := other.Range(func(_, v uint64) bool {
				if n++; n == at {
					require.NoError(t, m.ReplaceAll(maps.All(numbered(300, 1))))
				}
				require.Zero(t, v)
				return true
			})
			if err == nil {
				require.Equal(t, 300, n)
			} else { // perhaps with nothing left but buckets that are empty
				require.ErrorIs(t, err, ErrReplaced)
				require.NotZero(t, at)
			}
			n = 0
			require.NoError(t, other.Range(func(uint64, uint64) bool { n++; return n < 7 }))
			require.Equal(t, 7, n)
		}
	})
}

// numbered is a content of n keys that all have one value.
func numbered(n, version uint64) map[uint64]uint64 {
	all := make(map[uint64]uint64)
	for k := range n {
		all[k] = version
	}
	return all
}

// atOnce is for exchanges that keep nothing.
func atOnce(uint64) time.Duration { return 0 }

// exchange clears m, and returns when the new content is there. The old one is kept
// until end is called, which returns when it was taken down.
func exchange[K comparable, V any](t *testing.T, m *Map[K, V]) (end func()) {
	t.Helper()
	exchanged, goOn, done := make(chan bool), make(chan bool), make(chan error)
	m.keepFor = func(uint64) time.Duration {
		close(exchanged)
		<-goOn
		return 0
	}
	go func() { done <- m.Clear() }()
	<-exchanged
	return func() {
		t.Helper()
		close(goOn)
		require.NoError(t, <-done)
		m.keepFor = atOnce
	}
}

// An iteration has its content to the end, wherever that is exchanged, while it is
// kept: over a read-only mapping too.
func TestMap_RangeKeepsContent(t *testing.T) {
	_, m, others := exchangeable(t)
	for _, other := range others {
		for at := 1; at <= 300; at += 13 {
			require.NoError(t, m.ReplaceAll(maps.All(numbered(300, 0))))
			got := make(map[uint64]uint64)
			var end func()
			require.NoError(t, other.Range(func(k, v uint64) bool {
				if got[k] = v; len(got) == at {
					end = exchange(t, m)
				}
				return true
			}))
			require.Equal(t, numbered(300, 0), got)
			require.True(t, m.hasOld())
			end()
			require.Zero(t, m.Len())
			require.False(t, m.hasOld())
		}
	}
}

// What is read of an old content while that is taken down is not believed, though
// nothing was written to its bucket: not as entries, and not as damage.
func TestMap_TakenDownUnderRange(t *testing.T) {
	a, m, others := exchangeable(t)
	text := create[string, []byte](t, a, "text", &Options{Capacity: 2000})
	for what, reuse := range map[string]func() error{
		"alike": func() error {
			return second(m.StoreAll(maps.All(numbered(120, 1)))) // too few for a split
		},
		"of other sizes": func() error {
			for i := range 400 {
				if err := text.Store(fmt.Sprintf("k%03d", i), []byte("12345678")); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			for _, other := range others {
				for at := range 250 {
					takenDownAt(t, m, other, at, reuse)
				}
			}
		})
	}
}

// takenDownAt has the content of m exchanged at the entry of a number in a walk of
// another attach, and taken down when that next reads one.
func takenDownAt(t *testing.T, m, other *Map[uint64, uint64], at int, reuse func() error) {
	require.NoError(t, m.ReplaceAll(maps.All(numbered(300, 0))))
	n, happened, end := 0, new(bool), func() {}
	err := other.Range(func(_, v uint64) bool {
		require.Zero(t, v)
		switch n++; n {
		case at + 1:
			end = exchange(t, m)
		case at + 1 + bucketSlots: // the walk has met the exchange
			happened = meanwhile(&other.table, beforeHead, 0, func() {
				end()
				require.NoError(t, reuse())
			})
		}
		return true
	})
	require.True(t, *happened)
	require.ErrorIs(t, err, ErrReplaced)
	require.NoError(t, other.Err())
}

// exchangeable returns a map to be exchanged, and other attaches to it, one of them
// read-only.
func exchangeable(t *testing.T) (a *arena.Arena, m *Map[uint64, uint64], others []*Map[uint64, uint64]) {
	seg := shmtest.Segment(t, spacious)
	o := *spacious
	o.ReadOnly = true
	a = shmtest.OnSegment(t, seg, spacious)
	m = create[uint64, uint64](t, a, "m", &Options{Capacity: 300})
	m.keepFor = atOnce
	for _, o := range []*arena.Options{spacious, &o} {
		others = append(others, open[uint64, uint64](t, shmtest.OnSegment(t, seg, o), "m"))
	}
	return a, m, others
}

// What an old content takes is had by a write that finds no room, though it is kept.
func TestMap_OldContentIsWanted(t *testing.T) {
	seg := shmtest.Segment(t, small)
	m := create[string, []byte](t, shmtest.OnSegment(t, seg, small), "m", nil)
	other := open[string, []byte](t, shmtest.OnSegment(t, seg, small), "m")
	fill := func(most int) (n int) {
		for ; n < most && other.Store(fmt.Sprint(n), make([]byte, 1000)) == nil; n++ {
		}
		return n
	}
	m.keepFor = atOnce
	n := fill(math.MaxInt)
	for i := range n {
		_, err := m.Delete(fmt.Sprint(i))
		require.NoError(t, err)
	}
	require.Equal(t, n*3/4, fill(n*3/4)) // the new tree needs room, too
	exchanged, done := make(chan bool), make(chan error, 1)
	m.keepFor = func(uint64) time.Duration {
		close(exchanged)
		for limit := time.Now().Add(10 * time.Second); m.news.wanted.Load() == 0 && time.Now().Before(limit); { // before it begins to keep it
			runtime.Gosched()
		}
		return time.Minute
	}
	go func() { done <- m.Clear() }()
	<-exchanged
	got := fill(n * 3 / 4)
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.FailNow(t, "who keeps it has not heard that it is wanted")
	}
	if got < n/2 { // he was slow to hear
		got = fill(n * 3 / 4)
	}
	require.GreaterOrEqual(t, got, n/2)
}

// Who keeps an old content may be stopped: then what wants its memory is refused, and
// does not wait for ever.
func TestMap_KeeperStopped(t *testing.T) {
	seg := shmtest.Segment(t, small)
	m := create[string, []byte](t, shmtest.OnSegment(t, seg, small), "m", nil)
	other := open[string, []byte](t, shmtest.OnSegment(t, seg, small), "m")
	fill := func() (n int) {
		for ; ; n++ {
			if err := other.Store(fmt.Sprint(n), make([]byte, 1000)); err != nil {
				require.ErrorIs(t, err, ErrFull)
				return n
			}
		}
	}
	for i := range fill() / 4 { // the new tree needs room, too
		require.True(t, yes(t)(m.Delete(fmt.Sprint(i))))
	}
	end := exchange(t, m) // he is stopped here
	fill()
	end()
	require.NoError(t, other.Store("k", make([]byte, 1000)))
}

func TestKeepTime(t *testing.T) {
	for n, want := range map[uint64]time.Duration{
		0: 0, 1: time.Millisecond, 5000: 5 * time.Millisecond, 1 << 40: 100 * time.Millisecond,
	} {
		require.Equal(t, want, keepTime(n), "%d entries", n)
	}
}

// An old content that somebody has begun to take down, or that two exchanges lie
// behind, is not walked over any more.
func TestMap_OldContent(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", nil)
	require.NoError(t, m.ReplaceAll(maps.All(numbered(300, 0))))
	version, gone := m.version.Load(), m.news.gone.Load()
	for what, c := range map[string]struct {
		version, gone uint64
		want          error
	}{
		"exchanged once":  {version + tree.OneExchange, gone, nil},
		"exchanged twice": {version + 2*tree.OneExchange, gone, ErrReplaced},
		"taken down":      {version + tree.OneExchange, tree.EpochOf(version), ErrReplaced},
		"and once more":   {version + 2*tree.OneExchange, tree.EpochOf(version) + 1, ErrReplaced},
	} {
		n := 0
		err := m.Range(func(uint64, uint64) bool {
			if n++; n == 100 { // as if, with the tree still there
				m.news.gone.Store(c.gone)
				m.version.Store(c.version)
			}
			return true
		})
		m.version.Store(version)
		m.news.gone.Store(gone)
		require.ErrorIs(t, err, c.want, what)
		if c.want == nil {
			require.Equal(t, 300, n)
		}
	}
}

// Contents come and go while Snapshot, All and Scan look: each has all of one.
func TestMap_OneContent(t *testing.T) {
	o := *spacious
	seg := shmtest.Segment(t, &o)
	writer := create[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m", &Options{Capacity: 1})
	size := func(version uint64) int { return int(50 + version%7*100) }
	replace := func(version uint64) error {
		return writer.ReplaceAll(func(yield func(uint64, uint64) bool) {
			for k := 0; k < size(version) && yield(uint64(k), version); k++ {
			}
		})
	}
	require.NoError(t, replace(0))
	var stop atomic.Bool
	var all sync.WaitGroup
	defer func() { stop.Store(true); all.Wait() }()
	all.Go(func() {
		for version := uint64(1); !stop.Load(); version++ {
			if err := replace(version); err != nil {
				t.Error(err)
				return
			}
		}
	})
	r, err := arena.Attach(seg, &arena.Options{ReadOnly: true})
	require.NoError(t, err)
	defer r.Close()
	handles := []*Map[uint64, uint64]{
		open[uint64, uint64](t, shmtest.OnSegment(t, seg, &o), "m"), open[uint64, uint64](t, r, "m"),
	}
	replaced := 0
	start := time.Now()
	for i := 0; time.Since(start) < 500*time.Millisecond; i++ {
		m := handles[i%2]
		got, err := m.Snapshot()
		if i%2 == 1 && err != nil {
			require.ErrorIs(t, err, ErrReplaced)
			replaced++
			continue
		}
		require.NoError(t, err)
		require.Len(t, got, size(got[0]))
		versions := make(map[uint64]bool)
		for _, v := range got {
			versions[v] = true
		}
		require.Len(t, versions, 1)
		clear(versions)
		n := 0
		err = m.Range(func(_, v uint64) bool {
			versions[v] = true
			n++
			return true
		})
		require.LessOrEqual(t, len(versions), 1)
		for v := range versions {
			if err == nil {
				require.Equal(t, size(v), n)
			} else { // perhaps after the last entry
				require.ErrorIs(t, err, ErrReplaced)
				require.LessOrEqual(t, n, size(v))
			}
		}
	}
	t.Logf("%d snapshots of a read-only attach in vain", replaced)
}

// Others exchange the content faster than it is read: a writable attach gets its
// snapshot all the same, a read-only one says that it did not.
func TestMap_SnapshotHoldsExchangesUp(t *testing.T) {
	a := shmtest.Named(t, spacious)
	m := create[uint64, uint64](t, a, "m", &Options{Capacity: 20_000})
	for k := range uint64(20_000) {
		require.NoError(t, m.Store(k, k))
	}
	reader := open[uint64, uint64](t, again(t, a), "m")
	var stop atomic.Bool
	var exchanges sync.WaitGroup
	defer func() { stop.Store(true); exchanges.Wait() }()
	exchanges.Go(func() {
		for !stop.Load() {
			if m.tree.Swap().TryLock(m.floor.Owner) {
				m.version.Store(m.version.Load() + 2<<40) // as two exchanges do
				m.tree.Swap().Unlock()
			}
			time.Sleep(10 * time.Microsecond)
		}
	})
	for start, vain := time.Now(), 0; vain < 5; {
		require.Less(t, time.Since(start), 20*time.Second)
		if _, err := reader.Snapshot(); err != nil {
			require.ErrorIs(t, err, ErrReplaced)
			vain++
		}
		got, err := m.Snapshot()
		require.NoError(t, err)
		require.Len(t, got, 20_000)
	}
}

func TestMap_Snapshot(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[string, []byte](t, a, "m", nil)
		other := open[string, []byte](t, b, "m")
		got, err := other.Snapshot()
		require.NoError(t, err)
		require.Empty(t, got)
		want := make(map[string][]byte)
		for i := range 3000 {
			want[fmt.Sprint(i)] = []byte(strings.Repeat("x", i%50))
			require.NoError(t, m.Store(fmt.Sprint(i), want[fmt.Sprint(i)]))
		}
		got, err = other.Snapshot()
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, other.Close())
		_, err = other.Snapshot()
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, a.Remove("m"))
		_, err = m.Snapshot()
		require.ErrorIs(t, err, ErrRemoved)
		require.ErrorIs(t, m.Range(func(string, []byte) bool { return true }), ErrRemoved)
	})
}

func TestMap_AllPrefix(t *testing.T) {
	type name string
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		m := create[name, []byte](t, a, "m", &Options{Capacity: 1})
		other := open[name, []byte](t, b, "m")
		want := make(map[name][]byte)
		for i := range 3000 {
			k := name(strings.Repeat("abcdefghijklmnopqrstuvwxyz", 2)[:i%30] + fmt.Sprint(i))
			want[k] = fmt.Append(nil, i)
			require.NoError(t, m.Store(k, want[k]))
		}
		require.NoError(t, m.Store("", nil))
		want[""] = []byte{}
		for _, prefix := range []string{"", "a", "ab", "abc1", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmnopqr", "abcdefghijklmnopq1", "x", "abcdefgx", "2999", strings.Repeat("abcdefghijklmnopqrstuvwxyz", 4)} {
			matching := maps.Collect(maps.All(want))
			maps.DeleteFunc(matching, func(k name, _ []byte) bool { return !strings.HasPrefix(string(k), prefix) })
			require.Equal(t, matching, maps.Collect(other.AllPrefix(prefix)), "%q", prefix)
		}
		n := 0
		require.NoError(t, other.RangePrefix("ab", func(name, []byte) bool { n++; return n < 3 }))
		require.Equal(t, 3, n)
	})
}

func TestMap_AllPrefixAllocs(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[string, []byte](t, a, "m", nil)
	for i := range 2000 {
		require.NoError(t, m.Store(key16(i), make([]byte, 100)))
	}
	allocs := testing.AllocsPerRun(10, func() {
		for k := range m.AllPrefix(key16(0)[:4] + "no such") {
			t.Fatal(k)
		}
	})
	require.Less(t, allocs, 20.0)
	require.Panics(t, func() { create[int, int](t, a, "n", nil).AllPrefix("x")(nil) })
}

// A key that does not match costs no memory either when its segment is replaced.
func TestMap_AllPrefixAcrossSplits(t *testing.T) {
	a := shmtest.Heap(t, spacious)
	m := create[string, int](t, a, "m", &Options{Capacity: 1})
	for i := range 60 {
		require.NoError(t, m.Store(fmt.Sprintf("%c%d", 'a'+i%2, i), i))
	}
	seen := make(map[string]int)
	for k := range m.AllPrefix("a") {
		if seen[k]++; len(seen) == 10 {
			for i := range 2000 {
				require.NoError(t, m.Store(fmt.Sprintf("%c%d", 'b'+i%2, 1000+i), i))
			}
		}
	}
	require.Len(t, seen, 30)
	for k, n := range seen {
		require.Equal(t, 1, n, k)
	}
	require.NotZero(t, tree.EpochOf(m.version.Load()))
}
