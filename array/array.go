package array

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"reflect"
	"runtime"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/slab"
)

// Array is a handle on an array that processes share. It is safe for concurrent
// use by goroutines.
type Array[T any] struct{ elements }

// elements is an Array without its type.
type elements struct {
	handle slab.Handle
	words  []psync.Word64
}

const (
	headerSize = 64
	wordSize   = 8
)

// Create makes a new array of n elements, at least one, all zero. The error wraps
// fs.ErrExist if the arena has an object of that name, and ErrFull if the arena
// has no room for n.
func Create[T any](a *arena.Arena, name string, n int) (*Array[T], error) {
	spec, err := specOf[T](name)
	if err == nil {
		spec.Size, err = sizeOf(a, name, n)
	}
	if err != nil {
		return nil, err
	}
	o, err := slab.Of(a).Create(name, spec, func(at mem.Ptr) {
		mem.Zero(at, spec.Size)
		mem.Cast[header](at).length.Put(uint64(n))
	})
	return attach[T](a, name, o, err)
}

// Open opens an array that exists; the error wraps fs.ErrNotExist if none does,
// and ErrTypeMismatch if its elements are not of type T.
func Open[T any](a *arena.Arena, name string) (*Array[T], error) {
	spec, err := specOf[T](name)
	if err != nil {
		return nil, err
	}
	o, err := a.OpenObject(name, spec)
	return attach[T](a, name, o, err)
}

// OpenOrCreate opens the array, or creates it if there is none. One that exists
// must have n elements; otherwise the error wraps ErrTypeMismatch.
func OpenOrCreate[T any](a *arena.Arena, name string, n int) (*Array[T], error) {
	x, err := slab.OpenThenCreate(
		func() (*Array[T], error) { return Open[T](a, name) },
		func() (*Array[T], error) { return Create[T](a, name, n) })
	if err == nil && x.Len() != n {
		return nil, fmt.Errorf("array %q: %w: it has %d elements, want %d", name, ErrTypeMismatch, x.Len(), n)
	}
	return x, err
}

func specOf[T any](name string) (arena.Spec, error) {
	t := reflect.TypeFor[T]()
	info, err := mem.Describe(t)
	if err == nil && info.Size > wordSize {
		err = fmt.Errorf("%s has %d bytes: elements larger than %d bytes are not supported", info.Name, info.Size, wordSize)
	}
	if err == nil {
		err = mem.PaddingFree(t)
	}
	if err != nil {
		return arena.Spec{}, fmt.Errorf("array %q: %w: %w", name, ErrTypeMismatch, err)
	}
	return arena.Spec{Kind: arena.KindArray, Fingerprint: info.Fingerprint, Types: info.Name}, nil
}

// sizeOf returns the bytes of n elements, if the arena could ever hold them.
func sizeOf(a *arena.Arena, name string, n int) (uint64, error) {
	if n < 1 {
		return 0, fmt.Errorf("array %q of %d elements: want at least 1: %w", name, n, fs.ErrInvalid)
	}
	if int64(n) > (a.MaxSize()-headerSize)/wordSize {
		return 0, fmt.Errorf("array %q of %d elements, %d bytes each: %w: %s", name, n, wordSize, ErrFull, a)
	}
	return headerSize + uint64(n)*wordSize, nil
}

func attach[T any](a *arena.Arena, name string, o *arena.Object, err error) (*Array[T], error) {
	if err != nil {
		return nil, fmt.Errorf("array %q: %w", name, err)
	}
	s := slab.Of(a)
	words, err := wordsOf(s.View(), o)
	if err != nil {
		return nil, fmt.Errorf("array %q: %w", name, errors.Join(err, o.Close()))
	}
	x := &Array[T]{elements{words: words}}
	x.handle.Hold(s, o)
	return x, nil
}

// wordsOf returns the elements, if the stored length is what fits the block.
func wordsOf(v *mem.View, o *arena.Object) ([]psync.Word64, error) {
	head, err := mem.At[header](v, o.Ref())
	if err != nil {
		return nil, err
	}
	n, size := head.length.Load(), o.Size()
	if n < 1 || size < headerSize || size%wordSize != 0 || n != (size-headerSize)/wordSize {
		return nil, fmt.Errorf("%w: length %d in a root block of %d bytes", ErrCorrupt, n, size)
	}
	return mem.Span[psync.Word64](v, o.Ref()+headerSize, n)
}

// Load returns element i; zero if Err is not nil.
func (x *Array[T]) Load(i int) T {
	w := x.words[i].Load()
	if x.handle.Gone() {
		w = 0
	}
	runtime.KeepAlive(x)
	return mem.FromWord[T](w)
}

// Store replaces element i.
func (x *Array[T]) Store(i int, v T) error {
	w := &x.words[i]
	if x.handle.Barred() {
		return x.handle.Refusal()
	}
	w.Store(mem.Word(v)) // survivor: the new element
	return x.handle.Kept()
}

// Swap replaces element i and returns what it was.
func (x *Array[T]) Swap(i int, v T) (T, error) {
	w := &x.words[i]
	if x.handle.Barred() {
		return mem.FromWord[T](0), x.handle.Refusal()
	}
	old := w.Swap(mem.Word(v)) // survivor: the new element
	return mem.FromWord[T](old), x.handle.Kept()
}

// CompareAndSwap replaces element i if it is old, byte by byte.
func (x *Array[T]) CompareAndSwap(i int, old, v T) (bool, error) {
	w := &x.words[i]
	if x.handle.Barred() {
		return false, x.handle.Refusal()
	}
	done := w.CompareAndSwap(mem.Word(old), mem.Word(v)) // survivor: the new element
	return done, x.handle.Kept()
}

// peek returns the word of element i, and false if Err is not nil.
func (e *elements) peek(i int) (uint64, bool) {
	w := e.words[i].Load()
	ok := !e.handle.Gone()
	runtime.KeepAlive(e)
	return w, ok
}

// All iterates over the elements with their indices. It ends early if the handle
// or the arena is closed or the object removed.
func (x *Array[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i := range x.words {
			if w, ok := x.peek(i); !ok || !yield(i, mem.FromWord[T](w)) {
				return
			}
		}
	}
}

// Values is All without the indices.
func (x *Array[T]) Values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range x.words {
			if w, ok := x.peek(i); !ok || !yield(mem.FromWord[T](w)) {
				return
			}
		}
	}
}

// CopyTo copies elements to dst, from the first on, and returns how many: the
// lesser of the two lengths, or 0 if Err is not nil; dst is cleared as far then.
func (x *Array[T]) CopyTo(dst []T) int {
	n := min(len(dst), len(x.words))
	for i := range n {
		dst[i] = mem.FromWord[T](x.words[i].Load())
	}
	if x.handle.Gone() {
		clear(dst[:n])
		n = 0
	}
	runtime.KeepAlive(x)
	return n
}

// CopyFrom stores src in the elements, from the first on, and returns how many:
// the lesser of the two lengths, or 0 and an error.
func (x *Array[T]) CopyFrom(src []T) (int, error) {
	if x.handle.Barred() {
		return 0, x.handle.Refusal()
	}
	n := min(len(src), len(x.words))
	for i := range n {
		x.words[i].Store(mem.Word(src[i])) // survivor: the elements up to here
	}
	if err := x.handle.Kept(); err != nil {
		return 0, err
	}
	return n, nil
}

// Fill stores v in every element.
func (x *Array[T]) Fill(v T) error {
	if x.handle.Barred() {
		return x.handle.Refusal()
	}
	w := mem.Word(v)
	for i := range x.words {
		x.words[i].Store(w) // survivor: the elements up to here
	}
	return x.handle.Kept()
}

// Len returns the number of elements.
func (e *elements) Len() int { return len(e.words) }

// Err returns why reads return zeros and writes fail: ErrClosed, ErrRemoved, or
// nil if they do not.
func (e *elements) Err() error { return e.handle.Err() }

// Close ends the handle, whatever runs on it. The array stays; see the package
// comment. Closing twice is no error.
func (e *elements) Close() error {
	e.handle.Close()
	return nil
}
