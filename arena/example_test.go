package arena_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/shmkit/shmkit/arena"
)

// A supervisor and its workers open the same arena by name; whoever is first
// creates it, and it goes with the last of them.
func ExampleOpenOrCreate() {
	name := fmt.Sprintf("example-arena-%d", os.Getpid())
	options := &arena.Options{Size: 1 << 20, MaxSize: 64 << 20, Lifetime: arena.RemoveWithLast}
	first, err := arena.OpenOrCreate(name, options)
	if err != nil {
		log.Fatal(err)
	}
	second, err := arena.OpenOrCreate(name, options) // as another process would
	if err != nil {
		log.Fatal(err)
	}
	ps, err := second.Processes()
	fmt.Println(len(ps), "processes", err)
	first.Close()
	second.Close()
	_, err = arena.Open(name, nil)
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// 2 processes <nil>
	// true
}

// Check accounts for every byte. It takes no lock.
func ExampleArena_Check() {
	name := fmt.Sprintf("example-check-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	report, err := a.Check()
	fmt.Println(report.UsedBytes, report.LeakedBytes, err)
	// Output: 0 0 <nil>
}
