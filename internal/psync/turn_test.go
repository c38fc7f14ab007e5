package psync

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// One has the turn; the others wait until he gives it back, or their context ends.
func TestTurn(t *testing.T) {
	var turn Turn
	state := func(taken, awaited bool) {
		t.Helper()
		a, b := turn.State()
		require.Equal(t, [2]bool{taken, awaited}, [2]bool{a, b})
	}
	state(false, false)
	require.True(t, turn.Take(t.Context()))
	state(true, false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, turn.Take(ended))
	state(true, true)
	first, mine := turn.enter()
	require.False(t, mine)
	second, mine := turn.enter()
	require.False(t, mine)
	select {
	case <-first:
		t.Fatal("nobody has given the turn back")
	default:
	}
	turn.Give()
	<-first
	<-second
	state(false, false)
	require.True(t, turn.Take(t.Context()))
	back := make(chan bool)
	go func() { back <- turn.Take(t.Context()) }()
	for _, awaited := turn.State(); !awaited; _, awaited = turn.State() {
	}
	turn.Give()
	require.False(t, <-back)
}
