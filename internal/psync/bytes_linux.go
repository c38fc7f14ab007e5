package psync

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/fault"
)

// ofd holds its locks on one open file description. The description must be
// used for nothing else: a mapping made from it would keep the locks after
// Close, and a duplicate handed to a child would keep them after our death.
type ofd struct {
	mu   sync.Mutex // one operation at a time: no two goroutines "both get" a byte
	file *os.File   // nil once closed
	fd   int
}

// OFD returns byte locks on the open file description behind f, which it
// takes over: f is closed by Close and must not be used any more. Exclusive
// locks need f open for writing, shared ones need it open for reading.
func OFD(f *os.File) Bytes {
	return &ofd{file: f, fd: int(f.Fd())}
}

func (o *ofd) TryLock(b uint64) (bool, error) {
	fault.Tick()
	return o.try(unix.F_WRLCK, b)
}

func (o *ofd) TryRLock(b uint64) (bool, error) {
	fault.Tick()
	return o.try(unix.F_RDLCK, b)
}

func (o *ofd) Unlock(b uint64) error {
	fault.Tick()
	_, err := o.try(unix.F_UNLCK, b)
	return err
}

// Held asks as a would-be reader, so that the kernel shows write locks only.
func (o *ofd) Held(b, n uint64) (bool, error) {
	if n == 0 { // to the kernel, length 0 means "up to the end"
		return false, nil
	}
	if err := checkPositions(b, n); err != nil {
		return false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	lk := flock(unix.F_RDLCK, b, n)
	if err := o.fcntl(unix.F_OFD_GETLK, &lk); err != nil {
		return false, fmt.Errorf("psync: probe of positions [%d, +%d): %w", b, n, err)
	}
	return lk.Type != unix.F_UNLCK, nil
}

func (o *ofd) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	f := o.file
	o.file = nil
	return f.Close()
}

func (o *ofd) try(kind int16, b uint64) (bool, error) {
	if err := checkPositions(b, 1); err != nil {
		return false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	lk := flock(kind, b, 1)
	err := o.fcntl(unix.F_OFD_SETLK, &lk)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("psync: %s of position %d: %w", lockNames[kind], b, err)
	}
	return true, nil
}

// fcntl runs under mu, which also keeps the file open meanwhile.
func (o *ofd) fcntl(cmd int, lk *unix.Flock_t) error {
	if o.file == nil {
		return os.ErrClosed
	}
	for {
		if err := unix.FcntlFlock(uintptr(o.fd), cmd, lk); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

var lockNames = map[int16]string{
	unix.F_WRLCK: "exclusive lock",
	unix.F_RDLCK: "shared lock",
	unix.F_UNLCK: "release",
}

// flock describes [b, b+n). The pid stays 0, as OFD locks require.
func flock(kind int16, b, n uint64) unix.Flock_t {
	return unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: int64(b), Len: int64(n)}
}
