package shmtest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/slab"
)

// treeSpec is an object of a lock word and reference words: the plainest thing
// that owns blocks.
func treeSpec(words int) arena.Spec {
	return arena.Spec{
		Kind: arena.KindArray, Fingerprint: 0x7e57, Types: "test tree", Size: uint64(8 + words*8),
		Trace: arena.Trace{First: 8, Stride: 8, Words: 1, Count: uint64(words)},
	}
}

// makeTree makes an object with room for words references.
func makeTree(a *arena.Arena, name string, words int) (*arena.Object, error) {
	spec := treeSpec(words)
	return slab.Of(a).Create(name, spec, func(root mem.Ptr) { mem.Zero(root, spec.Size) })
}

// openTree opens an object of makeTree.
func openTree(a *arena.Arena, name string) (*arena.Object, error) {
	return a.OpenObject(name, treeSpec(0))
}

// link puts a block of size bytes at reference i of a tree, in place of what is
// there, or nothing if size is 0.
func link(a *arena.Arena, h *arena.Object, i int, size uint64) error {
	s := slab.Of(a)
	f := s.Floor()
	op, err := s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	var ref uint64
	if size != 0 {
		if ref, err = op.Reserve(size); err != nil {
			return err
		}
	}
	lock, at := mem.Must[psync.Mutex](s.View(), h.Ref()), h.Ref()+8+uint64(i)*8
	if err := lock.Lock(f.Owner, func() error { return f.Records.SettleLock(h.Ref()) }); err != nil {
		return err
	}
	defer lock.Unlock()
	old := mem.Must[psync.Word64](s.View(), at).Load()
	f.Records.Apply(op.Record, &intent.Change{Lock: h.Ref(), Target: at, Old: old, New: ref})
	return nil
}

// linked returns what reference i of a tree leads to.
func linked(a *arena.Arena, h *arena.Object, i int) uint64 {
	return mem.Must[psync.Word64](slab.Of(a).View(), h.Ref()+8+uint64(i)*8).Load()
}

// tree makes an object with the first n references linked to blocks of growing
// size, and returns the handle.
func tree(t testing.TB, a *arena.Arena, name string, words, n int) *arena.Object {
	t.Helper()
	h, err := makeTree(a, name, words)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, link(a, h, i, uint64(16+i*40)))
	}
	return h
}

// fillUpTo makes n objects with a block each, and keeps them open.
func fillUpTo(a *arena.Arena, n int) error {
	for i := range n {
		h, err := makeTree(a, fmt.Sprint("object ", i), 2)
		if err != nil {
			return err
		}
		if err := link(a, h, 0, 100); err != nil {
			return err
		}
	}
	return nil
}
