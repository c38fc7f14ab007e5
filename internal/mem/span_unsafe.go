package mem

import (
	"math"
	"math/bits"
	"unsafe"
)

// Span returns the n values of type T that begin at a stored offset, with no
// capacity beyond them, or a *RangeError when one of them would lie outside the
// usable bytes or be misaligned. It is At for many; indexing is checked by Go.
func Span[T any](v *View, off, n uint64) ([]T, error) {
	var t T
	size, align, limit := uint64(unsafe.Sizeof(t)), uint64(unsafe.Alignof(t)), v.limit.Load()
	over, length := bits.Mul64(n, size)
	if over != 0 {
		length = math.MaxUint64
	}
	if strays(off, length, align, limit) {
		return nil, &RangeError{Offset: off, Len: length, Limit: limit, Align: align, of: (*[]T)(nil)}
	}
	if length == 0 {
		return []T{}, nil // an address at the limit belongs to somebody else
	}
	return unsafe.Slice((*T)(unsafe.Add(v.base.p, uintptr(off))), n), nil
}
