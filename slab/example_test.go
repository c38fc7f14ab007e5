package slab_test

import (
	"fmt"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// An object is a block with a name. It is reserved, filled, and published by
// one store: other processes see all of it or nothing.
func Example() {
	seg, err := shm.Heap(&shm.Options{Size: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := arena.Format(seg, &arena.Options{Size: 1 << 20}); err != nil {
		fmt.Println(err)
		return
	}
	a, err := arena.Attach(seg, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()

	spec := arena.Spec{Kind: arena.KindArray, Size: 1000}
	s := slab.Of(a)
	h, err := s.Create("greeting", spec, func(root mem.Ptr) {
		mem.Zero(root, spec.Size)
		mem.CopyIn(root, []byte("hello"))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	size, err := s.Size(h.Ref())
	fmt.Println(h.Name(), "has", h.Size(), "bytes in a block of", size, err)
	// Output: greeting has 1000 bytes in a block of 1024 <nil>
}

// What is reserved and not published is free again at the end of the operation,
// and would be if the process were killed before.
func ExampleOp_Reserve() {
	seg, _ := shm.Heap(&shm.Options{Size: 1 << 20})
	if err := arena.Format(seg, &arena.Options{Size: 1 << 20}); err != nil {
		fmt.Println(err)
		return
	}
	a, err := arena.Attach(seg, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()

	s := slab.Of(a)
	op, err := s.Begin()
	if err != nil {
		fmt.Println(err)
		return
	}
	ref, err := op.Reserve(100)
	if err != nil {
		fmt.Println(err)
		return
	}
	size, _ := s.Size(ref)
	fmt.Println("reserved", size)
	op.End()
	fmt.Println("in use after End:", s.Floor().Pages.InUse(ref))
	// Output:
	// reserved 112
	// in use after End: false
}
