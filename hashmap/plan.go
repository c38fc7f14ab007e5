package hashmap

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/tree"
)

// plan is the shape of a map: how many stripes, and the tree that it begins with.
type plan struct {
	capacity   uint64 // entries
	stripeBits uint   // log2 of the stripes
	bits       uint   // log2 of the words of a new directory, no less than stripeBits
	buckets    uint64 // of a new segment
	most       uint64 // buckets of a segment that is split, and not made larger
	limit      uint64 // entries at most; 0: none
	ttl        uint64 // nanoseconds that an entry lives, if nothing else is said; 0: for ever
	leases     uint64 // keys that can be loaded at once, a power of two
	cells      uint64 // where reads are counted; 0: they are not
}

const (
	defaultCapacity = 1024
	// mostEntries is the most entries that can be asked for.
	mostEntries = 1 << 36
	// mostStripeBits is that of the stripes a map has at most: enough for as many
	// processes as an arena has.
	mostStripeBits = 8
	// smallest and largest are the bytes of a segment. The root block and all
	// segments begin at multiples of a cache line: blocks of at least a 64th of a
	// page do, if their size is one.
	smallest = 512
	largest  = 16 << 10
	// grown is the size at which one that has grown is split: a writer waits for that. Of
	// a map that was made large they are larger, so that they are fewer.
	grown = 8 << 10
	// fewestLeases are all looked at for each key; mostLeases take 24 KiB.
	fewestLeases = leaseProbes
	mostLeases   = 128
)

// sizes says which blocks an arena has. It is a [pages.Table], or what the table of
// an arena will say that is not made yet.
type sizes interface {
	BlockSize(n uint64) uint64 // of the block that a request for n bytes gets
	Geometry() pages.Geometry
}

// planFor shapes a new map for so many entries.
func planFor(capacity uint64, t sizes, arenaSize uint64) (plan, error) {
	return planWithin(buckets(clamp(arenaSize/32, smallest, largest), t), capacity, t, arenaSize)
}

// planWithin shapes a map for so many entries at a load of 0.72, so that at 0.8,
// where segments are split, few are by chance. Of the sizes of a segment, up to
// most buckets, it takes one that wastes little, and gives many stripes.
func planWithin(most, capacity uint64, t sizes, arenaSize uint64) (plan, error) {
	p := plan{capacity: capacity}
	need := capacity*100/(72*bucketSlots) + 1
	best := ^uint64(0)
	for bits := uint(1); bits <= tree.MaxBits; bits++ {
		n := buckets(tree.Size((need+1<<bits-1)>>bits), t)
		if n > most {
			continue
		}
		total := tree.Size(n) << bits
		if total+total/16 > best && (bits > mostStripeBits || total > best+best/16) {
			break
		}
		p.bits, p.buckets, best = bits, n, min(best, total)
	}
	if best > arenaSize {
		return p, fmt.Errorf("%w: buckets for %d entries take %d bytes or more, the arena has at most %d", ErrFull, capacity, need*bucketSize, arenaSize)
	}
	p.most = max(p.buckets, min(most, buckets(grown, t)))
	p.stripeBits = min(p.bits, mostStripeBits)
	p.leases = clamp(p.stripes(), fewestLeases, mostLeases)
	return p, nil
}

const (
	// share is how many entries a stripe of a map with a limit has at least, if
	// there are two stripes: whom to evict is decided within a stripe.
	share = 128
	// settled is how many entries a bucket of such a map has when it is full.
	settled = 4
)

// planBounded shapes a map that has so many entries at most: as many stripes as
// have their share, and as few segments as their size allows, which stay.
func planBounded(limit uint64, t sizes, arenaSize uint64) (plan, error) {
	p := plan{capacity: limit, limit: limit}
	for p.stripeBits < mostStripeBits && limit>>p.stripeBits >= 2*share {
		p.stripeBits++
	}
	need := (limit + settled - 1) / settled
	for p.bits = max(p.stripeBits, 1); p.bits < tree.MaxBits; p.bits++ {
		p.buckets = (need + 1<<p.bits - 1) >> p.bits
		if p.segmentSize(p.buckets, t) <= clamp(arenaSize/32, smallest, largest) {
			break
		}
	}
	p.most = p.buckets
	p.leases = clamp(p.stripes(), fewestLeases, mostLeases)
	if total := p.segmentSize(p.buckets, t) << p.bits; total > arenaSize || p.buckets > tree.MaxBuckets {
		return p, fmt.Errorf("%w: buckets for %d entries take %d bytes, the arena has at most %d", ErrFull, limit, total, arenaSize)
	}
	return p, nil
}

// segmentSize returns the bytes of the block of a segment.
func (p *plan) segmentSize(buckets uint64, t sizes) uint64 {
	return lines(p.segmentBytes(buckets), t)
}

// segmentBytes returns how many of them are used.
func (p *plan) segmentBytes(buckets uint64) uint64 {
	if p.limit == 0 {
		return tree.Size(buckets)
	}
	return tree.Size(buckets) + buckets*rowSize
}

// shareOf returns how many entries a stripe of a map with a limit has at most.
func (p *plan) shareOf(stripe uint64) uint64 {
	return p.limit*(stripe+1)>>p.stripeBits - p.limit*stripe>>p.stripeBits
}

func clamp(n, low, high uint64) uint64 { return max(low, min(n, high)) }

// buckets returns how many buckets fit into the block that a segment of size
// bytes gets.
func buckets(size uint64, t sizes) uint64 {
	return lines(size, t)/tree.Line - 1
}

// lines returns the size of the smallest block of whole cache lines with room for
// size bytes.
func lines(size uint64, t sizes) uint64 {
	size = t.BlockSize(max(size, smallest, t.Geometry().PageSize()/64))
	for size%tree.Line != 0 {
		size = t.BlockSize(size + 1)
	}
	return size
}

func (p *plan) stripes() uint64 { return 1 << p.stripeBits }

// stripeOf returns the stripe of a hash.
func (p *plan) stripeOf(h uint64) uint64 { return h >> 1 >> ((63 - p.stripeBits) & 63) }

func (p *plan) size() uint64 { return p.cellsOff() + p.cells*cellSize }

// leasesOff returns where the leases begin in the root block.
func (p *plan) leasesOff() uint64 { return stripesOff + p.stripes()*stripeSize }

func (p *plan) cellsOff() uint64 { return p.leasesOff() + p.leases*leaseSize }

// spec describes the object.
func (p *plan) spec(s *shape, t sizes) arena.Spec {
	return arena.Spec{
		Kind: arena.KindMap, Fingerprint: s.print, Types: s.types,
		Size:  lines(p.size()+uint64(len(s.label)), t),
		Trace: arena.Trace{Tree: true, First: treeOff, Count: p.stripes(), Stride: stripeSize, Words: 1},
	}
}

// fill writes the root block of size bytes.
func (p *plan) fill(root mem.Ptr, size uint64, label string) {
	mem.Zero(root, size)
	h := mem.Cast[header](root)
	h.capacity.Store(p.capacity)
	h.stripeBits.Store(uint64(p.stripeBits))
	h.bits.Store(uint64(p.bits))
	h.buckets.Store(p.buckets)
	h.most.Store(p.most)
	h.limit.Store(p.limit)
	h.ttl.Store(p.ttl)
	h.leases.Store(p.leases)
	h.expiring.Store(min(p.ttl, 1))
	h.watch.wind(bootID())
	mem.Cast[news](root.Add(newsOff)).cells.Store(p.cells)
	mem.CopyInString(root.Add(p.size()), label)
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	random[16] |= 1             // the third one is a multiplier
	for i := range h.secrets {
		h.secrets[i].Store(binary.LittleEndian.Uint64(random[i*8:]))
	}
}

func (p *plan) check(size uint64) error {
	if p.leases < fewestLeases || p.leases > mostLeases || p.leases&(p.leases-1) != 0 {
		return fmt.Errorf("%w: %d leases", ErrCorrupt, p.leases)
	}
	if p.cells != 0 && p.cells != readCells {
		return fmt.Errorf("%w: %d cells", ErrCorrupt, p.cells)
	}
	if p.stripeBits > mostStripeBits || p.bits == 0 || p.bits > tree.MaxBits || p.bits < p.stripeBits || p.size() > size ||
		p.buckets == 0 || p.buckets > p.most || p.most > tree.MaxBuckets || p.limit > mostEntries {
		return fmt.Errorf("%w: 2^%d stripes, directory of 2^%d words, %d to %d buckets, %d entries at most, in %d bytes", ErrCorrupt, p.stripeBits, p.bits, p.buckets, p.most, p.limit, size)
	}
	return nil
}
