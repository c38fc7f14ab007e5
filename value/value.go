package value

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// Value is a handle on a value of up to 8 bytes that processes share. It is safe
// for concurrent use by goroutines.
type Value[T any] struct{ word }

// word is a Value without its type.
type word struct {
	handle slab.Handle
	root   *valueRoot
	watch  watch
}

const (
	valueSize = line
	maxBytes  = 8
)

// Create makes a new value. The error wraps fs.ErrExist if the arena has an
// object of that name.
func Create[T any](a *arena.Arena, name string, initial T) (*Value[T], error) {
	spec, err := specOf[T](name)
	if err != nil {
		return nil, err
	}
	o, err := slab.Of(a).Create(name, spec, func(at mem.Ptr) {
		mem.Zero(at, valueSize)
		root := mem.Cast[valueRoot](at)
		root.word.Put(mem.Word(initial))
		root.change.Put(1)
	})
	return attach[T](a, name, o, err)
}

// Open opens a value that exists; the error wraps fs.ErrNotExist if none does,
// and ErrTypeMismatch if it is not a T.
func Open[T any](a *arena.Arena, name string) (*Value[T], error) {
	spec, err := specOf[T](name)
	if err != nil {
		return nil, err
	}
	o, err := a.OpenObject(name, spec)
	return attach[T](a, name, o, err)
}

// OpenOrCreate opens the value, or creates it with the initial one if there is
// none.
func OpenOrCreate[T any](a *arena.Arena, name string, initial T) (*Value[T], error) {
	return slab.OpenThenCreate(
		func() (*Value[T], error) { return Open[T](a, name) },
		func() (*Value[T], error) { return Create(a, name, initial) })
}

func specOf[T any](name string) (arena.Spec, error) {
	t := reflect.TypeFor[T]()
	info, err := mem.Describe(t)
	if err == nil && info.Size > maxBytes {
		err = fmt.Errorf("%s has %d bytes: values larger than %d bytes are not supported", info.Name, info.Size, maxBytes)
	}
	if err == nil {
		err = mem.PaddingFree(t)
	}
	if err != nil {
		return arena.Spec{}, fmt.Errorf("value %q: %w: %w", name, ErrTypeMismatch, err)
	}
	return arena.Spec{Kind: arena.KindValue, Fingerprint: info.Fingerprint, Types: info.Name, Size: valueSize}, nil
}

func attach[T any](a *arena.Arena, name string, o *arena.Object, err error) (*Value[T], error) {
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", name, err)
	}
	s := slab.Of(a)
	root, err := rootOf[valueRoot](s.View(), o, valueSize)
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", name, errors.Join(err, o.Close()))
	}
	v := &Value[T]{word{root: root}}
	v.handle.Hold(s, o)
	return v, nil
}

// rootOf returns the root block of an object, if it has the size it must have.
func rootOf[R any](v *mem.View, o *arena.Object, size uint64) (*R, error) {
	if o.Size() != size {
		return nil, fmt.Errorf("%w: its root block has %d bytes, want %d", ErrCorrupt, o.Size(), size)
	}
	return mem.At[R](v, o.Ref())
}

// Load returns the value; zero if Err is not nil.
func (v *Value[T]) Load() T {
	w := v.root.word.Load()
	if v.handle.Gone() {
		w = 0
	}
	runtime.KeepAlive(v)
	return mem.FromWord[T](w)
}

// Store replaces the value.
func (v *Value[T]) Store(x T) error {
	return v.store(mem.Word(x))
}

// Swap replaces the value and returns what it was.
func (v *Value[T]) Swap(x T) (T, error) {
	old, err := v.swap(mem.Word(x))
	return mem.FromWord[T](old), err
}

// CompareAndSwap replaces the value if it is old, byte by byte.
func (v *Value[T]) CompareAndSwap(old, x T) (bool, error) {
	return v.replace(mem.Word(old), mem.Word(x))
}

// Update replaces the value by what f makes of it and returns that. If somebody
// else changes the value meanwhile, f is called again. No lock is held while f
// runs.
func (v *Value[T]) Update(f func(T) T) (T, error) {
	for {
		if v.handle.Barred() {
			var none T
			return none, v.handle.Refusal()
		}
		old := v.root.word.Load()
		x := f(mem.FromWord[T](old))
		if done, err := v.replace(old, mem.Word(x)); done || err != nil {
			return x, err
		}
	}
}

// The operations on words. Of each, a survivor finds the old value or the new
// one; if the change word was not raised, who waits for the value raises it.

func (w *word) store(x uint64) error {
	if w.handle.Barred() {
		return w.handle.Refusal()
	}
	w.root.word.Store(x) // survivor: the new value
	w.root.raise()
	return w.handle.Kept()
}

func (w *word) swap(x uint64) (uint64, error) {
	if w.handle.Barred() {
		return 0, w.handle.Refusal()
	}
	old := w.root.word.Swap(x) // survivor: the new value
	w.root.raise()
	return old, w.handle.Kept()
}

func (w *word) add(delta uint64) (uint64, error) {
	if w.handle.Barred() {
		return 0, w.handle.Refusal()
	}
	sum := w.root.word.Add(delta) // survivor: the new value
	w.root.raise()
	return sum, w.handle.Kept()
}

// replace is CompareAndSwap.
func (w *word) replace(old, x uint64) (bool, error) {
	if w.handle.Barred() {
		return false, w.handle.Refusal()
	}
	done := w.root.word.CompareAndSwap(old, x) // survivor: the new value
	if done {
		w.root.raise()
	}
	return done, w.handle.Kept()
}

// raise tells that the word was changed.
func (r *valueRoot) raise() {
	r.change.Add(1) // survivor: who sleeps finds out when he looks, within 10 ms
	if r.watched.Load() != 0 {
		r.wake()
	}
}

// Err returns why reads return zero and writes fail: ErrClosed, ErrRemoved, or
// nil if they do not.
func (w *word) Err() error { return w.handle.Err() }

// Close ends the handle, whatever runs on it, and every Wait with it. The value
// stays; see the package comment. Closing twice is no error.
func (w *word) Close() error {
	w.handle.Close()
	return nil
}
