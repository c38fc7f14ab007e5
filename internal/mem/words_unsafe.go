package mem

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// wordSize is the unit of sharing: no load or store of it is ever torn.
const wordSize = 8

// loadWords copies n bytes from the shared src to the private dst by atomic loads
// of whole words. It reads the last word whole, of which dst gets its share.
func loadWords(dst, src unsafe.Pointer, n uintptr) {
	mustBeWord(src)
	for n >= wordSize {
		w := atomic.LoadUint64((*uint64)(src))
		*(*[wordSize]byte)(dst) = *(*[wordSize]byte)(unsafe.Pointer(&w))
		if n -= wordSize; n == 0 {
			return // step not beyond the end: that address may belong to another object
		}
		dst, src = unsafe.Add(dst, wordSize), unsafe.Add(src, wordSize)
	}
	if n > 0 {
		w := atomic.LoadUint64((*uint64)(src))
		copy(unsafe.Slice((*byte)(dst), n), (*[wordSize]byte)(unsafe.Pointer(&w))[:])
	}
}

// storeWords copies n bytes from the private src to the shared dst by atomic
// stores of whole words. The rest of the last word becomes zero.
func storeWords(dst, src unsafe.Pointer, n uintptr) {
	mustBeWord(dst)
	for n >= wordSize {
		var w uint64
		*(*[wordSize]byte)(unsafe.Pointer(&w)) = *(*[wordSize]byte)(src)
		atomic.StoreUint64((*uint64)(dst), w)
		if n -= wordSize; n == 0 {
			return
		}
		dst, src = unsafe.Add(dst, wordSize), unsafe.Add(src, wordSize)
	}
	if n > 0 {
		var w uint64
		copy((*[wordSize]byte)(unsafe.Pointer(&w))[:], unsafe.Slice((*byte)(src), n))
		atomic.StoreUint64((*uint64)(dst), w)
	}
}

// zeroWords clears n bytes, and the rest of the last word, by atomic stores.
func zeroWords(dst unsafe.Pointer, n uintptr) {
	mustBeWord(dst)
	for off := uintptr(0); off < n; off += wordSize {
		atomic.StoreUint64((*uint64)(unsafe.Add(dst, off)), 0)
	}
}

// loadBits returns the first bits at p, 64 or 32, which may be unaligned; above
// them stands whatever follows. Atomic loads have to be aligned: the one or two
// words that hold the bits are loaded and shifted together, little-endian.
func loadBits(p unsafe.Pointer, bits uintptr) uint64 {
	shift := 8 * (uintptr(p) % wordSize)
	first := unsafe.Add(p, -int(shift/8))
	w := atomic.LoadUint64((*uint64)(first)) >> shift
	if shift > 64-bits {
		w |= atomic.LoadUint64((*uint64)(unsafe.Add(first, wordSize))) << (64 - shift)
	}
	return w
}

// mustBeWord panics where arm64 would fault and amd64 would tear.
func mustBeWord(p unsafe.Pointer) {
	if uintptr(p)%wordSize != 0 {
		unaligned(uintptr(p))
	}
}

// unaligned takes a number, lest the address escape into the message.
//
//go:noinline
func unaligned(address uintptr) {
	panic(fmt.Sprintf("mem: payload address %#x is not aligned to %d bytes", address, wordSize))
}
