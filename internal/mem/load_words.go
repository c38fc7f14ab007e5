//go:build !amd64 && !race

package mem

// Load64 returns the eight bytes at p, which may be unaligned. A stored key is
// compared between two loads of a version, so its loads keep their order as those
// of Read do.
func Load64(p Ptr) uint64 { return loadBits(p.p, 64) }

// Load32 returns the four bytes at p, which may be unaligned.
func Load32(p Ptr) uint32 { return uint32(loadBits(p.p, 32)) }
