//go:build crash

package hashmap

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() { roles["batcher"] = batcher }

// pairsOf yields changes as with takes them.
func pairsOf(changes []string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for i := 0; i < len(changes) && yield(changes[i], []byte(changes[i+1])); i += 2 {
		}
	}
}

func growthsOf(t *testing.T, m *Map[string, []byte]) uint64 {
	s, err := m.Stats()
	require.NoError(t, err)
	return s.Growths
}

// tallying turns the result of a batch into an error if it is another one.
func tallying(want int) func(n int, err error) error {
	return func(n int, err error) error {
		if err == nil && n != want {
			err = fmt.Errorf("counted %d, want %d", n, want)
		}
		return err
	}
}

// storingAll is a scene of StoreAll: the keys are written one by one.
func storingAll(before map[string]string, changes ...string) *scene {
	return &scene{before: before, apart: true, after: with(before, changes...), do: func(m *Map[string, []byte]) error {
		return tallying(len(changes) / 2)(m.StoreAll(pairsOf(changes)))
	}}
}

func TestCrash_StoreAll(t *testing.T) {
	changes := []string{"new", "entry", hot, "other", "newer", "entry too", cold, strings.Repeat("large", 300)}
	t.Run("some of several", func(t *testing.T) { eachTick(t, storingAll(several(3), changes...)) })
	t.Run("the first ones", func(t *testing.T) { eachTick(t, storingAll(map[string]string{}, "a", "1", "b", "2", "c", "3")) })
	t.Run("over spares", func(t *testing.T) {
		s := storingAll(with(several(3), hot, "54321"), hot, "other", cold, "value 9")
		s.chain, s.enter = true, spared(t)
		eachTick(t, s)
	})
	t.Run("beyond the home bucket", func(t *testing.T) {
		n := bucketSlots - 1
		s := storingAll(several(n), key16(n), "7th", key16(n+1), "8th", key16(n-1), "other")
		s.chain = true
		eachTick(t, s)
	})
}

// There is room for the first key and not for the second one.
func TestCrash_StoreAll_Full(t *testing.T) {
	s := &scene{chain: true, apart: true}
	n := 0
	s.enter = func(m *Map[string, []byte]) {
		m.plan.most = m.plan.buckets // the segment is not made larger
		for n = 0; m.Store(key16(n), nil) == nil; n++ {
		}
		n--
		must(m.Delete(key16(n)))
		s.after = with(textIn(m), key16(n), "the last")
	}
	s.do = func(m *Map[string, []byte]) error {
		stored, err := m.StoreAll(pairsOf([]string{key16(n), "the last", key16(n + 1), "too much"}))
		require.ErrorIs(t, err, ErrFull)
		return tallying(1)(stored, nil)
	}
	eachTick(t, s)
}

// Segments are split, or made larger, in the midst.
func TestCrash_StoreAll_Grows(t *testing.T) {
	s := storingAll(map[string]string{}, "1st", "new", "2nd", "new", "crowd0", "other")
	var before uint64
	s.enter = func(m *Map[string, []byte]) {
		crowdIt(0, true)(m)
		before = growthsOf(t, m)
		s.after = with(textIn(m), "1st", "new", "2nd", "new", "crowd0", "other")
	}
	do := s.do
	s.do = func(m *Map[string, []byte]) error {
		err := do(m)
		require.Greater(t, growthsOf(t, m), before)
		return err
	}
	eachTick(t, s)
}

func TestCrash_DeleteAll(t *testing.T) {
	eachScene := func(name string, chain bool, before map[string]string, there int, keys ...string) {
		after := maps.Clone(before)
		for _, k := range keys {
			delete(after, k)
		}
		t.Run(name, func(t *testing.T) {
			eachTick(t, &scene{chain: chain, before: before, apart: true, after: after, do: func(m *Map[string, []byte]) error {
				return tallying(there)(m.DeleteAll(slices.Values(keys)))
			}})
		})
	}
	eachScene("some of several", false, several(5), 2, hot, "nobody", key16(3), hot)
	eachScene("all", false, several(3), 3, slices.Collect(maps.Keys(several(3)))...)
	n := 2*bucketSlots + 1
	eachScene("in one chain", true, several(n), 3, hot, key16(bucketSlots), key16(n-1))
}

// batched is how many keys a batcher writes: more than one portion. Those with an even
// number are there before.
const batched = portion + 60

var batches = map[string]func(m *Map[string, []byte]) (int, error){
	"store": func(m *Map[string, []byte]) (int, error) {
		return m.StoreAll(func(yield func(string, []byte) bool) {
			for i := 0; i < batched && yield(key16(i), []byte("new")); i++ {
			}
		})
	},
	"delete": func(m *Map[string, []byte]) (int, error) {
		return m.DeleteAll(maps.Keys(several(batched)))
	},
}

// batcher opens the map and does one thing.
func batcher(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	m, err := Open[string, []byte](a, "m", nil)
	shmtest.Must(err)
	shmtest.Arm()
	_, err = batches[args[1]](m)
	shmtest.Must(err)
	return 0
}

// TestCrash_Batch_Killed: a child is killed in the midst of a batch of more than one
// portion, while we have the map open. Each key is as it was or as it was to be; every
// other time we do the whole batch at once, and take over from the child what it left.
func TestCrash_Batch_Killed(t *testing.T) {
	for what, batch := range batches {
		t.Run(what, func(t *testing.T) {
			g := &ground{t: t, a: shmtest.Named(t, &arena.Options{Size: 64 << 10, MaxSize: 512 << 10, Processes: 4, Objects: 8})}
			g.m = create[string, []byte](t, g.a, "m", &Options{Capacity: 50})
			partly := 0
			shmtest.EachKill(t, 251, func(k int64) *shmtest.Child {
				g.resetBatch()
				return shmtest.ArmedAt(t, k, "batcher", g.a.Name(), what)
			}, func(killed bool) {
				was, is := g.lookAtBatch(what)
				require.True(t, killed || was == 0)
				if was != 0 && is != 0 {
					partly++
				}
				if partly%2 == 0 {
					_, err := g.a.Recover()
					require.NoError(t, err)
				} else {
					_, err := batch(g.m)
					require.NoError(t, err)
					was, _ = g.lookAtBatch(what)
					require.Zero(t, was)
				}
				g.settled("stays", "as it is")
			})
			require.Greater(t, partly, 3)
		})
	}
}

// resetBatch has every other key of a batch in the map, and one that is in none.
func (g *ground) resetBatch() {
	require.NoError(g.t, g.m.Clear())
	require.NoError(g.t, g.m.Store("stays", []byte("as it is")))
	for i := 0; i < batched; i += 2 {
		require.NoError(g.t, g.m.Store(key16(i), []byte("old")))
	}
}

// lookAtBatch returns how many keys are as they were, and how many as they are to be,
// of those for which that is not the same. There is nothing between.
func (g *ground) lookAtBatch(what string) (was, is int) {
	for i := range batched {
		old, fresh := "old", map[string]string{"store": "new", "delete": "none"}[what]
		if i%2 == 1 {
			old = "none"
		}
		v, ok := g.m.Load(key16(i))
		got := string(v)
		if !ok {
			got = "none"
		}
		require.Contains(g.t, []string{old, fresh}, got, "key %d", i)
		switch {
		case old == fresh:
		case got == old:
			was++
		default:
			is++
		}
	}
	return was, is
}
