//go:build crash

package hashmap

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// expecting turns the result of a verb into an error if it is another one.
func expecting(want string, wantOK bool) func(v []byte, ok bool, err error) error {
	return func(v []byte, ok bool, err error) error {
		if err != nil || ok != wantOK || string(v) != want {
			return errors.Join(err, fmt.Errorf("found %q, %v, want %q, %v", v, ok, want, wantOK))
		}
		return nil
	}
}

func reporting(want bool) func(ok bool, err error) error {
	return func(ok bool, err error) error { return expecting("", want)(nil, ok, err) }
}

// cutOff is eachTick of one operation on three entries.
func cutOff(t *testing.T, do func(m *Map[string, []byte]) error, changes ...string) {
	t.Helper()
	before := several(3)
	eachTick(t, &scene{before: before, do: do, after: with(before, changes...)})
}

const hotValue = "value 0"

func TestCrash_Update_LoadOrStore(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting("entry", false)(m.LoadOrStore("new", []byte("entry")))
	}, "new", "entry")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting(hotValue, true)(m.LoadOrStore(hot, []byte("entry")))
	})
}

// The key has come since it was looked for: what was reserved goes back. Its
// block is of another size than the one that stays.
func TestCrash_Update_LoadOrStoreLate(t *testing.T) {
	for _, v := range []string{"entry", strings.Repeat("large", 1200)} {
		cutOff(t, func(m *Map[string, []byte]) error {
			require.Equal(t, outcome{[]byte(hotValue), true}, late(t, m, hot, []byte(v)))
			return nil
		})
	}
}

func TestCrash_Update_Swap(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting(hotValue, true)(m.Swap(hot, []byte("other")))
	}, hot, "other")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting("", false)(m.Swap("new", []byte("entry")))
	}, "new", "entry")
}

func TestCrash_Update_LoadAndDelete(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting(hotValue, true)(m.LoadAndDelete(hot))
	}, hot, "")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting("", false)(m.LoadAndDelete("nobody"))
	})
}

func TestCrash_Update_CompareAndSwap(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return reporting(true)(m.CompareAndSwap(hot, []byte(hotValue), []byte("other")))
	}, hot, "other")
	cutOff(t, func(m *Map[string, []byte]) error {
		return reporting(false)(m.CompareAndSwap(hot, []byte("wrong"), []byte("other")))
	})
	cutOff(t, func(m *Map[string, []byte]) error { // seen without lock, and gone under it
		require.False(t, lateCompare(t, m, hot, []byte("wrong"), []byte("other")))
		return nil
	})
}

func TestCrash_Update_CompareAndDelete(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return reporting(true)(m.CompareAndDelete(hot, []byte(hotValue)))
	}, hot, "")
	cutOff(t, func(m *Map[string, []byte]) error {
		return reporting(false)(m.CompareAndDelete(hot, []byte("wrong")))
	})
}

func TestCrash_Update_Compute(t *testing.T) {
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting(hotValue+"!", true)(m.Compute(hot, func(old []byte, ok bool) ([]byte, Action) {
			return append(old, '!'), Store
		}))
	}, hot, hotValue+"!")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting("entry", true)(m.Compute("new", to([]byte("entry"), Store)))
	}, "new", "entry")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting("", false)(m.Compute(hot, to([]byte("entry"), Delete)))
	}, hot, "")
	cutOff(t, func(m *Map[string, []byte]) error {
		return expecting(hotValue, true)(m.Compute(hot, to([]byte("entry"), Cancel)))
	})
}

// Another one changes the key between two calls of the function: the first
// attempt is undone, the second one is made.
func TestCrash_Update_ComputeAgain(t *testing.T) {
	s := scene{before: several(3), after: with(several(3), hot, "2nd")}
	s.do = func(m *Map[string, []byte]) error {
		n := 0
		_, _, err := m.Compute(hot, func(old []byte, ok bool) ([]byte, Action) {
			if n++; n == 1 {
				require.NoError(t, m.Store(hot, []byte("1st")))
				return []byte("never"), Store
			}
			require.Equal(t, "1st", string(old))
			return []byte("2nd"), Store
		})
		require.Equal(t, 2, n)
		return err
	}
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		run := s.setup(t)
		run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			require.NoError(t, m.Check())
			all := textOfAll(t, m)
			if whole || !maps.Equal(s.before, all) && all[hot] != "1st" {
				require.Equal(t, s.after, all)
			}
			require.NoError(t, m.Close())
		}
		return run
	})
}

func TestCrash_Update_Add(t *testing.T) {
	for k, want := range map[string]map[string]int64{"k": {"k": 12, "l": 1}, "new": {"k": 7, "l": 1, "new": 5}} {
		shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
			seg := shmtest.Segment(t, tiny)
			m, err := Create[string, int64](shmtest.OnSegment(t, seg, tiny), "m", &Options{Capacity: 50})
			require.NoError(t, err)
			require.NoError(t, m.Store("k", 7))
			require.NoError(t, m.Store("l", 1))
			return &shmtest.Run{
				Segment: seg,
				Do: func() {
					sum, err := Add(m, k, 5)
					require.NoError(t, err)
					require.Equal(t, want[k], sum)
				},
				Verify: func(t *testing.T, a *arena.Arena, whole bool) {
					m, err := Open[string, int64](a, "m", nil)
					require.NoError(t, err)
					require.NoError(t, m.Check())
					if now := contents(t, m); whole || !maps.Equal(now, map[string]int64{"k": 7, "l": 1}) {
						require.Equal(t, want, now)
					}
					require.NoError(t, m.Close())
				},
			}
		})
	}
}
