package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/shmkit/shmkit/shm"
)

// A segment is filled before it has a name, so whoever can open it can use
// it. It keeps its contents when everybody has closed it, until Remove.
func Example() {
	hello := func(s *shm.Segment) error {
		b, err := s.View().Slice(0, 5)
		copy(b, "hello")
		return err
	}
	name := fmt.Sprintf("example-%d", os.Getpid())
	s, err := shm.Create(name, &shm.Options{Size: 1 << 16, MaxSize: 1 << 30, Prepare: hello})
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("hello") // named segments need Linux
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shm.Remove(name, nil)
	s.Close()

	// In another process, or later:
	s, err = shm.Open(name, &shm.OpenOptions{ReadOnly: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	b, _ := s.View().Slice(0, 5)
	fmt.Println(string(b))
	// Output: hello
}

// Two processes start together: one creates, the other opens what it made.
func ExampleCreate() {
	name := fmt.Sprintf("example-create-%d", os.Getpid())
	s, err := shm.Create(name, &shm.Options{Size: 4096})
	if errors.Is(err, fs.ErrExist) {
		s, err = shm.Open(name, nil)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	defer shm.Remove(name, nil)
}

// Growth is two steps: space first, which may fail, then the limit.
func ExampleSegment_Allocate() {
	s, err := shm.Heap(&shm.Options{Size: 1 << 20, MaxSize: 4 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := s.Allocate(1<<20, 1<<20); err != nil {
		fmt.Println(err)
		return
	}
	s.View().SetLimit(2 << 20)
	fmt.Println(s.View().Limit(), "of", s.Reserved())

	err = s.Allocate(2<<20, 4<<20)
	fmt.Println(errors.Is(err, shm.ErrNoSpace))
	// Output:
	// 2097152 of 4194304
	// true
}
