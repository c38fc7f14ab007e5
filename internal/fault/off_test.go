//go:build !crash || !unix

package fault

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOff(t *testing.T) {
	require.False(t, Enabled)
	Tick()
	Pause()
	require.Zero(t, Count())
	Reset()
	require.Panics(t, func() { SetKill(1) })
	require.Panics(t, func() { SetHook(nil) })
	require.Panics(t, func() { SetPause(nil) })
}
