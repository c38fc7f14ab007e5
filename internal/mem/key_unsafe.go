package mem

import "unsafe"

// text is how Go represents a string.
type text struct {
	p unsafe.Pointer
	n int
}

// TextKey returns address and length of the bytes of *k, for hashing and
// comparing them. The kind of K must be string. The result must not outlive *k.
func TextKey[K any](k *K) (Ptr, uint64) {
	t := (*text)(unsafe.Pointer(k))
	return Ptr{t.p}, uint64(t.n)
}

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

// TextBytes returns the bytes of the string *v. They are not to be changed, but by
// whoever has just made them for SetString. The kind of V must be string.
func TextBytes[V any](v *V) []byte {
	s := *(*string)(unsafe.Pointer(v))
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// CopyKey copies the n bytes of a local key to p. Those of 8 to 16 bytes, as most
// are, are their first and their last word, which may overlap.
func CopyKey(p, key Ptr, n uint64) {
	if !wordFill && n-8 <= 8 {
		first, last := *(*uint64)(key.p), *(*uint64)(unsafe.Add(key.p, n-8))
		*(*uint64)(p.p) = first
		*(*uint64)(unsafe.Add(p.p, n-8)) = last
		return
	}
	CopyIn(p, unsafe.Slice((*byte)(key.p), n))
}
