//go:build crash

package hashmap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() { roles["fetchstriker"] = fetchStriker }

// fetchingBytes is a Fetch that loads a text, or fails.
func fetchingBytes(k, v string, err error) func(*Map[string, []byte]) error {
	return func(m *Map[string, []byte]) error {
		got, e := m.Fetch(context.Background(), k, func(context.Context, string) ([]byte, error) { return []byte(v), err },
			&FetchOptions{ErrorTTL: time.Hour})
		if err != nil && errors.Is(e, err) {
			return nil
		}
		if e == nil && string(got) != v {
			e = fmt.Errorf("found %q", got)
		}
		return e
	}
}

var errBoom = errors.New("boom")

// eachFetch cuts a Fetch off at every tick; whoever fetches next is held up by
// nothing, and gets the value, or the whole error if it had been stored.
func eachFetch(t *testing.T, s *scene, k string, fails bool) {
	t.Helper()
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		run := s.setup(t)
		run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			require.NoError(t, m.Check())
			got := textOfAll(t, m)
			if whole || !maps.Equal(s.before, got) {
				require.Equal(t, s.after, got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, there := m.Load(k)
			loads := 0
			v, err := m.Fetch(ctx, k, func(context.Context, string) ([]byte, error) {
				loads++
				return []byte("mine"), nil
			}, nil)
			switch {
			case there:
				require.NoError(t, err)
				require.Zero(t, loads)
			case err != nil:
				require.True(t, fails)
				require.ErrorIs(t, err, ErrLoad)
				require.EqualError(t, err, errBoom.Error())
			default:
				require.False(t, whole)
				require.Equal(t, 1, loads)
				require.Equal(t, "mine", string(v))
			}
			_, err = m.Delete(k)
			require.NoError(t, err)
			require.NoError(t, m.Close())
		}
		return run
	})
}

func TestCrash_Fetch(t *testing.T) {
	eachFetch(t, &scene{before: several(3), do: fetchingBytes("new", "entry", nil), after: with(several(3), "new", "entry")}, "new", false)
}

func TestCrash_Fetch_Fails(t *testing.T) {
	eachFetch(t, &scene{before: several(3), do: fetchingBytes("new", "", errBoom), after: several(3)}, "new", true)
}

// The lease is taken over from a dead one.
func TestCrash_Fetch_TakesOver(t *testing.T) {
	s := &scene{before: several(3), do: fetchingBytes("new", "entry", nil), after: with(several(3), "new", "entry")}
	s.enter = func(m *Map[string, []byte]) {
		k := "new"
		id := m.idOf(&k)
		l := m.lease(m.leaseOff(id, 0))
		l.holder.Store(77<<32 | 2<<20 | leaseLoading) // an incarnation that never was
		l.hash.Store(id.h)
		l.print.Store(id.print)
		l.until.Store(^uint64(0))
	}
	eachFetch(t, s, "new", false)
}

// fetchStriker opens the map and fetches, or fails to.
func fetchStriker(args []string) int {
	m := openStruck(args[0])
	err := map[string]error{"fails": errBoom}[args[1]]
	shmtest.Arm()
	shmtest.Must(fetchingBytes(hot, "new", err)(m))
	return 0
}

// TestCrash_Fetch_Killed: a child is killed at every tick of a Fetch while we have
// the map open; then we fetch the same key at once.
func TestCrash_Fetch_Killed(t *testing.T) {
	for _, what := range []string{"loads", "fails"} {
		t.Run(what, func(t *testing.T) {
			g := newGround(t)
			shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
				_, err := g.m.Delete(hot)
				require.NoError(t, err)
				for i := range g.m.plan.leases { // errors are forgotten
					g.m.lease(g.m.leaseOff(keyID{}, i)).forget.Store(0)
				}
				return shmtest.ArmedAt(t, k, "fetchstriker", g.a.Name(), what)
			}, func(bool) {
				_, there := g.m.Load(hot)
				loads := 0
				v, err := g.m.Fetch(t.Context(), hot, func(context.Context, string) ([]byte, error) {
					loads++
					return []byte("mine"), nil
				}, nil)
				switch {
				case there:
					require.Equal(t, "new", string(v))
				case err != nil:
					require.ErrorIs(t, err, ErrLoad)
					require.EqualError(t, err, "boom")
				default:
					require.Equal(t, "mine", string(v))
				}
				require.LessOrEqual(t, loads, 1)
				require.NoError(t, g.m.Store(hot, []byte("mine")))
				g.settled(hot, "mine")
			})
		})
	}
}

// TestCrash_Fetch_Late: a loader stands still before each of its stores while the
// time of its lease ends and another attach fetches the key. Whoever has loaded
// last has his value in the map, in the end, and nobody waits for ever.
func TestCrash_Fetch_Late(t *testing.T) {
	for _, fails := range []error{nil, errBoom} {
		ticks, taken := int64(0), 0
		for k := int64(1); ; k++ {
			seg := shmtest.Segment(t, tiny)
			a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
			m, x := create[string, []byte](t, a, "m", &Options{Capacity: 50}), open[string, []byte](t, b, "m")
			collide(t, 16, &m.table, &x.table)
			var at atomic.Uint64
			at.Store(origin)
			m.clock.fake, x.clock.fake = at.Load, at.Load
			done, happened := make(chan error, 1), false
			var loads atomic.Int64
			other := func() {
				_, err := x.Fetch(context.Background(), hot, func(context.Context, string) ([]byte, error) {
					loads.Add(1)
					return []byte("other"), nil
				}, nil)
				done <- err
			}
			me := goroutine()
			fault.Reset()
			fault.SetHook(func(tick int64) {
				if tick < k || happened || goroutine() != me {
					return
				}
				happened = true
				at.Add(uint64(usualLease))
				go other()
				for limit := time.Now().Add(10 * time.Second); len(done) == 0 && !waiting(&x.table); runtime.Gosched() {
					require.True(t, time.Now().Before(limit), "it neither returns nor waits for the lock")
				}
			})
			err := fetchingBytes(hot, "first", fails)(m)
			count := fault.Count()
			fault.Reset()
			if !happened {
				ticks = k - 1
				break
			}
			if err != nil {
				require.EqualError(t, err, `found "other"`)
			}
			err = <-done
			v, ok := m.Load(hot)
			switch {
			case loads.Load() == 1:
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, "other", string(v), "at tick %d of %d", k, count)
				taken++
			case fails != nil:
				require.ErrorIs(t, err, ErrLoad)
			default:
				require.NoError(t, err)
				require.Equal(t, "first", string(v))
			}
			require.NoError(t, errors.Join(m.Check(), m.Close(), x.Close()))
		}
		t.Logf("%d ticks; at %d of them the other one loaded", ticks, taken)
		require.NotZero(t, taken)
	}
}
