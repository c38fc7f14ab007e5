package hashmap

import (
	"math/bits"

	"github.com/shmkit/shmkit/internal/mem"
)

// The hash folds 128-bit products of key words and secret words, as the Go
// runtime's fallback hash and wyhash do. The secrets are random for each map,
// so nobody who has not read the segment can craft keys that collide. (Seeding
// XXH64 would not do: pairs of keys that collide under every seed are known.)

// secrets keys the hash of one map. The third one is odd.
type secrets [4]uint64

// fold multiplies two words and folds the product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hash16 hashes a key of n bytes, 8 to 16, given by its first and last words,
// which overlap in a key shorter than 16. The fold alone would be too little:
// with some secrets, keys that count up in decimal crowd in a few stripes. The
// multiplication spreads them, and tells lengths apart.
func hash16(first, last, n uint64, s *secrets) uint64 {
	return fold(first^s[0], last^s[1]) * (s[2] + 2*n)
}

// hashBytes hashes the n bytes at p.
func hashBytes(p mem.Ptr, n uint64, s *secrets) uint64 {
	switch {
	case n > 16:
		return hashLong(p, n, s)
	case n >= 8:
		return hash16(mem.Load64(p), mem.Load64(p.Add(n-8)), n, s)
	default:
		return hash16(short(p, n), 0, n, s)
	}
}

// hashLong hashes more than 16 bytes.
func hashLong(p mem.Ptr, n uint64, s *secrets) uint64 {
	h, left := s[3], n
	for ; left > 16; left -= 16 {
		h = fold(mem.Load64(p)^s[0], mem.Load64(p.Add(8))^s[1]^h)
		p = p.Add(16)
	}
	// The last 16 bytes, which may overlap the ones before.
	p = p.Sub(16 - left)
	return hash16(mem.Load64(p)^h, mem.Load64(p.Add(8)), n, s)
}

// short returns n < 8 bytes as a word, padded with zeros.
func short(p mem.Ptr, n uint64) uint64 {
	switch {
	case n >= 4:
		return uint64(mem.Load32(p)) | uint64(mem.Load32(p.Add(n-4)))<<(8*(n-4))
	case n >= 2:
		return mem.Load8(p) | mem.Load8(p.Add(1))<<8 | mem.Load8(p.Add(n-1))<<(8*(n-1))
	case n == 1:
		return mem.Load8(p)
	default:
		return 0
	}
}

// equalBytes compares the n bytes of a key with those of an entry, whose last
// word is padded with zeros.
func equalBytes(key, entry mem.Ptr, n uint64) bool {
	if n < 8 {
		return n == 0 || short(key, n) == mem.Load64(entry)
	}
	for i := uint64(0); i+8 < n; i += 8 {
		if mem.Load64(key.Add(i)) != mem.Load64(entry.Add(i)) {
			return false
		}
	}
	return mem.Load64(key.Add(n-8)) == mem.Load64(entry.Add(n-8))
}

// equalValue compares the n bytes of a local value with those of an entry, whose
// last word goes on with anything.
func equalValue(v, entry mem.Ptr, n uint64) bool {
	if n < 8 {
		return n == 0 || short(v, n) == mem.Load64(entry)&(1<<(8*n)-1)
	}
	return equalBytes(v, entry, n)
}

// What each part of the hash is for: its high 20 bits stand in the slot, and the
// first of them choose the stripe and the segment; so a segment is split without a
// look at its entries, but for those of which the tags do not say how far from
// home. Bits 24 to 43 choose the bucket, bits 16 to 23 are the tag. The low bits
// are weak.

func tagOf(h uint64) uint64    { return h >> 16 & 0xff }
func slotBits(h uint64) uint64 { return h >> offsetBits }

// homeOf returns which of n buckets is the home of a key.
func homeOf(h, n uint64) uint64 { return (h >> 24 & (1<<homeBits - 1)) * n >> homeBits }

const homeBits = 20

const (
	tagOnes  uint64 = 0x010101010101
	tagHighs uint64 = 0x808080808080
)

// marked returns a bucket's tags with the tag and the distance of an entry for a slot.
func marked(tags, slot, tag, distance uint64) uint64 {
	at, far := 8*slot, distancesAt+distanceBits*slot
	return tags&^(0xff<<at|tooFar<<far) | tag<<at | min(distance, tooFar)<<far
}

// distanceIn returns the distance that tags say of an entry.
func distanceIn(tags uint64, slot int) uint64 {
	return tags >> (distancesAt + distanceBits*slot) & tooFar
}

// matches returns a word whose bit 8*i+7 is set if tag i equals that of h. Tags
// above the first match may be set wrongly; the slot decides.
func matches(tags, h uint64) uint64 {
	x := tags ^ tagOf(h)*tagOnes
	return (x - tagOnes) &^ x & tagHighs
}
