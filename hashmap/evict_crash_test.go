//go:build crash

package hashmap

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// bounded is a scene whose map has a limit, and is full. An operation on it may
// evict entries as well, and in the middle of it less may be there than before
// and after: a subset with the right values, and one more entry once it is done.
type bounded struct {
	limit int
	size  int64
	enter func(m *Map[string, []byte])
	do    func(m *Map[string, []byte]) error
	done  func(m *Map[string, []byte]) bool // whether it has happened
	dial  *sundial
}

func (s *bounded) each(t *testing.T) {
	t.Helper()
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		o := *tiny
		if s.size != 0 {
			o.MaxSize = s.size
		}
		seg := shmtest.Segment(t, &o)
		a := shmtest.OnSegment(t, seg, &o)
		m, err := Create[string, []byte](a, "m", &Options{Limit: s.limit})
		require.NoError(t, err)
		collide(t, 16, &m.table)
		s.enter(m)
		before := textIn(m)
		return &shmtest.Run{
			Segment: seg,
			Do:      func() { require.NoError(t, s.do(m)) },
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				m, err := Open[string, []byte](a, "m", nil)
				require.NoError(t, err)
				collide(t, 16, &m.table)
				if s.dial != nil {
					s.dial.rule(&m.table)
				}
				require.NoError(t, m.Check())
				after := textOfAll(t, m)
				require.LessOrEqual(t, m.Len(), s.limit)
				for k, v := range after {
					if old, ok := before[k]; ok {
						require.Equal(t, old, v)
					} else {
						require.Equal(t, "entry", v)
					}
				}
				if whole {
					require.True(t, s.done(m))
				}
				for i := range 2 * s.limit { // it works on, and evicts
					require.NoError(t, m.Store(fmt.Sprint("another", i), []byte("entry")))
				}
				require.LessOrEqual(t, m.Len(), s.limit)
				require.NoError(t, m.Check())
				require.NoError(t, m.Close())
			},
		}
	})
}

// filled fills the map to its limit, with keys of one hash in the first chain.
func crammed(n, chained int) func(m *Map[string, []byte]) {
	return func(m *Map[string, []byte]) {
		for i := range chained {
			must(0, m.Store(key16(i), []byte("entry")))
		}
		for i := 0; m.Len() < n; i++ {
			must(0, m.Store(fmt.Sprint("a filler of another length ", i), []byte("entry")))
		}
	}
}

func holding(k string) func(m *Map[string, []byte]) bool {
	return func(m *Map[string, []byte]) bool { return m.Contains(k) }
}

// An insertion that evicts, with the rings of its process full of hits; and again,
// for the key that was evicted: a ghost.
func TestCrash_Map_Evict(t *testing.T) {
	enter := func(m *Map[string, []byte]) {
		crammed(20, 9)(m)
		for i := range 12 {
			m.Load(key16(i % 9))
		}
	}
	(&bounded{limit: 20, enter: enter, do: storing("new", "entry"), done: holding("new")}).each(t)
	(&bounded{limit: 20, enter: enter, done: holding("ghost"), do: func(m *Map[string, []byte]) error {
		if err := m.Store("ghost", []byte("entry")); err != nil {
			return err
		}
		for i := 0; m.Contains("ghost"); i++ {
			must(0, m.Store(fmt.Sprint("pusher", i), []byte("entry")))
		}
		return m.Store("ghost", []byte("entry"))
	}}).each(t)
}

// The chain has no slot left, though the stripe has not its share.
func TestCrash_Map_EvictFromChain(t *testing.T) {
	n := window * bucketSlots
	(&bounded{limit: 100, enter: crammed(n+3, n), do: storing(key16(n), "entry"), done: holding(key16(n))}).each(t)
}

// A read that finds its ring full tells it.
func TestCrash_Map_Tell(t *testing.T) {
	read := func(m *Map[string, []byte]) error {
		for i := range 3 * ringSize {
			m.Load(key16(i % 5))
		}
		return nil
	}
	(&bounded{limit: 20, enter: crammed(20, 9), do: read, done: holding(hot)}).each(t)
}

// The arena is full: entries go for bytes.
func TestCrash_Map_EvictForBytes(t *testing.T) {
	enter := func(m *Map[string, []byte]) {
		for i := 0; m.Evictions() == 0; i++ {
			must(0, m.Store(fmt.Sprint("fat", i), make([]byte, 900)))
		}
	}
	s := &bounded{limit: 200, size: 64 << 10, enter: enter, done: holding("new")}
	s.do = func(m *Map[string, []byte]) error {
		before := m.Evictions()
		for i := range 3 {
			if err := m.Store(fmt.Sprint("new", i), make([]byte, 900)); err != nil {
				return err
			}
		}
		if m.Evictions() == before {
			return fmt.Errorf("nothing was evicted")
		}
		return m.Store("new", []byte("entry"))
	}
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		o := *tiny
		o.MaxSize = s.size
		seg := shmtest.Segment(t, &o)
		m, err := Create[string, []byte](shmtest.OnSegment(t, seg, &o), "m", &Options{Limit: s.limit})
		require.NoError(t, err)
		enter(m)
		return &shmtest.Run{Segment: seg, Do: func() { require.NoError(t, s.do(m)) }, Verify: func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			require.NoError(t, m.Check())
			require.Equal(t, m.Len(), len(textOfAll(t, m)))
			require.True(t, !whole || m.Contains("new"))
			require.NoError(t, m.Store("more", make([]byte, 900)))
			require.NoError(t, m.Close())
		}}
	})
}

// What has expired goes first, and an exchange keeps to the limit.
func TestCrash_Map_EvictOthers(t *testing.T) {
	dial := new(sundial)
	(&bounded{limit: 12, dial: dial, enter: func(m *Map[string, []byte]) {
		dial.at = 0
		dial.rule(&m.table)
		must(0, m.StoreTTL("gone", []byte("entry"), time.Second))
		crammed(12, 4)(m)
		dial.at = time.Minute
	}, do: storing("new", "entry"), done: holding("new")}).each(t)
	content := make(map[string][]byte)
	for i := range 9 {
		content[key16(100+i)] = []byte("entry")
	}
	exchange := func(m *Map[string, []byte]) error { return m.ReplaceAll(maps.All(content)) }
	(&bounded{limit: 5, enter: crammed(5, 3), do: exchange, done: func(m *Map[string, []byte]) bool { return m.Len() == 5 }}).each(t)
}
