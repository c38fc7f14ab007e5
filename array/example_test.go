package array_test

import (
	"fmt"
	"os"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/shm"
)

// exampleArena stands for arena.OpenOrCreate: an arena on the heap, so that the
// examples leave nothing behind and run on every system.
func exampleArena() (a *arena.Arena, end func()) {
	seg, err := shm.Heap(&shm.Options{Size: 1 << 20})
	if err == nil {
		err = arena.Format(seg, nil)
	}
	if err == nil {
		a, err = arena.Attach(seg, nil)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return a, func() { a.Close() }
}

// Each worker process reports how busy it is; anyone reads all of them.
func Example() {
	a, end := exampleArena()
	defer end()

	busy, err := array.OpenOrCreate[float32](a, "busy", 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := busy.Store(2, 0.75); err != nil {
		fmt.Println(err)
	}
	for worker, share := range busy.All() {
		fmt.Println(worker, share)
	}
	// Output:
	// 0 0
	// 1 0
	// 2 0.75
	// 3 0
}

// A histogram that several processes fill.
func ExampleAdd() {
	a, end := exampleArena()
	defer end()
	sizes, err := array.OpenOrCreate[uint32](a, "sizes", 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, bucket := range []int{0, 2, 2, 1, 2} {
		if _, err := array.Add(sizes, bucket, 1); err != nil {
			fmt.Println(err)
		}
	}
	all := make([]uint32, sizes.Len())
	sizes.CopyTo(all)
	fmt.Println(all)
	// Output: [1 1 3]
}
