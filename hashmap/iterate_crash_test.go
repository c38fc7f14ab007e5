//go:build crash

package hashmap

import (
	"iter"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// TestCrash_Map_WalkUnderExchange: an iteration that has begun goes on at each tick
// of an exchange that waits for nobody, to the end or for a while, and then behind it.
// It yields its content and nothing else, and says so if that is not all.
func TestCrash_Map_WalkUnderExchange(t *testing.T) {
	old := map[string]string{}
	for i := range 40 {
		old[key16(i)] = "old"
	}
	for what, do := range map[string]func(m *Map[string, []byte]) error{
		"clear": func(m *Map[string, []byte]) error { return m.Clear() },
		"replace all": func(m *Map[string, []byte]) error {
			return m.ReplaceAll(maps.All(map[string][]byte{key16(1): []byte("new"), "b": []byte("new")}))
		},
	} {
		whole, early, k := 0, 0, int64(1)
		for happened := true; happened; k++ {
			happened = false
			for _, before := range []int{1, 20, 40} {
				for _, atTick := range []int{5, 40} {
					w := underExchange(t, k, old, before, atTick, do)
					happened = happened || w.happened
					for k, v := range w.seen {
						require.Equal(t, old[k], v)
					}
					if w.err == nil {
						require.Len(t, w.seen, len(old))
						whole++
						continue
					}
					require.ErrorIs(t, w.err, ErrReplaced)
					early++
				}
			}
		}
		require.Positive(t, whole)
		require.Positive(t, early)
		t.Logf("%s: %d ticks; %d came to the end, %d ended early", what, k-2, whole, early)
	}
}

type cutWalk struct {
	seen     map[string]string
	err      error
	happened bool
}

// underExchange begins an iteration, has it go on at tick k of the exchange, and then
// end.
func underExchange(t *testing.T, k int64, old map[string]string, before, atTick int, do func(m *Map[string, []byte]) error) (u cutWalk) {
	run := (&scene{before: old, size: 1 << 20}).setup(t)
	m, err := Open[string, []byte](shmtest.OnSegment(t, run.Segment, tiny), "m", nil)
	require.NoError(t, err)
	other, err := Open[string, []byte](shmtest.OnSegment(t, run.Segment, tiny), "m", nil)
	require.NoError(t, err)
	m.keepFor, u.seen = atOnce, make(map[string]string)
	next, stop := iter.Pull2(func(yield func(string, []byte) bool) { u.err = other.Range(yield) })
	defer stop()
	read := func(n int) {
		for ; n > 0; n-- {
			k, v, ok := next()
			if !ok {
				return
			}
			require.NotContains(t, u.seen, k)
			u.seen[k] = string(v)
		}
	}
	read(before)
	fault.Reset()
	fault.SetHook(func(tick int64) {
		if tick == k {
			u.happened = true
			read(atTick)
		}
	})
	require.NoError(t, do(m))
	fault.Reset()
	read(1000)
	return u
}

// An arena that is closed under an exchange: if that says it has happened, it has.
func TestCrash_Map_CloseUnderExchange(t *testing.T) {
	k := int64(1)
	for happened := true; happened; k++ {
		happened = false
		a := shmtest.Named(t, roomy)
		other, err := Create[string, int](shmtest.Again(t, a, roomy), "m", &Options{Capacity: 8})
		require.NoError(t, err)
		m, err := Open[string, int](a, "m", nil)
		require.NoError(t, err)
		m.keepFor = atOnce
		require.NoError(t, m.Store("k", 1))
		closed := make(chan error, 1)
		fault.Reset()
		fault.SetHook(func(tick int64) {
			if tick != k {
				return
			}
			happened = true
			go func() { closed <- a.Close() }()
			for wait := 0; wait < 20 && len(closed) == 0; wait++ { // it may wait for us
				time.Sleep(100 * time.Microsecond)
			}
		})
		err = m.ReplaceAll(maps.All(map[string]int{"k": 2}))
		fault.Reset()
		if happened {
			require.NoError(t, <-closed)
		}
		if v, _ := other.Load("k"); err == nil {
			require.Equal(t, 2, v, "tick %d", k)
		} else {
			require.ErrorIs(t, err, ErrClosed)
		}
		require.NoError(t, arena.Remove(a.Name(), nil))
	}
	require.Greater(t, k, int64(50))
}

// What somebody was killed taking down is no reason to refuse a write.
func TestCrash_Map_KilledInTakeDown(t *testing.T) {
	seg := shmtest.Segment(t, small)
	m, err := Create[string, []byte](shmtest.OnSegment(t, seg, small), "m", nil)
	require.NoError(t, err)
	m.keepFor = atOnce
	n := 0
	for ; m.Store(key16(n), make([]byte, 1000)) == nil; n++ {
	}
	for i := range n / 4 {
		_, err := m.Delete(key16(i))
		require.NoError(t, err)
	}
	var frame []byte
	before, ticks := m.news.gone.Load(), 0
	fault.Reset()
	fault.SetHook(func(int64) {
		if m.news.gone.Load() != before {
			if ticks++; ticks == 20 {
				frame = shmtest.Frame(seg)
			}
		}
	})
	require.NoError(t, m.Clear())
	fault.Reset()
	require.NotNil(t, frame)
	a, err := arena.Attach(shmtest.Thaw(frame, seg), nil)
	require.NoError(t, err)
	s, err := Open[string, []byte](a, "m", nil)
	require.NoError(t, err)
	for i := range n - n/8 { // the tree takes some, too
		require.NoError(t, s.Store(key16(i), make([]byte, 1000)), "entry %d of %d", i, n)
	}
}
