//go:build crash

package slab_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// TestCrash_Object: putting and taking, cut off at every tick, have happened or
// have not.
func TestCrash_Object(t *testing.T) {
	steps := map[string]struct {
		do            func(q *slab.Object[queue]) error
		before, after []string
	}{
		"put":  {func(q *slab.Object[queue]) error { return put(q, "third") }, []string{"first", "second"}, []string{"first", "second", "third"}},
		"take": {func(q *slab.Object[queue]) error { _, _, err := take(q); return err }, []string{"first", "second"}, []string{"second"}},
	}
	for what, s := range steps {
		t.Run(what, func(t *testing.T) {
			shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
				seg := shmtest.Segment(t, queueOptions)
				q, err := slab.Create[queue](shmtest.OnSegment(t, seg, nil), "q", nil)
				require.NoError(t, err)
				for _, text := range []string{"gone", "first", "second"} {
					require.NoError(t, put(q, text))
				}
				_, _, err = take(q) // its block is the next one to be handed out, by a round of our own
				require.NoError(t, err)
				return &shmtest.Run{
					Segment: seg,
					Do:      func() { require.NoError(t, s.do(q)) },
					Verify: func(t *testing.T, a *arena.Arena, whole bool) {
						q, err := slab.Open[queue](a, "q")
						require.NoError(t, err)
						got := drain(t, q)
						require.True(t, slices.Equal(s.after, got) || !whole && slices.Equal(s.before, got), "%q, whole %v", got, whole)
						require.Equal(t, 1, shmtest.Clean(t, a).Blocks)
					},
				}
			})
		})
	}
}
