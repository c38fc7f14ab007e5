package slab

import (
	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
)

var (
	// ErrFull says that the arena has reached its limit and has no block of the
	// size asked for.
	ErrFull = arena.ErrFull
	// ErrNotAllocated says that an offset is not that of a block in use: it was
	// freed before, lies inside a block, or was never handed out.
	ErrNotAllocated = pages.ErrNotAllocated
)
