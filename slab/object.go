package slab

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// Structures of one's own. A structure is an object with a name, whose root
// block is a value of a type R: locks, words, references to blocks, and plain
// data that never changes. Everybody who opens it has R at the same place.

// Word is a shared word in a root block. Its methods are those of
// [sync/atomic.Uint64]; each store is seen whole or not at all, also after a
// death.
type Word = psync.Word64

// Ref is a word in a root block that owns a block: 0, or the offset of one. It
// changes by [Object.Publish] only.
type Ref struct{ w psync.Word64 }

// Load returns the offset of the block, 0 if there is none.
func (r *Ref) Load() uint64 { return r.w.Load() & intent.RefMask }

// Mutex is a lock in a root block; the zero Mutex is unlocked. [Object.Lock]
// takes it.
type Mutex struct{ m psync.Mutex }

// Object is a handle on a structure with a root block of type R. It is safe for
// concurrent use by goroutines. Keep it reachable as long as its root is in use.
type Object[R any] struct {
	slab   *Slab
	object *arena.Object
	root   *R
	state  *psync.Word64 // changes before a block of the object is freed
	open   atomic.Uint64 // what it holds while the object lives and the handle is open
}

// Create makes a structure with a name. init fills the root block, which is all
// zeros, before anybody else sees it; nil leaves it so. R must be free of
// pointers, with its references, of type [Ref], one array or one after another,
// or at the same place in the elements of one array: whoever accounts for the
// arena finds them by that, without knowing R.
//
// The error wraps fs.ErrExist if the arena has an object of that name,
// ErrTypeMismatch if R can't be shared.
func Create[R any](a *arena.Arena, name string, init func(*R)) (*Object[R], error) {
	spec, err := specOf[R]()
	if err != nil {
		return nil, err
	}
	s := Of(a)
	obj, err := s.Create(name, spec, func(root mem.Ptr) {
		mem.Zero(root, spec.Size)
		if init != nil {
			init(mem.Cast[R](root))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("slab: create: %w", err)
	}
	return newObject[R](s, obj)
}

// Open opens a structure. The error wraps fs.ErrNotExist if the arena has no
// object of that name, ErrTypeMismatch if it was made with another R.
func Open[R any](a *arena.Arena, name string) (*Object[R], error) {
	spec, err := specOf[R]()
	if err != nil {
		return nil, err
	}
	obj, err := a.OpenObject(name, spec)
	if err != nil {
		return nil, fmt.Errorf("slab: open: %w", err)
	}
	return newObject[R](Of(a), obj)
}

// OpenOrCreate opens a structure, or creates it if there is none of that
// name; of several who try at the same time one creates it.
func OpenOrCreate[R any](a *arena.Arena, name string, init func(*R)) (*Object[R], error) {
	return OpenThenCreate(
		func() (*Object[R], error) { return Open[R](a, name) },
		func() (*Object[R], error) { return Create(a, name, init) })
}

func newObject[R any](s *Slab, obj *arena.Object) (*Object[R], error) {
	root, err := mem.At[R](s.f.View, obj.Ref())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("slab: %q: %w: %w", obj.Name(), arena.ErrCorrupt, err), obj.Close())
	}
	o := &Object[R]{slab: s, object: obj, root: root}
	state, open := obj.Live()
	o.state = state
	o.open.Store(open)
	return o, nil
}

// Root returns the root block. Its words may be read at any time; they are
// changed under a lock of the structure.
func (o *Object[R]) Root() *R { return o.root }

// Slab returns the allocator of the arena.
func (o *Object[R]) Slab() *Slab { return o.slab }

// shut is what open holds when the handle is closed; no state is like it.
const shut = ^uint64(0)

func (o *Object[R]) gone() bool { return o.state.Load() != o.open.Load() }

// Err returns why operations fail: ErrClosed, ErrRemoved, or nil if they should
// not. A reader that takes no lock asks after it has read: as long as Err
// returned nil, no block of the structure was freed because the structure was.
func (o *Object[R]) Err() error {
	if !o.gone() {
		return nil
	}
	if err := o.object.Err(); err != nil {
		return err
	}
	return fmt.Errorf("handle on %q: %w", o.object.Name(), arena.ErrClosed)
}

// Close ends the handle; closing the arena does so too. It waits for operations
// that are under way.
func (o *Object[R]) Close() error {
	o.open.Store(shut)
	if o.slab.f.Pool != nil {
		o.slab.f.Pool.Barrier()
	}
	return o.object.Close()
}

// Begin starts an operation that changes the structure; [Op.End] ends it. It
// waits while 14 operations of this process are under way.
func (o *Object[R]) Begin() (Op, error) {
	op, err := o.slab.Begin()
	if err != nil {
		return op, err
	}
	if err := o.Err(); err != nil { // asked with the record in hand: a Close that comes later waits for us
		op.End()
		return Op{}, err
	}
	return op, nil
}

// Lock takes a lock of the root block, inside an operation. It waits as long as
// the holder lives; what a dead one left half done is completed or undone first.
// Under the lock nothing is reserved and nothing waited for. The error is
// ErrClosed, or wraps ErrCorrupt if what was left can't be mended.
func (o *Object[R]) Lock(m *Mutex) error {
	off := o.offset(m)
	err := m.m.Lock(o.slab.f.Owner, func() error { return o.slab.f.Records.SettleLock(off) })
	if err != nil {
		return fmt.Errorf("%q: %w", o.object.Name(), closedError(err))
	}
	return nil
}

// Unlock gives the lock back.
func (o *Object[R]) Unlock(m *Mutex) { m.m.Unlock() }

// Change is one step of a structure: Target gives up the block it owns, if any,
// and gets New. All of it happens or nothing, whenever the process is killed.
type Change struct {
	Lock    *Mutex // held
	Target  *Ref
	New     uint64 // what the operation has reserved and filled, or 0
	Version *Word  // raised by one after Target has changed; nil: none
	Count   *Word  // set to After; nil: none
	After   uint64
}

// Publish carries the change out under its lock. The block that Target had is
// free afterwards: who wants to keep something of it copies it out before.
//
// Killed before the target is stored, the process leaves things as they were,
// and what it had reserved is free. Killed after, it leaves the change to whoever
// takes the lock next, or recovers its slot: he raises the version, frees the old
// block and sets the count.
func (o *Object[R]) Publish(op *Op, c Change) {
	old := c.Target.w.Load()
	in := intent.Change{Lock: o.offset(c.Lock), Target: o.offset(&c.Target.w), Old: old, New: c.New, After: c.After}
	if c.Version != nil {
		in.Version = o.offset(c.Version)
	}
	if c.Count != nil {
		in.Count = o.offset(c.Count)
	}
	if ref, ok := op.Record.Reserved(); ok && ref != c.New&intent.RefMask {
		_ = op.undo() // it was reserved for nothing
	}
	op.Record.Replace(&in)         // survivor: rolls back
	c.Target.w.StoreRelease(c.New) // survivor: rolls forward
	if c.Version != nil {
		c.Version.StoreRelease(c.Version.Load() + 1) // survivor: raises it once more
	}
	if old != 0 {
		op.Settle(old & intent.RefMask) // survivor: sees it freed, and named
	}
	if c.Count != nil {
		c.Count.StoreRelease(c.After) // survivor: stores the same
	}
	op.Record.Close() // survivor: nothing to mend
	runtime.KeepAlive(o)
}

// offset returns where a field of the root block is. A field of something else is
// a mistake of the caller, and a panic.
func (o *Object[R]) offset(field any) uint64 {
	var off uint64
	var ok bool
	switch p := field.(type) {
	case *Mutex:
		off, ok = mem.OffsetOf(o.slab.f.View, p)
	case *Word:
		off, ok = mem.OffsetOf(o.slab.f.View, p)
	}
	if root := o.object.Ref(); !ok || off < root || off-root >= o.object.Size() {
		panic(fmt.Sprintf("slab: a %T that is not part of the root block of %q", field, o.object.Name()))
	}
	return off
}

// specOf describes R for the directory.
func specOf[R any]() (arena.Spec, error) {
	t := reflect.TypeFor[R]()
	info, err := mem.Describe(t)
	if err != nil {
		return arena.Spec{}, fmt.Errorf("slab: root type %s: %w: %w", t, arena.ErrTypeMismatch, err)
	}
	trace, err := traceOf(t)
	if err != nil {
		return arena.Spec{}, err
	}
	return arena.Spec{
		Kind: arena.KindOwn, Fingerprint: info.Fingerprint, Types: t.String(), Size: uint64(max(8, info.Size)), Trace: trace,
	}, nil
}

// traceOf says where in a root block its references are.
func traceOf(t reflect.Type) (arena.Trace, error) {
	at := refsIn(t, 0, nil)
	if len(at) == 0 {
		return arena.Trace{}, nil
	}
	words := 1
	for words < len(at) && at[words] == at[words-1]+8 {
		words++
	}
	tr := arena.Trace{First: uint64(at[0]), Stride: uint64(words) * 8, Words: uint64(words), Count: uint64(len(at) / words)}
	if tr.Count > 1 {
		tr.Stride = uint64(at[words] - at[0])
	}
	for i, off := range at {
		if want := tr.First + uint64(i/words)*tr.Stride + uint64(i%words)*8; uint64(off) != want || len(at)%words != 0 {
			return tr, fmt.Errorf("slab: root type %s: %w: the Ref at offset %d is not in line with the others: want one array of them, or one array of structs with the same",
				t, arena.ErrTypeMismatch, off)
		}
	}
	return tr, nil
}

// refsIn appends the offsets of the references in a t at offset at.
func refsIn(t reflect.Type, at uintptr, offs []uintptr) []uintptr {
	switch {
	case t == reflect.TypeFor[Ref]():
		return append(offs, at)
	case t.Kind() == reflect.Array:
		if len(refsIn(t.Elem(), 0, nil)) == 0 {
			break
		}
		for i := range t.Len() {
			offs = refsIn(t.Elem(), at+uintptr(i)*t.Elem().Size(), offs)
		}
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			offs = refsIn(f.Type, at+f.Offset, offs)
		}
	}
	return offs
}
