//go:build crash

package hashmap

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// TestCrash_Version: at every tick of an operation somebody takes the version and
// sights at the map; and the process is killed, at this tick or at any later one.
// Whoever has looked learns from a higher version that what he saw is not so any
// more, if it is not: from the survivor who waits, once he has looked twice.
func TestCrash_Version(t *testing.T) {
	first := map[string]string{hot: "old", "other": "value"}
	for what, do := range map[string]func(m *Map[string, []byte]) error{
		"replace":     func(m *Map[string, []byte]) error { return m.Store(hot, []byte("new")) },
		"insert":      func(m *Map[string, []byte]) error { return m.Store("new key", nil) },
		"delete":      func(m *Map[string, []byte]) error { return second(m.Delete(hot)) },
		"clear":       func(m *Map[string, []byte]) error { return m.Clear() },
		"replace all": func(m *Map[string, []byte]) error { return m.ReplaceAll(maps.All(map[string][]byte{hot: nil})) },
		"two stores": func(m *Map[string, []byte]) error {
			if err := m.Store(hot, []byte("second")); err != nil {
				return err
			}
			return m.Store(hot, []byte("third"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			run := (&scene{before: first, do: do}).setup(t)
			m, err := Open[string, []byte](shmtest.OnSegment(t, run.Segment, tiny), "m", nil)
			require.NoError(t, err)
			var sights []sight
			see := func() {
				version := m.Version()
				sights = append(sights, sight{version, threeKeys(m)})
			}
			frames := watched(run, see)
			require.Len(t, frames, len(sights))
			for k, frame := range frames {
				a, err := arena.Attach(shmtest.Thaw(frame, run.Segment), nil)
				require.NoError(t, err)
				survivor, err := Open[string, []byte](a, "m", nil)
				require.NoError(t, err)
				survivor.complete()
				survivor.complete()
				version, content := survivor.Version(), threeKeys(survivor)
				for _, l := range sights[:k+1] {
					if !maps.Equal(l.content, content) {
						require.Greater(t, version, l.version, "killed at tick %d", k)
					}
				}
				require.NoError(t, a.Close())
			}
			t.Logf("%d ticks", len(frames)-1)
		})
	}
}

// sight is what somebody saw.
type sight struct {
	version uint64
	content map[string]string
}

// watched runs the operation, and calls see and copies the segment at each tick and
// at the end.
func watched(run *shmtest.Run, see func()) (frames [][]byte) {
	fault.Reset()
	fault.SetHook(func(int64) {
		see()
		frames = append(frames, shmtest.Frame(run.Segment))
	})
	run.Do()
	fault.Reset()
	see()
	return append(frames, shmtest.Frame(run.Segment))
}

// threeKeys returns what these keys have, by Load: a walk would end at an exchange.
func threeKeys(m *Map[string, []byte]) map[string]string {
	all := make(map[string]string)
	for _, k := range []string{hot, "other", "new key"} {
		if v, ok := m.Load(k); ok {
			all[k] = string(v)
		}
	}
	return all
}
