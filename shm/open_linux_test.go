package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/mem"
)

// plant puts something where the segment "x" is expected.
func plant(t *testing.T, put func(path string) error) *OpenOptions {
	dir := testDir(t)
	require.NoError(t, put(filepath.Join(dir, "shmkit.x")))
	return &OpenOptions{Dir: dir}
}

func requireRefused(t *testing.T, o *OpenOptions, want error, text string) {
	t.Helper()
	for _, readOnly := range []bool{false, true} {
		o := *o
		o.ReadOnly = readOnly
		_, err := Open("x", &o)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, `open "x"`)
	}
}

func TestOpen_SymbolicLink(t *testing.T) {
	o := plant(t, func(path string) error {
		target := path + "-target"
		if err := os.WriteFile(target, make([]byte, 4096), 0o600); err != nil {
			return err
		}
		return os.Symlink(target, path)
	})
	requireRefused(t, o, unix.ELOOP, "symbolic link found")
	o.AnyOwner = true
	requireRefused(t, o, unix.ELOOP, "symbolic link found")
}

func TestOpen_NotRegular(t *testing.T) {
	o := plant(t, func(path string) error { return unix.Mkfifo(path, 0o600) })
	requireRefused(t, o, fs.ErrInvalid, "regular file expected, file type 010000 found") // and does not hang
	o = plant(t, func(path string) error { return os.Mkdir(path, 0o700) })
	o.ReadOnly = true
	_, err := Open("x", o)
	require.ErrorContains(t, err, "regular file expected")
	o.ReadOnly = false
	_, err = Open("x", o)
	require.ErrorIs(t, err, unix.EISDIR)
}

func TestOpen_Empty(t *testing.T) {
	o := plant(t, func(path string) error { return os.WriteFile(path, nil, 0o600) })
	requireRefused(t, o, mem.ErrCorrupt, "empty")
}

func TestOpen_Missing(t *testing.T) {
	requireRefused(t, &OpenOptions{Dir: testDir(t)}, fs.ErrNotExist, "shmkit.x")
	_, err := Open("../x", nil)
	require.ErrorIs(t, err, ErrName)
}

func TestOpen_WorldWritable(t *testing.T) {
	o := plant(t, func(path string) error {
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			return err
		}
		return os.Chmod(path, 0o666)
	})
	requireRefused(t, o, fs.ErrPermission, "mode 0666 found")
	o.AnyOwner = true
	mustOpen(t, "x", o)
}

func TestOpen_OtherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	o := plant(t, func(path string) error {
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			return err
		}
		return os.Chown(path, 4242, 4242)
	})
	requireRefused(t, o, fs.ErrPermission, "owner 4242 found, 0 (this process) expected")
	o.AnyOwner = true
	mustOpen(t, "x", o)
}

func TestOpen_NoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open anything")
	}
	o := plant(t, func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o400) })
	_, err := Open("x", o)
	require.ErrorIs(t, err, fs.ErrPermission)
	o.ReadOnly = true
	mustOpen(t, "x", o)
}

// sizeWord verifies a file that begins with the size it ought to have.
func sizeWord(r io.ReaderAt, size int64) (int64, error) {
	var b [8]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return 0, err
	}
	if want := int64(binary.LittleEndian.Uint64(b[:])); want != size {
		return 0, fmt.Errorf("%w: %d bytes expected, %d found", mem.ErrCorrupt, want, size)
	}
	return 1 << 20, nil
}

func TestOpen_Verify(t *testing.T) {
	o := plant(t, func(path string) error {
		b := make([]byte, 8192)
		binary.LittleEndian.PutUint64(b, 8192)
		return os.WriteFile(path, b, 0o600)
	})
	o.Verify = sizeWord
	s := mustOpen(t, "x", o)
	require.EqualValues(t, 1<<20, s.Reserved())
	require.EqualValues(t, 8192, s.View().Limit())

	require.NoError(t, os.Truncate(s.Path(), 5000))
	requireRefused(t, o, mem.ErrCorrupt, "8192 bytes expected, 5000 found")
	require.NoError(t, os.Truncate(s.Path(), 3))
	requireRefused(t, o, io.EOF, "")

	o.Verify = func(r io.ReaderAt, size int64) (int64, error) {
		_, err := r.ReadAt(make([]byte, 1), size)
		return 0, errors.Join(err, fs.ErrInvalid)
	}
	requireRefused(t, o, io.EOF, "") // behind the end there is nothing to read
}

func TestOpen_AbsurdReserve(t *testing.T) {
	o := plant(t, func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o600) })
	for _, n := range []int64{-1, 0, 99, 1<<46 + 1, 1 << 62} {
		o.Verify = reserve(n)
		requireRefused(t, o, mem.ErrCorrupt, fmt.Sprintf("%d bytes found, between 100", n))
	}
	o.Verify = reserve(100)
	require.EqualValues(t, 100, mustOpen(t, "x", o).View().Limit())
}

// A file that claims more than fits in memory is opened only as far as
// address space goes; nothing of it is touched.
func TestOpen_HugeFile(t *testing.T) {
	o := plant(t, func(path string) error {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		return os.Truncate(path, 1<<46+4096)
	})
	requireRefused(t, o, mem.ErrCorrupt, "address space")
}

func TestOpen_LeavesNothingOpen(t *testing.T) {
	o := plant(t, func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o600) })
	sad := errors.New("sad")
	o.Verify = func(io.ReaderAt, int64) (int64, error) { return 0, sad }
	before := openFiles(t)
	for range 10 {
		requireRefused(t, o, sad, "")
	}
	require.Equal(t, before, openFiles(t))
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
