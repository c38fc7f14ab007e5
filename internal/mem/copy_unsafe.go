package mem

import "unsafe"

// whole is a T as a struct. Two arrays behind pointers may overlap, so the
// compiler copies one by a call; structs can't, and are copied in line. Ours
// never do: one is in the segment, the other is not.
type whole[T any] struct{ v T }

// wordFill says how payload is written in this build: plainly, since only memory that
// nobody is led to yet is filled. But a reader with a stale offset may still look at a
// block that is being filled anew, and throws away what it saw; only atomic stores keep
// the race detector from reporting that.
const wordFill = Race

// Read returns a copy of the T at p.
func Read[T any](p Ptr) T {
	if !wordCopy {
		return *(*T)(p.p)
	}
	var v T
	loadWords(unsafe.Pointer(&v), p.p, unsafe.Sizeof(v))
	return v
}

// ReadInto copies the T at p to *dst, which only the caller can reach.
func ReadInto[T any](dst *T, p Ptr) {
	if !wordCopy {
		*(*whole[T])(unsafe.Pointer(dst)) = *(*whole[T])(p.p)
		return
	}
	loadWords(unsafe.Pointer(dst), p.p, unsafe.Sizeof(*dst))
}

// Write copies *v to p.
func Write[T any](p Ptr, v *T) {
	if !wordFill {
		*(*whole[T])(p.p) = *(*whole[T])(unsafe.Pointer(v))
		return
	}
	storeWords(p.p, unsafe.Pointer(v), unsafe.Sizeof(*v))
}

// CopyOut fills dst with the bytes at p.
func CopyOut(dst []byte, p Ptr) {
	if !wordCopy {
		copy(dst, unsafe.Slice((*byte)(p.p), len(dst)))
		return
	}
	loadWords(unsafe.Pointer(unsafe.SliceData(dst)), p.p, uintptr(len(dst)))
}

// CopyIn copies src to p.
func CopyIn(p Ptr, src []byte) {
	if !wordFill {
		copy(unsafe.Slice((*byte)(p.p), len(src)), src)
		return
	}
	storeWords(p.p, unsafe.Pointer(unsafe.SliceData(src)), uintptr(len(src)))
}

// CopyInString copies the bytes of s to p.
func CopyInString(p Ptr, s string) {
	if !wordFill {
		copy(unsafe.Slice((*byte)(p.p), len(s)), s)
		return
	}
	storeWords(p.p, unsafe.Pointer(unsafe.StringData(s)), uintptr(len(s)))
}

// Zero clears n bytes at p.
func Zero(p Ptr, n uint64) {
	if !wordFill {
		clear(unsafe.Slice((*byte)(p.p), n))
		return
	}
	zeroWords(p.p, uintptr(n))
}
