//go:build crash

package shmtest

import "testing"

// EachKill starts a child that is killed at its k-th tick, for k from 1 on in
// steps of stride, until it ends by itself. After each one survive is called,
// in this process, to recover and verify what it left. It logs the ticks.
//
// start is called with k and returns the child of [KillAt] or [ArmedAt].
func EachKill(t *testing.T, stride int64, start func(k int64) *Child, survive func(killed bool)) {
	t.Helper()
	for k := int64(1); ; k += stride {
		killed := start(k).Wait()
		survive(killed)
		if !killed {
			t.Logf("%d ticks", k-1)
			return
		}
	}
}
