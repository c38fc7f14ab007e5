//go:build crash

package arena_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// Who opens an object does not wait for a process that has taken its name away
// meanwhile, and was stopped in the directory.
func TestCrash_OpenBehindStoppedDirectory(t *testing.T) {
	for k := int64(1); k <= 4; k++ {
		seg, stopped := withObject(t)
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		fault.Reset()
		fault.SetHook(func(n int64) {
			if n == k {
				fault.SetHook(nil)
				arena.StopInRemove(stopped, "x")
			}
		})
		returns(t, func() { _, _ = shmtest.Find(a, "x") })
		fault.Reset()
	}
}
