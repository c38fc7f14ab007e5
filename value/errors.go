package value

import "github.com/shmkit/shmkit/arena"

// Errors at opening, beside fs.ErrExist and fs.ErrNotExist.
var (
	// ErrTypeMismatch says that the object is of another kind or type, or that
	// the type can't be shared as a value: it has pointers, padding, or more than
	// 8 bytes.
	ErrTypeMismatch = arena.ErrTypeMismatch
	// ErrCorrupt says that the bytes of the object make no sense.
	ErrCorrupt = arena.ErrCorrupt
	// ErrFull says that the arena has no room for another object.
	ErrFull = arena.ErrFull
	// ErrNoSpace says that the file system has no room for the arena to grow.
	ErrNoSpace = arena.ErrNoSpace
)

// Errors of operations.
var (
	// ErrClosed says that the handle or the arena was closed.
	ErrClosed = arena.ErrClosed
	// ErrRemoved says that the object was removed or replaced by another one.
	ErrRemoved = arena.ErrRemoved
	// ErrReadOnly says that the arena was opened read-only.
	ErrReadOnly = arena.ErrReadOnly
)
