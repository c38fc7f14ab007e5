package shmtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

func TestBackings(t *testing.T) {
	Backings(t, func(t *testing.T, open Opener) {
		a, b := open(&arena.Options{Size: 256 << 10, Processes: 4, Objects: 8})
		h, err := slab.Of(a).Create("x", arena.Spec{Kind: arena.KindValue, Size: 64}, func(p mem.Ptr) { mem.Zero(p, 64) })
		require.NoError(t, err)
		require.NoError(t, h.Err())
		require.Len(t, b.Objects(), 1)
		Clean(t, a)
		Clean(t, b)
	})
}
