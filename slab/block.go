package slab

import (
	"fmt"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
)

// The contents of blocks, for structures outside this module: copied in and out,
// and never beyond the block. They are copied by words where readers are to see
// whole words, so a copy begins at a multiple of 8.

// Write copies p into the block at ref, from byte off on, a multiple of 8. The block is one
// that nobody else reads yet: reserved, and not yet published.
func (s *Slab) Write(ref, off uint64, p []byte) error {
	at, err := s.span(ref, off, uint64(len(p)))
	if err == nil {
		mem.CopyIn(at, p)
	}
	return err
}

// Read copies from the block at ref, from byte off on, a multiple of 8, to all of
// p. The block is one of a structure whose lock is held. Who reads without a lock compares a
// version of the structure before and after: meanwhile the block may be freed, and
// contain anything; then Read may also return an error.
func (s *Slab) Read(ref, off uint64, p []byte) error {
	at, err := s.span(ref, off, uint64(len(p)))
	if err == nil {
		mem.CopyOut(p, at)
	}
	return err
}

// span finds n bytes of a block, from byte off on.
func (s *Slab) span(ref, off, n uint64) (mem.Ptr, error) {
	if s.f.Closed.Load() {
		return mem.Ptr{}, arena.ErrClosed
	}
	size, err := s.f.Pages.Size(ref)
	if err != nil {
		return mem.Ptr{}, err
	}
	if off > size || n > size-off || off%8 != 0 {
		return mem.Ptr{}, fmt.Errorf("slab: %d bytes from byte %d on of the block at %#x: want a multiple of 8, and no more than the %d it has", n, off, ref, size)
	}
	if err := s.f.View.Check(ref, size, 8); err != nil {
		return mem.Ptr{}, err
	}
	return s.f.View.Base().Add(ref + off), nil
}
