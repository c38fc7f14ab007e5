package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// These bound one fallocate call. On tmpfs a signal may interrupt the call,
// which then undoes all it did; so the pieces are small, and get smaller as
// long as signals come faster than pieces are done.
const (
	largestPiece  = 16 << 20
	smallestPiece = 64 << 10
)

// mapped is the backing of a named segment: a file and a mapping of it.
type mapped struct {
	mu       sync.RWMutex // held for reading while the descriptor is in use
	file     *os.File     // nil once closed
	path     string
	writable bool
	memory   []byte
}

// mapFile makes a segment of an open file, which it takes over: on failure
// the file is closed.
func mapFile(f *os.File, name, path string, size, reserve int64, writable bool) (*Segment, error) {
	memory, err := mem.Map(int(f.Fd()), int(reserve), writable)
	for try := 0; errors.Is(err, unix.ENOMEM) && try < 20; try++ {
		// Closed segments keep their address range until they are collected.
		runtime.GC()
		time.Sleep(time.Millisecond) // cleanups run on their own
		memory, err = mem.Map(int(f.Fd()), int(reserve), writable)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	view := mem.NewView(memory, uint64(size))
	// The cleanup hangs on the view, which handles keep when they have
	// dropped the segment, and knows only the address and the length.
	runtime.AddCleanup(view, unmap, memory)
	s := newSegment(view, &mapped{file: f, path: path, writable: writable, memory: memory})
	s.name, s.path, s.readOnly = name, path, !writable
	return s, nil
}

// unmap runs when nothing can reach the memory any more. It fails only for
// an address range that is not a mapping, which this one is.
func unmap(memory []byte) { _ = mem.Unmap(memory) }

// withFile keeps the file open while f uses its descriptor: after a close
// the number could stand for another file.
func (m *mapped) withFile(f func(fd int) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.file == nil {
		return ErrClosed
	}
	return f(int(m.file.Fd()))
}

func (m *mapped) stat() (st unix.Stat_t, err error) {
	err = m.withFile(func(fd int) error {
		return restart(func() error { return unix.Fstat(fd, &st) })
	})
	return st, err
}

func (m *mapped) size() (int64, error) {
	st, err := m.stat()
	return st.Size, err
}

func (m *mapped) allocate(off, n int64) error {
	return m.withFile(func(fd int) error { return allocate(fd, m.path, off, n) })
}

func (m *mapped) prefault(off, n int64) {
	first := off &^ int64(os.Getpagesize()-1)
	_ = m.withFile(func(int) error { // and not what close has put in its place
		return unix.Madvise(m.memory[first:off+n], unix.MADV_POPULATE_WRITE)
	})
}

// allocate sets space aside in [off, off+n).
func allocate(fd int, path string, off, n int64) error {
	if n > largestPiece && !mayFit(fd, off+n) {
		return allocateError(unix.ENOSPC, path, off, off+n)
	}
	err := inPieces(off, n, func(at, size int64) error {
		fault.Tick()
		return unix.Fallocate(fd, 0, at, size)
	})
	if err != nil {
		return allocateError(err, path, off, off+n)
	}
	return nil
}

// mayFit reports whether tmpfs has room for a file to grow to end bytes. What is
// allocated piece by piece and comes to nothing would stay allocated, and everybody
// else would find the file system full.
func mayFit(fd int, end int64) bool {
	var st unix.Stat_t
	var fsys unix.Statfs_t
	err := restart(func() error { return unix.Fstat(fd, &st) })
	if err == nil {
		err = restart(func() error { return unix.Fstatfs(fd, &fsys) })
	}
	if err != nil || fsys.Type != unix.TMPFS_MAGIC || fsys.Blocks == 0 {
		return true
	}
	return end-st.Size <= int64(fsys.Bavail)*int64(fsys.Bsize)
}

// inPieces covers [off, off+n) from the front. A piece that a signal
// interrupted is done again, smaller.
func inPieces(off, n int64, do func(at, size int64) error) error {
	piece := int64(largestPiece)
	for at, end := off, off+n; at < end; {
		size := min(piece, end-at)
		switch err := do(at, size); {
		case err == nil:
			at += size
		case errors.Is(err, unix.EINTR):
			piece = max(piece/2, smallestPiece)
		default:
			return err
		}
	}
	return nil
}

// allocateError says who is full, and how full, rather than "disk full".
func allocateError(err error, path string, off, end int64) error {
	switch errno, _ := errors.AsType[unix.Errno](err); errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.ENOMEM:
		dir := filepath.Dir(path)
		return fmt.Errorf("%w: range [%d, %d) wanted, %s in %s: %w", ErrNoSpace, off, end, freeSpace(dir), dir, err)
	case unix.EOPNOTSUPP:
		return fmt.Errorf("range [%d, %d): the file system of %s does not allocate ahead: %w", off, end, path, err)
	}
	return fmt.Errorf("range [%d, %d): %w", off, end, err)
}

func freeSpace(dir string) string {
	var st unix.Statfs_t
	if err := restart(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return "an unknown number of bytes free"
	}
	return fmt.Sprintf("%d bytes free", int64(st.Bavail)*int64(st.Bsize))
}

func (m *mapped) locks() (b psync.Bytes, err error) {
	err = m.withFile(func(fd int) error {
		f, err := m.reopen(fd)
		if err == nil {
			b = psync.OFD(f)
		}
		return err
	})
	return b, err
}

// reopen makes another open file description of the same file. A duplicate
// descriptor would not do: it shares the locks. Without /proc the file is
// looked up again, and must be the same one.
func (m *mapped) reopen(fd int) (*os.File, error) {
	flags := unix.O_RDONLY
	if m.writable {
		flags = unix.O_RDWR
	}
	f, err := openFile(procPath(fd), flags, 0)
	if err != nil {
		f, err = openFile(m.path, flags|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	if same, err := sameFile(fd, int(f.Fd())); !same || err != nil {
		return nil, errors.Join(fmt.Errorf("%s leads to another file: %w", m.path, fs.ErrNotExist), err, f.Close())
	}
	return f, nil
}

func (m *mapped) linked() (ok bool, err error) {
	err = m.withFile(func(fd int) error {
		ok, err = leadsTo(m.path, fd)
		return err
	})
	return ok, err
}

func (m *mapped) unlink() error {
	ok, err := m.linked()
	if !ok || err != nil {
		return err
	}
	fault.Tick()
	if err := removeNamed(m.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (m *mapped) twin() (t *Segment, err error) {
	err = m.withFile(func(fd int) error {
		f, err := m.reopen(fd)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := restart(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
			return errors.Join(err, f.Close())
		}
		t, err = mapFile(f, "", m.path, st.Size, st.Size, m.writable)
		return err
	})
	return t, err
}

// close cannot wait until no goroutine is inside the memory, and readers
// announce nothing. So the range is not unmapped here: a late access would
// fault, or reach whatever is mapped there next. One system call puts zeros
// of our own in its place; the range goes when the view is unreachable.
func (m *mapped) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	f := m.file
	m.file = nil
	return errors.Join(mem.Overlay(m.memory), f.Close())
}

func removeNamed(path string) error {
	err := restart(func() error { return unix.Unlink(path) })
	return pathError("unlink", path, err)
}

// openFile opens without the poller and without inheritance to children.
func openFile(path string, flags int, mode uint32) (*os.File, error) {
	var fd int
	err := restart(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// leadsTo reports whether path names the very file that is open as fd.
func leadsTo(path string, fd int) (bool, error) {
	var there, here unix.Stat_t
	err := restart(func() error { return unix.Lstat(path, &there) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = restart(func() error { return unix.Fstat(fd, &here) })
	}
	return err == nil && same(&there, &here), pathError("lstat", path, err)
}

func sameFile(a, b int) (bool, error) {
	var sa, sb unix.Stat_t
	err := restart(func() error { return unix.Fstat(a, &sa) })
	if err == nil {
		err = restart(func() error { return unix.Fstat(b, &sb) })
	}
	return err == nil && same(&sa, &sb), err
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func pathError(operation, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: operation, Path: path, Err: err}
}

// restart repeats a system call that a signal interrupted.
func restart(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
