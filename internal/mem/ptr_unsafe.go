package mem

import "unsafe"

// Ptr is an address inside a segment, or of a local value about to be compared
// with one. Outside this package it is opaque: it can be moved forward and handed
// back, nothing else. It is never stored in a segment.
type Ptr struct{ p unsafe.Pointer }

// PtrOf returns the address of the first byte of b.
func PtrOf(b []byte) Ptr { return Ptr{unsafe.Pointer(unsafe.SliceData(b))} }

// Add returns the address n bytes further. The caller has checked that it is
// still inside the segment.
func (p Ptr) Add(n uint64) Ptr { return Ptr{unsafe.Add(p.p, uintptr(n))} }

// Sub returns the address n bytes back, which lies in the same block.
func (p Ptr) Sub(n uint64) Ptr { return Ptr{unsafe.Add(p.p, -int(n))} }

// IsNil tells whether p is the zero Ptr.
func (p Ptr) IsNil() bool { return p.p == nil }

// Cast returns the value of type T that stands at p, unchecked: for addresses
// that a View has already found in bounds and aligned.
func Cast[T any](p Ptr) *T { return (*T)(p.p) }

// AsString returns *k as a string. The kind of K must be string; the caller has
// checked that when the structure was opened.
func AsString[K any](k *K) string { return *(*string)(unsafe.Pointer(k)) }

// AsBytes returns *v as a byte slice. V must be a slice of bytes.
func AsBytes[V any](v *V) []byte { return *(*[]byte)(unsafe.Pointer(v)) }

// SetBytes stores the slice b in *v, without copying its bytes. V must be a
// slice of bytes.
func SetBytes[V any](v *V, b []byte) { *(*[]byte)(unsafe.Pointer(v)) = b }

// KeyPtr returns the address of a local key, for hashing and comparing it. The
// compiler does not see the address leave, so the key stays on the stack: the
// result must not outlive the call that owns *k.
//
// The detour over an integer is what hides it. No call lies between the two
// conversions, so the stack cannot move in that moment.
//
//go:nocheckptr
func KeyPtr[K any](k *K) Ptr {
	hidden := uintptr(unsafe.Pointer(k))
	return Ptr{unsafe.Add(unsafe.Pointer(nil), hidden)}
}
