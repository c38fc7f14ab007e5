//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package hashmap

import "github.com/shmkit/shmkit/internal/psync"

// The root block of a map is a run of pages:
//
//	0      header
//	128    stripes, 64 bytes each
//	…      buckets, 64 bytes each, from a multiple of 64 on
//
// and each entry is a block of its own:
//
//	0      key length 32, value length 32
//	8      reserved: 0
//	16     key, padded with zeros to a multiple of 8
//	…      value

// header describes the map. It is written before the map has a name.
type header struct {
	capacity   psync.Word64    // entries asked for
	buckets    psync.Word64    // number of buckets, a multiple of 1 << stripeBits
	stripeBits psync.Word64    // log2 of the buckets of a stripe
	bucketOff  psync.Word64    // offset of the first bucket in the root block
	secrets    [4]psync.Word64 // random words that key the hash
	spare      [8]psync.Word64 // 0
}

// stripe is a range of consecutive buckets that one lock guards.
type stripe struct {
	lock  psync.Mutex     // guards the buckets of the stripe and count
	count psync.Word64    // entries in the stripe; by the holder of lock
	spare [6]psync.Word64 // 0; a line of its own for each lock
}

// bucket is one cache line.
type bucket struct {
	version psync.Word64              // raised after every change of a slot or of tags' flags; by the holder of the stripe's lock
	tags    psync.Word64              // a byte for each slot, and flags in the high 16 bits; a tag is stored before its slot
	slots   [bucketSlots]psync.Word64 // {hash bits 20, offset of the entry 44}; 0: free; each store publishes
}

const (
	bucketSlots = 6
	slotsOff    = 16
	bucketSize  = 64
	stripeSize  = 64
	headerSize  = 128
	entryHeader = 16

	// overflowed is set in tags when an entry whose home this bucket is, or lies
	// before it, had to go further. It is never cleared.
	overflowed uint64 = 1 << 48

	offsetBits        = 44
	offsetMask uint64 = 1<<offsetBits - 1
)
