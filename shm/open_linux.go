package shm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/mem"
)

func openNamed(name, path string, o *OpenOptions) (*Segment, error) {
	f, st, err := openRegular(path, o.ReadOnly)
	if err != nil {
		return nil, err
	}
	reserve, err := examine(f, st, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return mapFile(f, name, path, st.Size, reserve, !o.ReadOnly)
}

// openRegular opens a regular file, and nothing that pretends to be one: no
// link to elsewhere, and no device or pipe, at which an open might hang.
func openRegular(path string, readOnly bool) (*os.File, *unix.Stat_t, error) {
	flags := unix.O_NOFOLLOW | unix.O_NONBLOCK
	if readOnly {
		flags |= unix.O_RDONLY
	} else {
		flags |= unix.O_RDWR
	}
	f, err := openFile(path, flags, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, nil, fmt.Errorf("regular file expected, symbolic link found: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	var st unix.Stat_t
	fd := int(f.Fd())
	err = restart(func() error { return unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%s: regular file expected, file type %#o found: %w", path, st.Mode&unix.S_IFMT, fs.ErrInvalid)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, &st, nil
}

// examine decides whether the file may be mapped, and returns how much
// address space to reserve for it.
func examine(f *os.File, st *unix.Stat_t, o *OpenOptions) (int64, error) {
	if !o.AnyOwner {
		if err := checkOwner(st); err != nil {
			return 0, err
		}
	}
	if st.Size <= 0 {
		return 0, fmt.Errorf("%w: the file is empty, and a segment never is: it is filled before it gets its name", mem.ErrCorrupt)
	}
	reserve := st.Size
	if o.Verify != nil {
		var err error
		if reserve, err = o.Verify(io.NewSectionReader(f, 0, st.Size), st.Size); err != nil {
			return 0, err
		}
	}
	if reserve < st.Size || reserve > maxReserve {
		return 0, fmt.Errorf("%w: address space for %d bytes found, between %d (the file) and %d expected",
			mem.ErrCorrupt, reserve, st.Size, int64(maxReserve))
	}
	return wholePages(reserve), fitsAddress(wholePages(reserve))
}

// checkOwner refuses a file that somebody else made, or anybody may change.
func checkOwner(st *unix.Stat_t) error {
	if me := os.Geteuid(); int(st.Uid) != me {
		return fmt.Errorf("owner %d found, %d (this process) expected unless AnyOwner is set: %w", st.Uid, me, fs.ErrPermission)
	}
	if mode := st.Mode & 0o777; mode&unix.S_IWOTH != 0 {
		return fmt.Errorf("mode %#o found, not writable by everybody expected unless AnyOwner is set: %w", mode, fs.ErrPermission)
	}
	return nil
}
