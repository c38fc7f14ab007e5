package shm

import (
	"io/fs"
	"syscall"
)

// Errors met while creating or growing, and while operating. Beside these,
// errors wrap fs.ErrExist, fs.ErrNotExist and fs.ErrPermission where they
// mean that, as the os package does.
var (
	// ErrName is wrapped by the error for a name that is not allowed.
	ErrName error = &sentinel{"bad segment name", fs.ErrInvalid}

	// ErrNoSpace is wrapped by the error for space that the file system, a
	// quota or the reservation of the segment does not have. It wraps ENOSPC.
	ErrNoSpace error = &sentinel{"no space for the segment", syscall.ENOSPC}

	// ErrClosed is wrapped by the errors of a closed segment. It wraps
	// fs.ErrClosed.
	ErrClosed error = &sentinel{"segment is closed", fs.ErrClosed}
)

// sentinel is an error with a text of its own that means another one too.
type sentinel struct {
	text  string
	means error
}

func (s *sentinel) Error() string { return s.text }
func (s *sentinel) Unwrap() error { return s.means }
