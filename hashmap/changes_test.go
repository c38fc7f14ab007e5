package hashmap

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// asleep returns when a goroutine of the handle has the turn, and has said so.
func asleep(tb *table) {
	for taken, _ := tb.waits.turn.State(); !taken || tb.floor.Pool != nil && tb.news.awaited.Load() == 0; taken, _ = tb.waits.turn.State() {
		runtime.Gosched()
	}
}

// Every change raises the version, and nothing else does.
func TestVersion(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	require.NotZero(t, m.Version())
	last := m.Version()
	expect := func(raised bool, what string) {
		t.Helper()
		now := m.Version()
		if raised {
			require.Greater(t, now, last, what)
		} else {
			require.Equal(t, last, now, what)
		}
		last = now
	}
	err := func(_ any, err error) error { return err }
	require.NoError(t, m.Store("k", 1))
	expect(true, "Store")
	require.NoError(t, m.Store("k", 1))
	expect(true, "Store of the same")
	m.Load("k")
	m.Load("nothing")
	require.NoError(t, err(m.Delete("nothing")))
	require.NoError(t, err(m.CompareAndSwap("k", 7, 8)))
	expect(false, "nothing was changed")
	require.NoError(t, err(m.CompareAndSwap("k", 1, 2)))
	expect(true, "CompareAndSwap")
	require.NoError(t, err(Add(m, "k", 1)))
	expect(true, "Add")
	require.NoError(t, err(m.Expire("k", time.Hour)))
	expect(true, "Expire")
	require.NoError(t, err(m.Delete("k")))
	expect(true, "Delete")
	require.NoError(t, m.Clear())
	expect(true, "Clear")
	require.NoError(t, m.ReplaceAll(maps.All(map[string]int{"a": 1})))
	expect(true, "ReplaceAll")
	for i := range 4000 {
		require.NoError(t, m.Store(key16(i), i))
	}
	s, failed := m.Stats()
	require.NoError(t, failed)
	require.NotZero(t, s.Growths)
	require.EqualValues(t, 4000, m.Version()-last, "growth is no change")
	require.NoError(t, m.Close())
	require.Zero(t, m.Version())
}

// Who waits is woken by another attach, of the map and of a key; also who waits
// behind another goroutine, and who has the arena read-only.
func TestWaitChange(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		m := create[string, int](t, a, "m", nil)
		other := open[string, int](t, b, "m")
		require.NoError(t, m.Store("k", 0))
		v, err := other.WaitChange(soon(t), 0)
		require.NoError(t, err)
		require.Equal(t, other.Version(), v)
		for round := range 20 {
			since := other.Version()
			x, key, ok := other.LoadVersion("k")
			require.True(t, ok)
			require.Equal(t, round, x)
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					if i%2 == 0 {
						version, err := other.WaitChange(soon(t), since)
						require.NoError(t, err)
						require.Greater(t, version, since)
						return
					}
					require.NoError(t, other.WaitKey(soon(t), "k", key))
					require.NotEqual(t, key, other.KeyVersion("k"))
				})
			}
			if round%2 == 0 {
				asleep(&other.table)
			}
			require.NoError(t, m.Store("k", round+1))
			all.Wait()
		}
	})
}

// Every kind of change wakes.
func TestWaitChange_Kinds(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := create[string, int](t, a, "m", nil)
	for what, change := range map[string]func() error{
		"delete":      func() error { return second(m.Delete("k")) },
		"expire":      func() error { return second(m.Expire("k", time.Hour)) },
		"clear":       func() error { return m.Clear() },
		"replace all": func() error { return m.ReplaceAll(maps.All(map[string]int{"k": 5})) },
		"new":         func() error { return m.Store("new", 1) },
	} {
		t.Run(what, func(t *testing.T) {
			require.NoError(t, m.Store("k", 0))
			since, key := m.Version(), m.KeyVersion("k")
			done := make(chan error, 2)
			go func() { done <- second(m.WaitChange(soon(t), since)) }()
			if what == "new" {
				done <- nil
			} else {
				go func() { done <- m.WaitKey(soon(t), "k", key) }()
			}
			asleep(&m.table)
			require.NoError(t, change())
			require.NoError(t, errors.Join(<-done, <-done))
		})
	}
}

// A key that is not there has a version, which its first Store changes; one that
// expires has another one.
func TestWaitKey(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	_, none, ok := m.LoadVersion("k")
	require.False(t, ok)
	require.NotEqual(t, KeyVersion{}, none)
	require.NoError(t, m.WaitKey(soon(t), "k", KeyVersion{}))
	done := make(chan error, 1)
	go func() { done <- m.WaitKey(soon(t), "k", none) }()
	asleep(&m.table)
	require.NoError(t, m.Store("k", 1))
	require.NoError(t, <-done)

	require.NoError(t, m.StoreTTL("k", 2, time.Millisecond))
	x, version, ok := m.LoadVersion("k")
	if ok { // or it has expired already
		require.Equal(t, 2, x)
		require.NoError(t, m.WaitKey(soon(t), "k", version))
	}
	_, _, ok = m.LoadVersion("k")
	require.False(t, ok)
}

// The version of a key that is not there is that of its whole chain: one that was stored
// in the home bucket and deleted again has changed, also if the chain is longer.
func TestKeyVersion_Chain(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	collide(t, 16, &m.table)
	for i := range bucketSlots + 1 {
		require.NoError(t, m.Store(key16(i), i))
	}
	require.True(t, yes(t)(m.Delete(key16(0))))
	_, none, ok := m.LoadVersion(key16(99))
	require.False(t, ok)
	require.Equal(t, none, m.KeyVersion(key16(99)))
	behind := m.KeyVersion(key16(bucketSlots))
	require.NoError(t, m.Store(key16(99), 1))
	there := m.KeyVersion(key16(99))
	require.True(t, yes(t)(m.Delete(key16(99))))
	for i, version := range []KeyVersion{none, there} {
		require.NotEqual(t, version, m.KeyVersion(key16(99)), i)
	}
	require.Equal(t, behind, m.KeyVersion(key16(bucketSlots)), "a hit goes by its own bucket")
}

func TestWaitChange_Ends(t *testing.T) {
	seg := shmtest.Segment(t, roomy)
	a, b := shmtest.OnSegment(t, seg, roomy), shmtest.OnSegment(t, seg, roomy)
	for what, c := range map[string]struct {
		end  func(m *Map[string, int], cancel func()) error
		want error
	}{
		"context": {func(_ *Map[string, int], cancel func()) error { cancel(); return nil }, context.Canceled},
		"close":   {func(m *Map[string, int], _ func()) error { return m.Close() }, ErrClosed},
		"removal": {func(*Map[string, int], func()) error { return a.Remove("m") }, ErrRemoved},
	} {
		t.Run(what, func(t *testing.T) {
			made := create[string, int](t, a, "m", nil)
			m := open[string, int](t, b, "m")
			ctx, cancel := context.WithCancel(soon(t))
			done := make(chan error, 3)
			for range 2 {
				go func() { done <- second(m.WaitChange(ctx, m.Version())) }()
			}
			go func() { done <- m.WaitKey(ctx, "k", m.KeyVersion("k")) }()
			asleep(&m.table)
			require.NoError(t, c.end(m, cancel))
			for range 3 {
				require.ErrorIs(t, <-done, c.want)
			}
			require.NoError(t, m.Close())
			require.NoError(t, made.Close())
			if what != "removal" {
				require.NoError(t, a.Remove("m"))
			}
		})
	}
}

// A reader without the right to write waits too, and sees a change that its writer
// did not live to complete.
func TestWaitChange_ReadOnly(t *testing.T) {
	shmtest.NeedNamed(t)
	a := shmtest.Named(t, roomy)
	m := create[string, int](t, a, "m", nil)
	reader := open[string, int](t, again(t, a), "m")
	since := reader.Version()
	done := make(chan error, 1)
	go func() { done <- second(reader.WaitChange(soon(t), since)) }()
	asleep(&reader.table)
	require.NoError(t, m.Store("k", 1))
	require.NoError(t, <-done)

	beginChange(&m.stripe(m.stripeAt(3)).changes) // and then he is killed
	since = reader.Version()
	require.NoError(t, second(reader.WaitChange(soon(t), since)))
	since = reader.Version()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, second(reader.WaitChange(ctx, since)), context.DeadlineExceeded, "once is enough")
}

// TestB18_LostWake: a wake-up that was lost, with the writer who owed it, is made up
// for when the one who waits looks again.
func TestB18_LostWake(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	since := m.Version()
	done := make(chan error, 1)
	go func() { done <- second(m.WaitChange(soon(t), since)) }()
	asleep(&m.table)
	s := m.stripe(m.stripeAt(0))
	beginChange(&s.changes)
	s.end()
	require.NoError(t, <-done)

	// Cut off in the middle; the lock is free, as a recovery leaves it.
	beginChange(&s.changes)
	since = m.Version()
	require.NoError(t, second(m.WaitChange(soon(t), since)))
	require.Zero(t, s.changes.Load()%2)

	// Nobody touches what somebody alive is at.
	require.NoError(t, s.lock.Lock(m.floor.Owner, nil))
	beginChange(&s.changes)
	m.complete()
	m.complete()
	require.EqualValues(t, 1, s.changes.Load()%2)
	s.end()
	s.lock.Unlock()
	require.Zero(t, s.changes.Load()%2)
}

// Writers and those who wait for them, without a pause: each sees the last change.
func TestWaitChange_Storm(t *testing.T) {
	const rounds = 2000
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(nil)
		m := create[string, int](t, a, "m", nil)
		other := open[string, int](t, b, "m")
		var all sync.WaitGroup
		for g := range 2 {
			all.Go(func() {
				k := key16(g)
				for i := 1; i <= rounds; i++ {
					require.NoError(t, m.Store(k, i))
				}
			})
			all.Go(func() {
				for {
					v, version, _ := other.LoadVersion(key16(g))
					if v == rounds {
						return
					}
					require.NoError(t, other.WaitKey(soon(t), key16(g), version))
				}
			})
		}
		all.Go(func() {
			for since := uint64(0); ; {
				var err error
				since, err = other.WaitChange(soon(t), since)
				require.NoError(t, err)
				one, _ := other.Load(key16(0))
				two, _ := other.Load(key16(1))
				if one == rounds && two == rounds {
					return
				}
			}
		})
		all.Wait()
	})
}

// What is counted is exact, over several processes; a handle that is read-only
// counts nothing.
func TestStats_Counts(t *testing.T) {
	pair := couple(t, 2, &Options{CountReads: true})
	m, other := pair[0], pair[1]
	for i := range 10 {
		require.NoError(t, m.Store(key16(i), i))
		require.NoError(t, m.StoreTTL("x", i, 1))
	}
	for i := range 20 {
		m.Load(key16(i))
		other.Contains(key16(i))
	}
	s, err := m.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 20, s.Hits)
	require.EqualValues(t, 20, s.Misses)
	require.EqualValues(t, 20, s.Writes)
	require.EqualValues(t, 9, s.Expired)
	require.Zero(t, s.Refused)
	require.NoError(t, m.Close())

	plain := couple(t, 1, nil)[0]
	plain.Load("k")
	s, err = plain.Stats()
	require.NoError(t, err)
	require.Zero(t, s.Hits+s.Misses)
}

// Reads of a process all of whose records are in use, by writers who wait, do not wait
// with them, and are counted all the same: by the next one, by Stats, or by Close.
func TestStats_CountsLater(t *testing.T) {
	for how, count := range map[string]func(m *Map[string, int]){
		"next":  func(m *Map[string, int]) { m.Load("missing") },
		"Stats": func(m *Map[string, int]) { _, _ = m.Stats() },
		"Close": func(m *Map[string, int]) { assert.NoError(t, m.Close()) },
	} {
		t.Run(how, func(t *testing.T) {
			pair := couple(t, 2, &Options{CountReads: true})
			m, other := pair[0], pair[1]
			require.NoError(t, m.Store("k", 1))
			var held []int
			for i := range intent.Lanes {
				if m.floor.Pool.TryTake(i) {
					held = append(held, i)
				}
			}
			require.Len(t, held, intent.Lanes)
			for range 100 {
				m.Load("k")
				m.Contains("k")
				m.Load("missing")
			}
			_, _ = m.Stats() // does not wait either
			for _, i := range held {
				m.floor.Pool.Give(i)
			}
			s, err := other.Stats()
			require.NoError(t, err)
			require.Zero(t, s.Hits+s.Misses)
			count(m)
			more := uint64(0)
			if how == "next" {
				m.Load("k")
				more = 1
			}
			again, err := other.Stats()
			require.NoError(t, err)
			require.EqualValues(t, []uint64{200 + more, 100 + more}, []uint64{again.Hits, again.Misses})
		})
	}
}

// A change rings the bell once for all who wait, and only if somebody does.
func TestWaitChange_Bell(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	for what, change := range map[string]func() error{
		"store":       func() error { return m.Store("k", 1) },
		"expire":      func() error { return second(m.Expire("k", time.Hour)) },
		"delete":      func() error { return second(m.Delete("k")) },
		"clear":       func() error { return m.Clear() },
		"replace all": func() error { return m.ReplaceAll(maps.All(map[string]int{"k": 5})) },
	} {
		require.NoError(t, m.Store("k", 0))
		bell := m.news.bell.Load()
		m.announce()
		require.NoError(t, change(), what)
		require.Equal(t, bell+1, m.news.bell.Load(), what)
		require.Zero(t, m.news.awaited.Load(), what)
		require.NoError(t, m.Store("other", 0))
		require.Equal(t, bell+1, m.news.bell.Load(), what)
	}
}
