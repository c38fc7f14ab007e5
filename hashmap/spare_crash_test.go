//go:build crash

package hashmap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// spared has the stripe of hot keep a spare for entries of its size.
func spared(t *testing.T) func(m *Map[string, []byte]) {
	return func(m *Map[string, []byte]) {
		require.NoError(t, m.Store(hot, []byte("12345")))
		require.NoError(t, m.Store(hot, []byte("54321")))
		require.NotZero(t, m.spareOf(hot))
	}
}

// spareOf returns the spare of the stripe of a key.
func (m *Map[K, V]) spareOf(k K) uint64 {
	key, n := m.key(&k)
	return m.stripe(m.stripeAt(hashKey(key, n, &m.secrets))).spare.Load()
}

func TestCrash_Spare(t *testing.T) {
	before := with(several(3), hot, "54321")
	traded := func(m *Map[string, []byte]) error {
		was := m.spareOf(hot)
		err := m.Store(hot, []byte("other"))
		require.NotEqual(t, was, m.spareOf(hot))
		return err
	}
	eachTick(t, &scene{before: several(3), enter: spared(t), do: traded, after: with(before, hot, "other")})
	eachTick(t, &scene{before: several(3), enter: spared(t), chain: true, do: traded, after: with(before, hot, "other")})
	t.Run("first", func(t *testing.T) {
		eachTick(t, &scene{before: several(3), do: func(m *Map[string, []byte]) error {
			require.Zero(t, m.spareOf(hot))
			err := m.Store(hot, []byte("other"))
			require.NotZero(t, m.spareOf(hot))
			return err
		}, after: with(several(3), hot, "other")})
	})
	t.Run("of another size", func(t *testing.T) {
		eachTick(t, &scene{before: several(3), enter: spared(t), do: func(m *Map[string, []byte]) error {
			was := m.spareOf(hot)
			err := m.Store(hot, []byte("a value that is not as small"))
			require.Equal(t, was, m.spareOf(hot))
			return err
		}, after: with(before, hot, "a value that is not as small")})
	})
	t.Run("freed", func(t *testing.T) {
		eachTick(t, &scene{before: several(3), enter: spared(t), do: func(m *Map[string, []byte]) error {
			require.True(t, m.freeSpares(0))
			require.Zero(t, m.spareOf(hot))
			return nil
		}, after: before})
	})
}

// Add writes the sum into the spare.
func TestCrash_Spare_Add(t *testing.T) {
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		seg := shmtest.Segment(t, tiny)
		m, err := Create[string, int64](shmtest.OnSegment(t, seg, tiny), "m", &Options{Capacity: 50})
		require.NoError(t, err)
		for range 3 {
			_, err = Add(m, "k", 1)
			require.NoError(t, err)
		}
		return &shmtest.Run{
			Segment: seg,
			Do: func() {
				was := m.spareOf("k")
				sum, err := Add(m, "k", 5)
				require.NoError(t, err)
				require.EqualValues(t, 8, sum)
				require.NotEqual(t, was, m.spareOf("k"))
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				m, err := Open[string, int64](a, "m", nil)
				require.NoError(t, err)
				require.NoError(t, m.Check())
				if now, _ := m.Load("k"); whole || now != 3 {
					require.EqualValues(t, 8, now)
				}
				require.NoError(t, m.Close())
			},
		}
	})
}

// Check accounts for the blocks of a trade at each of its steps, with nobody to end it.
func TestCrash_Spare_Check(t *testing.T) {
	o := *tiny
	o.ReadOnly = true
	for _, first := range []bool{false, true} {
		s := &scene{before: several(3), do: storing(hot, "other")}
		if !first {
			s.enter = spared(t)
		}
		run := s.setup(t)
		frames, _ := shmtest.Freeze(run.Segment, run.Do)
		require.Greater(t, len(frames), 5)
		for i, f := range frames {
			a, err := arena.Attach(shmtest.Thaw(f, run.Segment), &o)
			require.NoError(t, err)
			_, err = a.Check()
			require.NoError(t, err, "tick %d", i)
			require.NoError(t, a.Close())
		}
	}
	fault.Reset()
}

// asGuard writes over an entry into the spare as a guard does it, who does all writes.
func asGuard(t *testing.T, m *Map[string, []byte], k string, v []byte) {
	key, n := m.key(&k)
	h := hashKey(key, n, &m.secrets)
	op, err := m.slab.Begin()
	require.NoError(t, err)
	defer op.End()
	var g guard
	require.NoError(t, m.lock(h, &g))
	defer g.unlock()
	at, err := g.locate(key, n, h)
	require.NoError(t, err)
	spare := g.stripe.spare.Load() & offsetMask
	require.NotZero(t, spare)
	m.fill(spare, key, n, &v, m.usual())
	require.NoError(t, g.link(&op, at, h, spare))
}

// framesOf freezes what is done to a copy of a segment. The hits of five reads are not
// yet told then.
func framesOf(t *testing.T, frame []byte, seg *shm.Segment, k string, do func(m *Map[string, []byte])) [][]byte {
	copied := shmtest.Thaw(bytes.Clone(frame), seg)
	a, err := arena.Attach(copied, nil)
	require.NoError(t, err)
	m, err := Open[string, []byte](a, "m", nil)
	require.NoError(t, err)
	m.clock.fake = func() uint64 { return origin }
	for range 5 {
		_, ok := m.Load(k)
		require.True(t, ok)
	}
	for i := 1; i < intent.Lanes; i++ { // so that it is done under record 0
		require.True(t, m.floor.Pool.TryTake(i))
		defer m.floor.Pool.Give(i)
	}
	frames, _ := shmtest.Freeze(copied, func() { do(m) })
	return frames
}

// sameStores requires that two paths leave the same in the segment at each store.
func sameStores(t *testing.T, path, guards [][]byte, what string) {
	t.Helper()
	require.Len(t, path, len(guards), what)
	for i := range guards {
		for at := range guards[i] {
			if guards[i][at] != path[i][at] && guards[0][at] == path[0][at] {
				require.Failf(t, "another store", "%s, frame %d of %d: %#x holds %#x, with a guard %#x", what, i, len(guards), at, path[i][at], guards[i][at])
			}
		}
	}
}

// The path that writes over an entry makes the stores of a guard, in its order: at each
// of them the segment holds the same, but for the names of the two attaches.
func TestCrash_Spare_AsGuard(t *testing.T) {
	for _, o := range []*Options{{Capacity: 50}, {Limit: 40}, {Capacity: 50, TTL: time.Hour}, {Limit: 40, TTL: time.Hour}} {
		for _, length := range []int{0, 1, 7, 8, 9, 16, 17, 40} {
			seg := shmtest.Segment(t, tiny)
			m, err := Create[string, []byte](shmtest.OnSegment(t, seg, tiny), "m", o)
			require.NoError(t, err)
			m.clock.fake = func() uint64 { return origin }
			for i := range 30 {
				require.NoError(t, m.Store(fmt.Sprint("x", i), []byte("12345")))
			}
			k := strings.Repeat("h", length)
			for range 3 {
				require.NoError(t, m.Store(k, []byte("12345")))
			}
			frame := shmtest.Frame(seg)
			path := framesOf(t, frame, seg, k, func(m *Map[string, []byte]) {
				was := m.spareOf(k)
				require.NoError(t, m.Store(k, []byte("54321")))
				require.NotEqual(t, was, m.spareOf(k))
			})
			guards := framesOf(t, frame, seg, k, func(m *Map[string, []byte]) { asGuard(t, m, k, []byte("54321")) })
			sameStores(t, path, guards, fmt.Sprintf("%+v, key of %d bytes", *o, length))
		}
	}
}

// TestCrash_Spare_KilledThenFreed: a child is killed at every tick of a write over an
// entry; then we free the spares at once.
func TestCrash_Spare_KilledThenFreed(t *testing.T) {
	g := newGround(t)
	shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
		g.reset("replace")
		require.NoError(t, g.m.Store(hot, []byte("old")))
		require.NotZero(t, g.m.spareOf(hot))
		return shmtest.ArmedAt(t, k, "striker", g.a.Name(), "replace")
	}, func(bool) {
		g.m.freeSpares(0)
		require.Zero(t, g.m.spareOf(hot))
		g.survive("replace")
	})
}
