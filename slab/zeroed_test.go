package slab_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// A block that is to be all zeros is, whatever was in it, to its last byte: of every
// class, and a run.
func TestZeroed(t *testing.T) {
	for _, page := range []int{4096, 65536} {
		s := slab.Of(shmtest.Heap(t, &arena.Options{Size: int64(20*page) + 64<<10, PageSize: page, Processes: 4, Objects: 8}))
		sizes := []uint64{uint64(page)/2 + 1, uint64(page), uint64(page)*2 + 1}
		for _, c := range s.Floor().Pages.Classes() {
			sizes = append(sizes, c.Size)
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%dKiB/%d", page>>10, n), func(t *testing.T) { zeroed(t, s, n) })
		}
	}
}

func zeroed(t *testing.T, s *slab.Slab, n uint64) {
	for name, reserve := range map[string]func(*slab.Op) (uint64, error){
		"first":  func(op *slab.Op) (uint64, error) { return op.ReserveZeroed(n) },
		"second": func(op *slab.Op) (uint64, error) { return op.ReserveSecond(n) },
	} {
		refs := reserveAll(t, s, n)
		size, err := s.Size(refs[0])
		require.NoError(t, err)
		require.NoError(t, s.Write(refs[0], 0, bytes.Repeat([]byte{0xff}, int(size))))
		require.NoError(t, s.Free(refs[0]))
		op, err := s.Begin()
		require.NoError(t, err)
		ref, err := reserve(&op)
		b := make([]byte, size)
		unread := s.Read(ref, 0, b)
		op.End()
		freeAll(t, s, refs[1:])
		require.NoError(t, err)
		require.NoError(t, unread)
		require.Equal(t, refs[0], ref, "there is no other one")
		if i := slices.IndexFunc(b, func(x byte) bool { return x != 0 }); i >= 0 {
			t.Fatalf("%s: byte %d of %d is %#x", name, i, size, b[i])
		}
	}
}
