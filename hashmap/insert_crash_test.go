//go:build crash

package hashmap

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// The path that links the entry of a new key makes the stores of a guard, in its order,
// also where the segment is to be split after it.
func TestCrash_Insert_AsGuard(t *testing.T) {
	for _, o := range []*Options{{Capacity: 50}, {Capacity: 50, TTL: time.Hour}, {Capacity: 4}} {
		for entries := range 30 {
			seg := shmtest.Segment(t, tiny)
			m, err := Create[string, []byte](shmtest.OnSegment(t, seg, tiny), "m", o)
			require.NoError(t, err)
			m.clock.fake = func() uint64 { return origin }
			for i := range entries + 1 {
				require.NoError(t, m.Store(fmt.Sprint("x", i), []byte("12345")))
			}
			k := insertable(m, anywhere)
			frame := shmtest.Frame(seg)
			insert := func(put func(m *Map[string, []byte], op *slab.Op, key mem.Ptr, n, h, ref uint64) bool) [][]byte {
				return framesOf(t, frame, seg, "x0", func(m *Map[string, []byte]) {
					v := []byte("54321")
					key, n := m.key(&k)
					op, ref, err := m.begin(key, n, &v)
					require.NoError(t, err)
					require.True(t, put(m, &op, key, n, hashKey(key, n, &m.secrets), ref))
					op.End()
				})
			}
			path := insert(func(m *Map[string, []byte], op *slab.Op, _ mem.Ptr, _, h, ref uint64) bool {
				return m.insert(op, h, ref)
			})
			guards := insert(func(m *Map[string, []byte], op *slab.Op, key mem.Ptr, n, h, ref uint64) bool {
				return m.putGuarded(op, key, n, h, ref) == nil
			})
			sameStores(t, path, guards, fmt.Sprintf("%+v, %d entries", *o, entries))
		}
	}
}
