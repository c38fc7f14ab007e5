package hashmap

import (
	"errors"

	"github.com/shmkit/shmkit/arena"
)

var (
	// ErrFull says that the map has no room for another key, or the arena none
	// for another entry.
	ErrFull = arena.ErrFull
	// ErrNoSpace says that the file system has no room for the arena to grow.
	ErrNoSpace = arena.ErrNoSpace
	// ErrClosed says that the arena or the handle was closed.
	ErrClosed = arena.ErrClosed
	// ErrCorrupt says that the bytes of the segment make no sense.
	ErrCorrupt = arena.ErrCorrupt
	// ErrTypeMismatch says that the map holds other keys or values.
	ErrTypeMismatch = arena.ErrTypeMismatch
	// ErrRemoved says that the map was removed or replaced by another.
	ErrRemoved = arena.ErrRemoved
	// ErrReadOnly says that the arena was opened read-only.
	ErrReadOnly = arena.ErrReadOnly
	// ErrTooLarge says that a key or a value is larger than a map can hold.
	ErrTooLarge = errors.New("key or value too large")
	// ErrLoad says that a load of [Map.Fetch] has failed in another process, or a
	// while ago; see [LoadError].
	ErrLoad = errors.New("load failed")
)

// LoadError is the error of a load that ran in another process, or a while ago. Of
// the error that it was there is the message left, or the first 136 bytes of it.
type LoadError struct{ Message string }

func (e *LoadError) Error() string { return e.Message }

// Unwrap returns ErrLoad.
func (e *LoadError) Unwrap() error { return ErrLoad }
