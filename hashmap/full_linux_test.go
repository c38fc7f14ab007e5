package hashmap

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// A value that is too large is refused before it is looked at: reading this one
// would fault.
func TestMap_Store_ValueTooLarge(t *testing.T) {
	v, err := unix.Mmap(-1, 0, 1<<32, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(v)) }()
	a := shmtest.Heap(t, roomy)
	m := create[string, []byte](t, a, "m", nil)
	require.NoError(t, m.Store("k", []byte("old")))
	require.ErrorIs(t, m.Store("k", v), ErrTooLarge)
	require.ErrorIs(t, m.Store("k", v[:1<<32-1]), ErrFull)
	got, ok := m.Load("k")
	require.True(t, ok)
	require.Equal(t, "old", string(got))
}

// A small file system of our own, full to the last page: an error, no SIGBUS.
func TestMap_Store_FullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	o := &arena.Options{Size: 64 << 10, MaxSize: 64 << 20, Dir: dir, Processes: 4, Objects: 8}
	a, err := arena.Create("full", o)
	require.NoError(t, err)
	m, err := Create[string, []byte](a, "m", &Options{Capacity: 10_000})
	require.NoError(t, err)
	n, err := fill(m, 500)
	require.ErrorIs(t, err, ErrNoSpace)
	require.Greater(t, n, 500)
	requireFilled(t, m, n, 500)

	// Space that appears is used, space that somebody else takes is missed.
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=2m"))
	require.NoError(t, os.WriteFile(dir+"/ballast", make([]byte, 700<<10), 0o600))
	for err = nil; err == nil; n++ {
		err = m.Store(key16(n), make([]byte, 500))
	}
	require.ErrorIs(t, err, ErrNoSpace)
	for i := range n - 1 {
		ok, err := m.Delete(key16(i))
		require.True(t, ok)
		require.NoError(t, err)
	}
	require.NoError(t, m.Check())
	shmtest.Clean(t, a)
	require.NoError(t, a.Close())
}
