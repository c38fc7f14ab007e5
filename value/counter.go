package value

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/slab"
)

// Counter is a handle on a number that processes count up together. Whatever was
// added before a process was killed stays counted. It is safe for concurrent use
// by goroutines.
type Counter struct {
	handle slab.Handle
	cell   atomic.Pointer[psync.Word64] // the one of our slot
	root   *counterRoot
	sink   psync.Word64 // what is added where nothing may be stored
}

const counterSize = cells * line

// CreateCounter makes a new counter at zero. The error wraps fs.ErrExist if the
// arena has an object of that name.
func CreateCounter(a *arena.Arena, name string) (*Counter, error) {
	o, err := slab.Of(a).Create(name, counterSpec(), func(at mem.Ptr) { mem.Zero(at, counterSize) })
	return attachCounter(a, name, o, err)
}

// OpenCounter opens a counter that exists; the error wraps fs.ErrNotExist if none
// does.
func OpenCounter(a *arena.Arena, name string) (*Counter, error) {
	o, err := a.OpenObject(name, counterSpec())
	return attachCounter(a, name, o, err)
}

// OpenOrCreateCounter opens the counter, or creates it if there is none.
func OpenOrCreateCounter(a *arena.Arena, name string) (*Counter, error) {
	return slab.OpenThenCreate(
		func() (*Counter, error) { return OpenCounter(a, name) },
		func() (*Counter, error) { return CreateCounter(a, name) })
}

func counterSpec() arena.Spec {
	info, _ := mem.Describe(reflect.TypeFor[uint64]())
	return arena.Spec{Kind: arena.KindCounter, Fingerprint: info.Fingerprint, Types: info.Name, Size: counterSize}
}

func attachCounter(a *arena.Arena, name string, o *arena.Object, err error) (*Counter, error) {
	if err != nil {
		return nil, fmt.Errorf("counter %q: %w", name, err)
	}
	s := slab.Of(a)
	root, err := rootOf[counterRoot](s.View(), o, counterSize)
	if err != nil {
		return nil, fmt.Errorf("counter %q: %w", name, errors.Join(err, o.Close()))
	}
	c := &Counter{root: root}
	c.handle.Hold(s, o)
	if c.handle.ReadOnly() {
		c.cell.Store(&c.sink)
	} else {
		c.cell.Store(&root.cells[s.Floor().Owner.ID().Slot()%cells].count)
	}
	return c, nil
}

// Add adds n. It has no error to return: on a closed handle or arena, and on a
// read-only one, it does nothing, and Err says so.
func (c *Counter) Add(n uint64) {
	if c.handle.Shut() {
		return
	}
	c.cell.Load().Add(n) // survivor: counted
	runtime.KeepAlive(c)
}

// Inc adds 1.
func (c *Counter) Inc() { c.Add(1) }

// Load returns the sum of what all processes have added since the last Reset;
// zero if the object is gone. Two calls in a row never see the sum go down, but
// for a Reset. It adds up while others go on adding: the result is no less than
// the sum was when it was called, and no more than it was when it returned.
func (c *Counter) Load() uint64 {
	base := c.base()
	for {
		sum, was := c.sum(), base
		if base = c.base(); base == was { // otherwise it was reset meanwhile
			if c.handle.Gone() {
				sum, base = 0, 0
			}
			runtime.KeepAlive(c)
			return sum - base
		}
	}
}

// Reset makes the counter begin at zero again. What is added meanwhile is counted
// before or after it, never lost.
func (c *Counter) Reset() error {
	for {
		if c.handle.Barred() {
			return c.handle.Refusal()
		}
		base := c.base()
		if c.root.cells[0].base.CompareAndSwap(base, c.sum()) { // survivor: it is reset
			return c.handle.Kept()
		}
	}
}

func (c *Counter) base() uint64 { return c.root.cells[0].base.Load() }

func (c *Counter) sum() uint64 {
	var sum uint64
	for i := range c.root.cells {
		sum += c.root.cells[i].count.Load()
	}
	return sum
}

// Err returns why Load returns zero or why Add does nothing: ErrClosed,
// ErrRemoved, or ErrReadOnly if something was added on a read-only handle; else
// nil.
func (c *Counter) Err() error {
	if err := c.handle.Err(); err != nil {
		return err
	}
	if c.handle.ReadOnly() && c.sink.Load() != 0 {
		return c.handle.Refusal()
	}
	return nil
}

// Close ends the handle, whatever runs on it. The counter stays; see the package
// comment. Closing twice is no error.
func (c *Counter) Close() error {
	c.cell.Store(&c.sink)
	c.handle.Close()
	return nil
}
