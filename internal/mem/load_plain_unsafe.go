//go:build amd64 && !race

package mem

// Load64 returns the eight bytes at p, which may be unaligned.
func Load64(p Ptr) uint64 { return *(*uint64)(p.p) }

// Load32 returns the four bytes at p, which may be unaligned.
func Load32(p Ptr) uint32 { return *(*uint32)(p.p) }
