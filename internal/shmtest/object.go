package shmtest

import (
	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// spec is what an object of Place is.
func spec(size uint64) arena.Spec {
	return arena.Spec{Kind: arena.KindOwn, Fingerprint: 0x0b1ec7, Types: "bytes", Size: size}
}

// Place makes an object of so many zeros, for tests that may not know a structure.
func Place(a *arena.Arena, name string, size uint64) error {
	_, err := slab.Of(a).Create(name, spec(size), func(root mem.Ptr) { mem.Zero(root, size) })
	return err
}

// Find opens an object that Place has made.
func Find(a *arena.Arena, name string) (*arena.Object, error) { return a.OpenObject(name, spec(0)) }
