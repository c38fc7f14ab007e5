//go:build crash

package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/fault"
)

// atTick runs do and calls f before the store of tick k. It returns the number
// of ticks.
func atTick(k int64, do, f func()) int64 {
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(n int64) {
		if n == k {
			f()
		}
	})
	do()
	fault.SetHook(nil)
	return fault.Count()
}

// A process that dies at any store of setting a hint loses it until the next
// rescan, and not for longer: not the hint of this page, nor of those beside it.
func TestCrash_SetHint(t *testing.T) {
	const kind = HintClass + of64
	ticks := int64(1)
	for k := int64(1); k <= ticks; k++ {
		a := newTable(t, 12, 3, 3)
		var frame []byte
		ticks = atTick(k, func() { a.setHint(kind, 0) }, func() { frame = a.words(t) })
		all, err := a.view.Slice(0, a.view.Limit())
		require.NoError(t, err)
		copy(all, frame)
		a.setHint(kind, 1)
		a.setHint(kind, 0) // as a rescan does
		require.Equal(t, 2, a.drain(kind), "tick %d", k)
	}
	t.Logf("%d ticks", ticks)
}
