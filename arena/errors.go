package arena

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/shm"
)

// Errors at opening.
var (
	// ErrVersion says that the segment has another layout version, word size or
	// byte order.
	ErrVersion = errors.New("incompatible segment layout")
	// ErrTypeMismatch says that an object is of another kind or holds other types.
	ErrTypeMismatch = errors.New("type mismatch")
	// ErrNotReady says that the arena was created but its init function has not
	// completed, and that this opener has none to run. It wraps fs.ErrNotExist.
	ErrNotReady = fmt.Errorf("arena is not initialised: %w", fs.ErrNotExist)
	// ErrBusy says that another process holds the segment for removal, or that
	// no process slot is free.
	ErrBusy = errors.New("arena is busy")
)

// Errors of operations.
var (
	// ErrFull says that the arena, a table of it, or a structure has reached its
	// limit.
	ErrFull = errors.New("full")
	// ErrNoSpace says that the file system has no room for the segment to grow.
	ErrNoSpace = shm.ErrNoSpace
	// ErrClosed says that the arena was closed. It wraps fs.ErrClosed.
	ErrClosed = shm.ErrClosed
	// ErrCorrupt says that the bytes of the segment make no sense.
	ErrCorrupt = mem.ErrCorrupt
	// ErrRemoved says that the object of a handle was removed or replaced.
	ErrRemoved = fmt.Errorf("object was removed: %w", fs.ErrNotExist)
	// ErrReadOnly says that the arena was opened read-only.
	ErrReadOnly = fmt.Errorf("arena is open read-only: %w", fs.ErrPermission)
)
