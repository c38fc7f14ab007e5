package slab

import (
	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
)

var (
	// ErrFull says that the arena has reached its limit and has no block of the
	// size asked for.
	ErrFull = arena.ErrFull
	// ErrClosed says that the handle or the arena was closed.
	ErrClosed = arena.ErrClosed
	// ErrRemoved says that the structure was removed or replaced by another one.
	ErrRemoved = arena.ErrRemoved
	// ErrTypeMismatch says that a structure was made with another type, or that a
	// type can't be shared.
	ErrTypeMismatch = arena.ErrTypeMismatch
	// ErrCorrupt says that the segment is damaged.
	ErrCorrupt = arena.ErrCorrupt
	// ErrReadOnly says that the arena was opened read-only.
	ErrReadOnly = arena.ErrReadOnly
	// ErrNotAllocated says that an offset is not that of a block in use: it was
	// freed before, lies inside a block, or was never handed out.
	ErrNotAllocated = pages.ErrNotAllocated
)
