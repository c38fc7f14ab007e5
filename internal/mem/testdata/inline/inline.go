// Package inline calls the short functions of mem the way the structures do. A
// test compiles it and reads what the compiler decided.
package inline

import "github.com/shmkit/shmkit/internal/mem"

// Record stands for a stored struct.
type Record struct {
	A, B uint64
	C    uint32
	D    uint32
}

// Key returns the first word of a key that must stay on the stack.
//
//go:noinline
func Key[K any](key K) uint64 { return mem.Load64(mem.KeyPtr(&key)) }

// Text returns the length of a string key that must stay on the stack.
//
//go:noinline
func Text[K any](key K) int { return len(mem.AsString(&key)) }

// Trip passes a value through the word and the payload doors.
//
//go:noinline
func Trip[T any](p mem.Ptr, value T) (T, T) {
	mem.Write(p, &value)
	return mem.FromWord[T](mem.Word(value)), mem.Read[T](p)
}

// Find resolves a stored offset.
//
//go:noinline
func Find[T any](v *mem.View, off uint64) (*T, error) { return mem.At[T](v, off) }

// Own resolves an offset of our own.
//
//go:noinline
func Own[T any](v *mem.View, off uint64) *T { return mem.Must[T](v, off) }

// Fixed does without generic callers.
func Fixed(v *mem.View, off uint64, dst *Record) (uint64, error) {
	r, err := mem.At[Record](v, off)
	if err != nil {
		return 0, err
	}
	o := mem.Must[Record](v, r.A)
	c := mem.Cast[Record](v.Base().Add(o.B))
	mem.ReadInto(dst, v.Base().Add(c.A))
	return mem.Load64(v.Base()) + uint64(mem.Load32(v.Base())), nil
}

// Use instantiates the generic callers.
func Use(v *mem.View, p mem.Ptr) (uint64, error) {
	a, b := Trip(p, uint32(7))
	s := Text("local")
	k := Key([2]uint64{1, 2})
	r, err := Find[Record](v, 64)
	if err != nil {
		return 0, err
	}
	return uint64(a) + uint64(b) + uint64(s) + k + r.A + Own[Record](v, 64).B, nil
}
