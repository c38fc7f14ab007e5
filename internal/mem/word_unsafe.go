package mem

import "unsafe"

// Word returns the bytes of v as one word, extended with zeros. T has at most
// eight bytes.
//
// The sizes of the machine are told apart so that a value in a register is
// widened there, without a narrow store followed by a wide load.
func Word[T any](v T) uint64 {
	var w uint64
	switch unsafe.Sizeof(v) {
	case 4:
		return uint64(*(*uint32)(unsafe.Pointer(&v)))
	case 2:
		return uint64(*(*uint16)(unsafe.Pointer(&v)))
	case 1:
		return uint64(*(*uint8)(unsafe.Pointer(&v)))
	}
	if unsafe.Sizeof(v) > wordSize {
		panic(tooWide)
	}
	*(*T)(unsafe.Pointer(&w)) = v
	return w
}

// FromWord returns the value that Word made w of.
func FromWord[T any](w uint64) T {
	var v T
	if unsafe.Sizeof(v) > wordSize {
		panic(tooWide)
	}
	return *(*T)(unsafe.Pointer(&w))
}

const tooWide = "mem: a value of more than 8 bytes does not fit a word"
