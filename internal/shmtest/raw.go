package shmtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/shm"
)

// RawHeap returns a heap segment of zeros, for what stands below the arena.
func RawHeap(t testing.TB, size int64) *shm.Segment {
	t.Helper()
	seg, err := shm.Heap(&shm.Options{Size: size})
	require.NoError(t, err)
	return seg
}

// RawNamed returns a segment of zeros in a file of its own.
func RawNamed(t testing.TB, size int64) *shm.Segment {
	t.Helper()
	NeedNamed(t)
	seg, err := shm.Create(Name(t), &shm.Options{Size: size})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, seg.Close()) })
	return seg
}

// OpenRaw opens a segment of [RawNamed], in a child.
func OpenRaw(name string) *shm.Segment {
	seg, err := shm.Open(name, nil)
	Must(err)
	return seg
}
