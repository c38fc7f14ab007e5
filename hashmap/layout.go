//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package hashmap

import (
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// The root block of a map is
//
//	0      header
//	128    news
//	192    head of the tree
//	256    stripes, 64 bytes each
//	…      leases, 192 bytes each
//	…      cells, 128 bytes each, of a map that counts reads
//	…      label: what encoded values are, padded with zeros; none of plain ones
//
// a segment of the tree
//
//	0      first line
//	64     buckets, 64 bytes each
//	…      of a map with a limit: rows, 32 bytes for each bucket
//
// and each entry is a block of its own:
//
//	0      key length 32, value length 32
//	8      deadline in the map's time, 0: none
//	16     key, padded with zeros to a multiple of 8
//	…      value

// header describes the map. It is written before the map has a name.
type header struct {
	capacity   psync.Word64    // entries asked for
	stripeBits psync.Word64    // log2 of the number of stripes
	bits       psync.Word64    // log2 of the words of a new directory
	buckets    psync.Word64    // buckets of a new segment
	most       psync.Word64    // buckets of a segment that is split, and not made larger
	ttl        psync.Word64    // nanoseconds that an entry lives unless something else is said; 0: for ever
	expiring   psync.Word64    // 1: some entry has, or had, a deadline; set before the first one is stored
	limit      psync.Word64    // most entries; 0: none, and the map grows
	secrets    [4]psync.Word64 // random words that key the hash
	watch      watch           // what its time is
	leases     psync.Word64    // number of leases, a power of two
}

// news is for those who wait for changes, and for people. Writers read it after
// every change.
type news struct {
	awaited psync.Word64 // 1: somebody may sleep; set by those who wait, cleared by the writer that wakes them
	bell    psync.Word64 // raised by that writer; they sleep on it
	changes psync.Word64 // as of a stripe: exchanges of the whole content; by the holder of the tree's swap lock
	refused psync.Word64 // writes that found no room
	cells   psync.Word64 // number of cells, 0 or readCells; written before the map has a name
	wanted  psync.Word64 // 1: a write wants the memory of the old content; cleared by the holder of the tree's swap lock
	spare   psync.Word64 // 0
	gone    psync.Word64 // the content that was last begun to be taken down; by the holder of the tree's swap lock
}

// cell is where the processes of every 16th slot count what they read.
type cell struct {
	hits   psync.Word64     // reads that found their key; added to by whoever reads, summed by Stats
	misses psync.Word64     // and those that did not
	spare  [14]psync.Word64 // 0; lines of its own
}

// stripe is a range of hashes that one lock guards.
type stripe struct {
	lock    psync.Mutex     // guards the segments of the range, on both sides, and count
	count   [2]psync.Word64 // entries of the range, by side; by the holder of lock, of the side being built by the holder of the tree's swap lock
	floor   psync.Word64    // what the last one evicted was worth, 28 bits; any value will do; by the holder of lock
	gone    psync.Word64    // entries evicted, for people; by the holder of lock
	lapsed  psync.Word64    // entries freed because they had expired, for people; by the holder of lock
	changes psync.Word64    // raised before a change of an entry and after it: odd while one is under way, or was cut short; by the holder of lock
	spare   psync.Word64    // {class of its block, and 1, 20, offset 44} of a block that is free for the next write to an entry of this size; 0: none; by the holder of lock
}

// lease is the right to load one key. It is claimed under the lock of the key's
// stripe, by a compare-and-swap of holder, since keys of other stripes want it too;
// all else is written by who holds it while it is claimed or told.
type lease struct {
	holder  psync.Word64     // {id of who holds it 44, low bits of ticket 17, state 3}; waiters sleep on it
	ticket  psync.Word64     // raised by each claim: a loader whose ticket it is not any more comes too late
	hash    psync.Word64     // of the key
	print   psync.Word64     // another hash of the key, with the secrets in another order
	until   psync.Word64     // when others may take it over
	forget  psync.Word64     // when the error of one that failed is forgotten
	length  psync.Word64     // bytes of message
	message [17]psync.Word64 // why the load failed
}

// first is the first line of a segment.
type first struct {
	count    psync.Word64              // entries, for the decision to split; may be off by what the killed had under way
	earliest [lapseGroups]psync.Word64 // the earliest of the deadlines in buckets i, i + 7, …, or one before it; 0: there is none. By the holder of the stripe's lock
}

// bucket is one cache line.
type bucket struct {
	version psync.Word64              // raised after every change of a slot, or of overflowed; by the holder of the stripe's lock
	tags    psync.Word64              // {overflowed 1, spare 3, distances 6 × 2, tags 6 × 8}; those of a slot are stored before it
	slots   [bucketSlots]psync.Word64 // {hash bits 20, offset of the entry 44}; 0: free; each store publishes
}

// row is what a map with a limit remembers of a bucket. Any value will do. It is
// stored and read by the holder of the stripe's lock.
type row struct {
	hints  [bucketSlots / 2]psync.Word64 // two each, {worth 28, count of uses 4}, of the entry in the slot; 0: the slot is free
	ghosts psync.Word64                  // four lanes {fingerprint 12, count of uses 4} of entries evicted whose home it is, the last one lowest; 0: none
}

const (
	bucketSlots = tree.Slots
	slotsOff    = tree.SlotsOff
	bucketSize  = tree.Line
	rowSize     = 32
	lapseGroups = 7
	newsOff     = 128
	treeOff     = newsOff + 64
	stripesOff  = treeOff + tree.HeadSize
	stripeSize  = 64
	countOff    = 8 // in a stripe, of the first side
	spareOff    = 56
	leaseSize   = 192
	messageOff  = 56
	messageSize = leaseSize - messageOff
	readCells   = 16
	cellSize    = 128
	entryHeader = 16
	deadlineOff = 8

	// overflowed is set in tags when an entry whose home this bucket is, or lies
	// before it, had to go further. It is never cleared.
	overflowed uint64 = 1 << 63

	// distances say how many buckets behind its home an entry lies; tooFar: so many or
	// more, or it is not known. A split reads the keys of no others.
	distanceBits        = 2
	distancesAt         = 8 * bucketSlots
	tooFar       uint64 = 1<<distanceBits - 1

	// States of a lease, in the low bits of its holder. From loading on the key is
	// that of hash and print; from done on nobody holds it.
	leaseIdle     = 0 // nobody's, and says nothing
	leaseClaimed  = 1 // being made out, for a moment
	leaseLoading  = 2
	leaseTelling  = 3 // the message is being written
	leaseDone     = 4 // the value was in the map
	leaseFailed   = 5
	leaseUnstored = 6 // it was loaded, but there was no room for it

	leaseState  uint64 = 1<<3 - 1
	leaseTicket uint64 = ^psync.IDMask &^ leaseState
	ticketShift        = 3

	offsetBits        = 44
	offsetMask uint64 = 1<<offsetBits - 1
)
