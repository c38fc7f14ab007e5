package arena_test

import (
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// smallFileSystem returns a directory with room for so much, as mount says it.
func smallFileSystem(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("mounting a file system of one's own needs privileges: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// A full file system is an error that says who is full, the process lives, what
// there was is untouched, and when there is room again growing goes on.
func TestSpace_Full(t *testing.T) {
	dir := smallFileSystem(t, "512k")
	a, err := arena.Create("a", &arena.Options{Size: 64 << 10, MaxSize: 64 << 20, Processes: 4, Objects: 8, Dir: dir})
	require.NoError(t, err)
	defer a.Close()
	require.NoError(t, os.WriteFile(dir+"/filler", make([]byte, 200<<10), 0o600))
	f := insides(a)
	for err == nil {
		err = f.Grow(f.Pages.Pages() + 1)
	}
	require.ErrorIs(t, err, arena.ErrNoSpace)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, dir)
	touchAll(t, a)
	size := a.Size()

	require.NoError(t, os.Remove(dir+"/filler"))
	require.NoError(t, f.Grow(f.Pages.Pages()+1))
	require.Greater(t, a.Size(), size)
	touchAll(t, a)
	shmtest.Clean(t, a)
}

// touchAll writes into every free page that is committed: none may fault.
func touchAll(t testing.TB, a *arena.Arena) {
	t.Helper()
	f := insides(a)
	data, err := f.View.Slice(f.DataOff, f.View.Limit()-f.DataOff)
	require.NoError(t, err)
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1
	}
}

// No space for the arena itself: nothing is left of the try.
func TestSpace_Create(t *testing.T) {
	dir := smallFileSystem(t, "512k")
	_, err := arena.Create("a", &arena.Options{Size: 4 << 20, Dir: dir})
	require.ErrorIs(t, err, arena.ErrNoSpace)
	_, err = arena.OpenOrCreate("a", &arena.Options{Size: 4 << 20, Dir: dir})
	require.ErrorIs(t, err, arena.ErrNoSpace)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	a, err := arena.Create("a", &arena.Options{Size: 64 << 10, MaxSize: 1 << 30, Dir: dir, Processes: 4, Objects: 8})
	require.NoError(t, err, "address space is no memory")
	require.NoError(t, a.Close())
}

// Whoever opens an arena while others let it grow may read the size of the file
// before it grew and the header after. That is no damage.
func TestOpen_WhileItGrows(t *testing.T) {
	o := &arena.Options{Size: 64 << 10, MaxSize: 8 << 20, Processes: 4, Objects: 8}
	for range 5 {
		a := shmtest.Named(t, o)
		f := insides(a)
		var all sync.WaitGroup
		all.Go(func() {
			for f.Grow(f.Pages.FreeTail()+1) == nil {
			}
		})
		for a.Size() < a.MaxSize()/2 {
			b, err := arena.Open(a.Name(), &arena.Options{ReadOnly: true})
			if err != nil {
				all.Wait()
			}
			require.NoError(t, err)
			require.NoError(t, b.Close())
		}
		all.Wait()
	}
}

// What can't be had is not taken in part: others would find the file system full.
func TestSpace_NotInPart(t *testing.T) {
	dir := smallFileSystem(t, "48m")
	a, err := arena.Create("a", &arena.Options{Size: 1 << 20, MaxSize: 1 << 30, Processes: 4, Objects: 8, Dir: dir})
	require.NoError(t, err)
	require.ErrorIs(t, shmtest.Place(a, "large", 100<<20), arena.ErrNoSpace)
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	require.Greater(t, int64(st.Bavail)*int64(st.Bsize), int64(40<<20))
	require.NoError(t, a.Close())
}
