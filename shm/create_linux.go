package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/fault"
)

// Creation, step by step, and what a death after each step leaves:
//
//	1 open a file without a name       nothing
//	2 allocate, map, fill, set mode    nothing
//	3 link the file to its name        the finished segment
//
// Step 3 is one system call and fails when the name exists, so of several
// creators one wins, and nobody ever opens half a segment. Nothing is renamed
// over: a segment in use cannot lose its name to a newer one.
//
// Where files without a name are not to be had, step 1 makes a hidden name
// and step 4 removes it; draft_linux.go says who removes it after a death.

func createNamed(p plan) (*Segment, error) {
	// Worth a look before gigabytes are allocated; the link decides.
	if _, err := os.Lstat(p.path); err == nil {
		return nil, nameTaken(p.path)
	}
	d, err := openDraft(p)
	if err != nil {
		return nil, err
	}
	return build(p, d)
}

// build turns a draft into a named segment. On failure, a panic of Prepare
// included, neither draft nor segment remains.
func build(p plan, d *draft) (_ *Segment, err error) {
	defer d.discard()
	s, err := mapDraft(p, d)
	if err != nil {
		return nil, err
	}
	linked := false
	defer func() {
		if !linked {
			err = errors.Join(err, s.Close())
		}
	}()
	if p.prepare != nil {
		if err := p.prepare(s); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	if err := s.backing.(*mapped).withFile(func(fd int) error { return publish(p, d, fd) }); err != nil {
		return nil, err
	}
	linked = true
	return s, nil
}

// mapDraft allocates and maps the draft's file, and takes it over.
func mapDraft(p plan, d *draft) (*Segment, error) {
	f := d.takeFile()
	if err := allocate(int(f.Fd()), p.path, 0, p.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return mapFile(f, p.name, p.path, p.size, p.reserve, true)
}

// publish opens the finished file to those who may use it: first the mode,
// which is subject to the umask when a file is opened but not here, then, in
// one step, the name.
func publish(p plan, d *draft, fd int) error {
	if err := restart(func() error { return unix.Fchmod(fd, uint32(p.mode)) }); err != nil {
		return pathError("chmod", p.path, err)
	}
	from, flags := procPath(fd), unix.AT_SYMLINK_FOLLOW
	if d.path != "" {
		from, flags = d.path, 0
	}
	fault.Tick()
	err := restart(func() error { return unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, p.path, flags) })
	if errors.Is(err, fs.ErrExist) {
		return nameTaken(p.path)
	}
	return pathError("link", p.path, err)
}

func nameTaken(path string) error {
	return &fs.PathError{Op: "link", Path: path, Err: unix.EEXIST}
}

// openDraft prefers a file without a name.
func openDraft(p plan) (*draft, error) {
	d, err := openUnnamed(filepath.Dir(p.path))
	if errors.Is(err, errors.ErrUnsupported) {
		d, err = openHidden(p.path)
	}
	return d, err
}

// openUnnamed opens a file that is in no directory. It needs a file system
// that knows such files, and /proc to link the file later.
func openUnnamed(dir string) (*draft, error) {
	f, err := openFile(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("file without a name: %w", errors.ErrUnsupported)
	case err != nil:
		return nil, err
	}
	if err := restart(func() error { return unix.Access(procPath(int(f.Fd())), unix.F_OK) }); err != nil {
		return nil, errors.Join(fmt.Errorf("no /proc: %w", errors.ErrUnsupported), f.Close())
	}
	return &draft{file: f}, nil
}
