package shm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/psync"
)

// A draft is the file of a segment that has no name yet. Where the system
// cannot hold a file without any name, the draft has a hidden one, with a
// random part that is never used twice. While its creator lives, the creator
// holds an exclusive byte lock on it; so a hidden name whose lock is free was
// left by the dead, and anybody may remove it.
type draft struct {
	file *os.File    // until it is mapped
	path string      // hidden name, or ""
	lock psync.Bytes // on the hidden file, or nil
}

// draftByte is the position that the creator of a hidden file holds.
const draftByte = 1 << 61

// openHidden creates a hidden file and locks it. A sweeper may come between
// the two steps and remove the file: then another one is made.
func openHidden(path string) (*draft, error) {
	if err := sweep(filepath.Dir(path)); err != nil {
		return nil, err
	}
	for {
		d := &draft{path: hiddenPath(path)}
		err := d.create()
		if err == nil {
			err = d.claim()
		}
		if err == nil {
			return d, nil
		}
		d.discard()
		if !errors.Is(err, errSwept) {
			return nil, err
		}
	}
}

var errSwept = errors.New("hidden file was removed before it was locked")

func hiddenPath(path string) string {
	name := strings.TrimPrefix(filepath.Base(path), filePrefix)
	return filepath.Join(filepath.Dir(path), draftPrefix+name+"."+rand.Text())
}

func (d *draft) create() (err error) {
	d.file, err = openFile(d.path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		d.path = "" // whatever is there is not ours to remove
	}
	return err
}

// claim locks the hidden file, and makes sure that the file locked is the one
// created, and still there.
func (d *draft) claim() (err error) {
	if d.lock, err = lockHidden(d.path); err != nil {
		return err
	}
	if d.lock == nil {
		return errSwept
	}
	there, err := leadsTo(d.path, int(d.file.Fd()))
	if err == nil && !there {
		err = errSwept
	}
	return err
}

// lockHidden takes the draft byte of a hidden file, on a description of its
// own. It returns nil when the file is gone, or held by somebody else.
func lockHidden(path string) (psync.Bytes, error) {
	f, err := openFile(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lock := psync.OFD(f)
	if ok, err := lock.TryLock(draftByte); !ok || err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// takeFile hands the file over to the caller.
func (d *draft) takeFile() *os.File {
	f := d.file
	d.file = nil
	return f
}

// discard removes the hidden name, if any, and then lets go of the lock: the
// other way round a sweeper could find the name unlocked. The segment's own
// name, once linked, is another one and stays. A hidden name that cannot be
// removed now is left to the next sweep.
func (d *draft) discard() {
	if d.path != "" {
		_ = removeNamed(d.path)
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
	if d.file != nil {
		_ = d.file.Close()
	}
}

// sweep removes the hidden files that dead creators left in a directory. A
// file it may not open or remove is another user's business.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), draftPrefix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		lock, _ := lockHidden(path)
		if lock == nil {
			continue // its creator lives, or it is none of ours
		}
		if err := errors.Join(removeNamed(path), lock.Close()); err != nil && !forgivable(err) {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

func forgivable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}
