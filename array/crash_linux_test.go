//go:build crash

package array_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
)

// A real process dies at every tick of all verbs, and the next one goes on.
func TestCrash_EachKill(t *testing.T) {
	a := shmtest.Named(t, nil)
	shmtest.EachKill(t, 1,
		func(k int64) *shmtest.Child { return shmtest.ArmedAt(t, k, "verbs", a.Name()) },
		func(killed bool) {
			b := shmtest.Again(t, a, nil)
			shmtest.Clean(t, b)
			got := found(t, b)
			if !killed {
				require.Equal(t, []uint64{2, 2, 2}, got)
			}
			require.True(t, slices.IsSortedFunc(got, func(p, q uint64) int { return int(q) - int(p) }), "%v", got)
			if got != nil {
				require.NoError(t, b.Remove("x"))
			}
			require.NoError(t, b.Close())
		})
}
