package main

import "encoding/binary"

// An entry is the stored form of a value:
//
//	0   checksum of all that follows, and of the length
//	8   generation: the reload that wrote it
//	16  digest of the key
//	24  the value, compact JSON
//
// Each entry vouches for itself, so that a worker can judge what it got without
// knowing the configuration.
const entryHeader = 24

func appendEntry(dst []byte, generation uint64, key string, value []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, entryHeader)...)
	dst = append(dst, value...)
	e := dst[at:]
	binary.LittleEndian.PutUint64(e[8:], generation)
	binary.LittleEndian.PutUint64(e[16:], digest(key))
	binary.LittleEndian.PutUint64(e, checksum(e))
	return dst
}

// A verdict on an entry.
type verdict int

const (
	intact verdict = iota
	torn
	wrong
	stale
)

// inspect returns the generation of an entry and whether it is whole and
// belongs to the key.
func inspect(e []byte, key uint64) (generation uint64, v verdict) {
	if len(e) < entryHeader || binary.LittleEndian.Uint64(e) != checksum(e) {
		return 0, torn
	}
	if binary.LittleEndian.Uint64(e[16:]) != key {
		v = wrong
	}
	return binary.LittleEndian.Uint64(e[8:]), v
}

// checksum detects errors, not forgery: a multiplication for every 8 bytes, so
// that checking costs less than looking up.
func checksum(e []byte) uint64 {
	h := uint64(len(e))
	b := e[8:]
	for len(b) > 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	return mix(h ^ binary.LittleEndian.Uint64(e[len(e)-8:])) // overlaps the word before
}

// digest of a key.
func digest(key string) uint64 {
	h := uint64(len(key))
	for i := range len(key) {
		h = mix(h ^ uint64(key[i]))
	}
	return h
}

func mix(h uint64) uint64 {
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>32
}
