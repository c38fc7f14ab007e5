package slab_test

import (
	"errors"
	"fmt"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// queue is the root block of a bounded queue of messages. A message is a block,
// owned by the slot it lies in; its first 8 bytes are its length.
type queue struct {
	lock       slab.Mutex
	head, tail slab.Word   // messages taken and put since ever
	slots      [8]slab.Ref // message i is in slot i mod 8
}

var errQueueFull = errors.New("queue is full")

// put appends a message. If the process is killed in here, the message is in the
// queue or it is not, and its block is not lost.
func put(q *slab.Object[queue], text string) error {
	op, err := q.Begin()
	if err != nil {
		return err
	}
	defer op.End() // frees the block, unless it was published
	ref, err := op.Reserve(8 + uint64(len(text)))
	if err != nil {
		return err
	}
	s, root := q.Slab(), q.Root()
	length := fmt.Appendf(nil, "%08d", len(text))
	if err := errors.Join(s.Write(ref, 0, length), s.Write(ref, 8, []byte(text))); err != nil {
		return err
	}
	if err := q.Lock(&root.lock); err != nil {
		return err
	}
	defer q.Unlock(&root.lock)
	tail := root.tail.Load()
	if tail-root.head.Load() == uint64(len(root.slots)) {
		return errQueueFull
	}
	q.Publish(&op, slab.Change{
		Lock: &root.lock, Target: &root.slots[tail%8], New: ref,
		Count: &root.tail, After: tail + 1,
	})
	return nil
}

// take removes the oldest message, and reports whether there was one.
func take(q *slab.Object[queue]) (text string, ok bool, err error) {
	op, err := q.Begin()
	if err != nil {
		return "", false, err
	}
	defer op.End()
	root := q.Root()
	if err := q.Lock(&root.lock); err != nil {
		return "", false, err
	}
	defer q.Unlock(&root.lock)
	head := root.head.Load()
	if head == root.tail.Load() {
		return "", false, nil
	}
	slot := &root.slots[head%8]
	if text, err = message(q.Slab(), slot.Load()); err != nil {
		return "", false, err
	}
	q.Publish(&op, slab.Change{ // New is 0: the slot is empty, and its block free
		Lock: &root.lock, Target: slot,
		Count: &root.head, After: head + 1,
	})
	return text, true, nil
}

func message(s *slab.Slab, ref uint64) (string, error) {
	var length [8]byte
	if err := s.Read(ref, 0, length[:]); err != nil {
		return "", err
	}
	var n int
	if _, err := fmt.Sscanf(string(length[:]), "%08d", &n); err != nil {
		return "", err
	}
	text := make([]byte, n)
	err := s.Read(ref, 8, text)
	return string(text), err
}

// A structure of one's own: a queue that processes share. What may be killed
// where, and what follows, is said at put, and in the comment of Publish.
func Example_queue() {
	seg, err := shm.Heap(&shm.Options{Size: 1 << 20}) // a real one: arena.OpenOrCreate("jobs", nil)
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

	q, err := slab.OpenOrCreate[queue](a, "jobs", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(put(q, "wash"), put(q, "iron"))
	for {
		text, ok, err := take(q)
		if !ok {
			fmt.Println("empty", err)
			break
		}
		fmt.Println(text)
	}
	for i := 0; ; i++ {
		if err := put(q, "dishes"); err != nil {
			fmt.Println(i, err)
			break
		}
	}
	report, err := a.Check() // every block is in the queue, or free
	fmt.Println(report.Blocks, err)
	// Output:
	// <nil> <nil>
	// wash
	// iron
	// empty <nil>
	// 8 queue is full
	// 9 <nil>
}
