package mem

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// View is a window on one segment: the address space reserved for it and the
// number of bytes, from its start, that are backed by memory. Every offset read
// from a segment becomes an address through a View.
//
// The base never moves. The limit may grow while others read through the view.
type View struct {
	base    Ptr
	reserve uint64
	limit   atomic.Uint64
}

// NewView returns a view of b whose first limit bytes are usable. The length of b
// is the reserved address space. It panics when b does not start at a multiple of
// eight or is shorter than limit: both are mistakes of this process.
func NewView(b []byte, limit uint64) *View {
	v := &View{base: PtrOf(b), reserve: uint64(len(b))}
	if uintptr(v.base.p)%wordSize != 0 {
		panic(fmt.Sprintf("mem: view base %p is not aligned to %d bytes", v.base.p, wordSize))
	}
	v.SetLimit(limit)
	return v
}

// Base returns the address of offset 0.
func (v *View) Base() Ptr { return v.base }

// Limit returns the number of usable bytes.
func (v *View) Limit() uint64 { return v.limit.Load() }

// Reserve returns the number of bytes the segment may ever have.
func (v *View) Reserve() uint64 { return v.reserve }

// SetLimit publishes a new number of usable bytes. It panics beyond the reserve.
func (v *View) SetLimit(n uint64) {
	if n > v.reserve {
		panic(fmt.Sprintf("mem: view limit %#x exceeds the reserved %#x bytes", n, v.reserve))
	}
	v.limit.Store(n)
}

// strays tells whether n bytes at off reach beyond limit or do not stand at a
// multiple of align, a power of two. No sum can overflow.
func strays(off, n, align, limit uint64) bool {
	return off > limit || n > limit-off || off&(align-1) != 0
}

// Check returns nil when the n bytes at off are usable and off is a multiple of
// align, a power of two; 0 asks for no alignment. Otherwise it returns a
// *RangeError.
func (v *View) Check(off, n, align uint64) error {
	limit := v.limit.Load()
	if strays(off, n, max(align, 1), limit) {
		return &RangeError{Offset: off, Len: n, Limit: limit, Align: align}
	}
	return nil
}

// Slice returns the n bytes at off, with no capacity beyond them.
func (v *View) Slice(off, n uint64) ([]byte, error) {
	if err := v.Check(off, n, 1); err != nil {
		return nil, err
	}
	if n == 0 {
		return []byte{}, nil // an address at the limit belongs to somebody else
	}
	return unsafe.Slice((*byte)(v.base.Add(off).p), n), nil
}

// At returns the T that a stored offset leads to, or a *RangeError when that
// would lie outside the usable bytes or be misaligned.
func At[T any](v *View, off uint64) (*T, error) {
	var t T
	size, align, limit := uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)), v.limit.Load()
	if strays(off, size, align, limit) {
		return nil, &RangeError{Offset: off, Len: size, Limit: limit, Align: align, of: (*T)(nil)}
	}
	return (*T)(unsafe.Add(v.base.p, uintptr(off))), nil
}

// OffsetOf returns the offset of a T that lies within the usable bytes, and false
// if it does not.
func OffsetOf[T any](v *View, p *T) (uint64, bool) {
	off := uint64(uintptr(unsafe.Pointer(p)) - uintptr(v.base.p))
	return off, !strays(off, uint64(unsafe.Sizeof(*p)), uint64(unsafe.Alignof(*p)), v.limit.Load())
}

// Must returns the T at an offset this process computed itself. It panics where
// At returns an error.
func Must[T any](v *View, off uint64) *T {
	var t T
	size, align, limit := uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)), v.limit.Load()
	if strays(off, size, align, limit) {
		panic(&misuse{Offset: off, Len: size, Limit: limit, Align: align, of: (*T)(nil)})
	}
	return (*T)(unsafe.Add(v.base.p, uintptr(off)))
}
