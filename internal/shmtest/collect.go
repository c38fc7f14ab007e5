package shmtest

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
)

// Collected returns the report of an arena when no removed object is held any
// more. The caller has dropped the handles that held them: what holds an object
// lets it go when it was collected.
func Collected(t testing.TB, a *arena.Arena) *arena.Report {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Microsecond) {
		runtime.GC()
		r, err := a.Check() // that a block is being freed may look like a problem
		if err == nil && r.Garbage == 0 && r.InFlight == 0 && r.LeakedBlocks == 0 {
			return r
		}
		require.True(t, time.Now().Before(limit), "still held: %+v, %v", r, err)
	}
}
