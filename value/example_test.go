package value_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/value"
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

func Example() {
	a, end := exampleArena()
	defer end()

	limit, err := value.OpenOrCreate(a, "limit", int64(100))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := limit.Store(250); err != nil {
		fmt.Println(err)
	}
	fmt.Println(limit.Load())
	// Output: 250
}

// Small structs are values too, as long as they have no padding.
func ExampleValue() {
	type claim struct {
		Owner uint32
		Term  uint32
	}
	a, end := exampleArena()
	defer end()

	role, err := value.OpenOrCreate(a, "leader", claim{})
	if err != nil {
		fmt.Println(err)
		return
	}
	won, err := role.CompareAndSwap(claim{}, claim{Owner: 7, Term: 1})
	fmt.Println(won, err, role.Load())

	next, err := role.Update(func(c claim) claim { c.Term++; return c })
	fmt.Println(next, err)
	// Output:
	// true <nil> {7 1}
	// {7 2} <nil>
}

// A worker follows a setting that another process changes.
func ExampleValue_Wait() {
	a, end := exampleArena()
	defer end()
	level, err := value.OpenOrCreate(a, "log level", int8(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	go level.Store(3) // in another process

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for version := uint64(0); ; {
		var l int8
		if l, version, err = level.Wait(ctx, version); err != nil {
			fmt.Println(err)
			return
		}
		if l == 3 {
			fmt.Println("level", l)
			return
		}
	}
	// Output: level 3
}

func ExampleAdd() {
	a, end := exampleArena()
	defer end()
	next, err := value.OpenOrCreate(a, "next id", uint32(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := value.Add(next, 1)
	fmt.Println(id, err)
	// Output: 1 <nil>
}

func ExampleCounter() {
	a, end := exampleArena()
	defer end()
	hits, err := value.OpenOrCreateCounter(a, "hits")
	if err != nil {
		fmt.Println(err)
		return
	}
	hits.Add(3)
	hits.Inc()
	fmt.Println(hits.Load())

	if err := hits.Reset(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(hits.Load())
	// Output:
	// 4
	// 0
}
