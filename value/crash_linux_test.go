//go:build crash

package value_test

import (
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
			verifyVerbs(t, b, killed)
			for _, o := range b.Objects() {
				require.NoError(t, b.Remove(o.Name))
			}
			require.NoError(t, b.Close())
		})
}
