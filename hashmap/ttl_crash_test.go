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

// timed is one operation on a map of numbers with deadlines. Wherever it is cut off,
// value and deadline of each key are both as before or both as after.
type timed struct {
	o     Options
	bare  bool                        // nothing is in the map, and no deadline has ever been
	enter func(m *Map[string, int64]) // further preparation
	do    func(m *Map[string, int64]) error
	after []string // changes, as with takes them
}

// setup makes a map, and lets a minute pass: "gone" has expired, "later" has a deadline,
// and "ever" has none.
func (s *timed) setup(t *testing.T) *shmtest.Run {
	seg := shmtest.Segment(t, tiny)
	dial := new(sundial)
	s.o.Capacity = 50
	m, err := Create[string, int64](shmtest.OnSegment(t, seg, tiny), "m", &s.o)
	require.NoError(t, err)
	dial.rule(&m.table)
	if !s.bare {
		require.NoError(t, m.StoreTTL("gone", 1, time.Second))
		require.NoError(t, m.StoreTTL("later", 2, time.Hour))
		require.NoError(t, m.StoreTTL("ever", 3, 0))
	}
	dial.at = time.Minute
	if s.enter != nil {
		s.enter(m)
	}
	before := stamps(t, m)
	after := with(before, s.after...)
	return &shmtest.Run{
		Segment: seg,
		Do:      func() { require.NoError(t, s.do(m)) },
		Verify: func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, int64](a, "m", nil)
			require.NoError(t, err)
			dial.rule(&m.table)
			require.NoError(t, m.Check())
			if got := stamps(t, m); whole || !maps.Equal(before, got) {
				require.Equal(t, after, got)
			}
			require.NoError(t, m.Close())
		},
	}
}

// stamps returns the value of each key, and how long it has to live. Nothing else takes
// room but the key that has expired.
func stamps(t *testing.T, m *Map[string, int64]) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for k, v := range m.All() {
		left, ok := m.TTL(k)
		require.True(t, ok)
		all[k] = stamp(v, left)
	}
	most := len(all)
	if _, again := all["gone"]; !again {
		most++
	}
	require.LessOrEqual(t, m.Len(), most)
	require.GreaterOrEqual(t, m.Len(), len(all))
	return all
}

func stamp(v int64, left time.Duration) string { return fmt.Sprint(v, " for ", left) }

// adding adds 5, or has the key begin with 105 for a day.
func adding(k string, want int64) func(m *Map[string, int64]) error {
	return func(m *Map[string, int64]) error {
		sum, err := AddInitial(m, k, 5, 100, 24*time.Hour)
		if err == nil && sum != want {
			err = fmt.Errorf("the sum is %d, want %d", sum, want)
		}
		return err
	}
}

func TestCrash_AddInitial(t *testing.T) {
	const day = 24 * time.Hour
	begun := stamp(105, day)
	for name, s := range map[string]*timed{
		"a new key":          {do: adding("new", 105), after: []string{"new", begun}},
		"the first deadline": {bare: true, do: adding("new", 105), after: []string{"new", begun}},
		"an expired key":     {do: adding("gone", 105), after: []string{"gone", begun}},
		"a deadline stays":   {do: adding("later", 7), after: []string{"later", stamp(7, 59*time.Minute)}},
		"no deadline stays":  {do: adding("ever", 8), after: []string{"ever", stamp(8, 0)}},
		"of a map's own":     {o: Options{TTL: time.Minute}, do: adding("new", 105), after: []string{"new", begun}},
	} {
		t.Run(name, func(t *testing.T) { shmtest.EachTick(t, s.setup) })
	}
}

// The sum, and the old deadline, are written into the spare.
func TestCrash_AddInitial_Spare(t *testing.T) {
	s := &timed{after: []string{"later", stamp(9, 59*time.Minute)}}
	s.enter = func(m *Map[string, int64]) {
		for range 2 {
			must(Add(m, "later", 1))
		}
		require.NotZero(t, m.spareOf("later"))
	}
	s.do = func(m *Map[string, int64]) error {
		was := m.spareOf("later")
		err := adding("later", 9)(m)
		require.NotEqual(t, was, m.spareOf("later"))
		return err
	}
	shmtest.EachTick(t, s.setup)
}

// renewing doubles a value, and has its deadline begin anew.
func renewing(k string) func(m *Map[string, int64]) error {
	return func(m *Map[string, int64]) error {
		_, _, err := m.Compute(k, func(old int64, ok bool) (int64, Action) { return 2*old + 10, Renew })
		return err
	}
}

func TestCrash_Renew(t *testing.T) {
	day := Options{TTL: 24 * time.Hour}
	for name, s := range map[string]*timed{
		"a deadline":     {o: day, do: renewing("later"), after: []string{"later", stamp(14, day.TTL)}},
		"none before":    {o: day, do: renewing("ever"), after: []string{"ever", stamp(16, day.TTL)}},
		"none after":     {do: renewing("later"), after: []string{"later", stamp(14, 0)}},
		"an expired key": {o: day, do: renewing("gone"), after: []string{"gone", stamp(10, day.TTL)}},
		"a new key":      {o: day, do: renewing("new"), after: []string{"new", stamp(10, day.TTL)}},
	} {
		t.Run(name, func(t *testing.T) { shmtest.EachTick(t, s.setup) })
	}
}
