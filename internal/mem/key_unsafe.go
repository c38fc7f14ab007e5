package mem

import "unsafe"

// TextPtr returns the address of the first byte of s, for hashing and comparing
// it. The result must not outlive s.
func TextPtr(s string) Ptr { return Ptr{unsafe.Pointer(unsafe.StringData(s))} }

// Load8 returns the byte at p.
func Load8(p Ptr) uint64 { return uint64(*(*byte)(p.p)) }

// SizeOf returns the size of a T, a constant where T is known.
func SizeOf[T any]() uint64 {
	var t T
	return uint64(unsafe.Sizeof(t))
}

// SetString stores the bytes of b, which are never changed again, as the string
// *k. The kind of K must be string.
func SetString[K any](k *K, b []byte) {
	*(*string)(unsafe.Pointer(k)) = unsafe.String(unsafe.SliceData(b), len(b))
}

// CopyKey copies the n bytes of a local key to p.
func CopyKey(p, key Ptr, n uint64) { CopyIn(p, unsafe.Slice((*byte)(key.p), n)) }
