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
	// ErrCodec says that the codec of an Encoded map could not encode or decode a
	// value. The codec's own error is wrapped beside it.
	ErrCodec = errors.New("codec failed")
	// ErrTooLarge says that a key or a value is larger than a map can hold.
	ErrTooLarge = errors.New("key or value too large")
	// ErrReplaced says that the whole content was exchanged, by Clear or
	// ReplaceAll, while it was being read: what was read so far is of the old one.
	ErrReplaced = errors.New("the content was replaced meanwhile")
	// ErrCursor says that a cursor is none that a scan of this map has returned.
	ErrCursor = errors.New("cursor of another map")
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
