package value_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

// BenchmarkWake is a round trip between two processes.
func BenchmarkWake(b *testing.B) {
	a := shmtest.Named(b, nil)
	ping, err := value.Create(a, "ping", uint64(0))
	require.NoError(b, err)
	pong, err := value.Create(a, "pong", uint64(0))
	require.NoError(b, err)
	shmtest.Start(b, "echo", a.Name())
	version := uint64(1)
	for b.Loop() {
		_ = ping.Store(1)
		_, version, _ = pong.Wait(b.Context(), version)
	}
}
