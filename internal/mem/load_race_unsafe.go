//go:build race

package mem

// Load64 returns the eight bytes at p, which may be unaligned.
//
// The detector would report the comparison of a stored key with a block that is
// being filled anew; the version check that follows makes it harmless.
//
//go:norace
func Load64(p Ptr) uint64 { return *(*uint64)(p.p) }

// Load32 returns the four bytes at p, which may be unaligned.
//
//go:norace
func Load32(p Ptr) uint32 { return *(*uint32)(p.p) }
