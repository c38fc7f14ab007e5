//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package tree

import "github.com/shmkit/shmkit/internal/psync"

// Head is where a tree begins.
type Head struct {
	version psync.Word64    // {exchanges 24, count 40}; count is raised after each change of the current directory; by the holder of lock
	dirs    [2]psync.Word64 // {log2 of the words 20, offset of the directory 44}, by side; 0: none; the current one by the holder of lock, the other one by that of swap
	lock    psync.Mutex     // the tree lock
	swap    psync.Mutex     // held by who builds or takes down the side that is not current
	spare   [3]psync.Word64 // 0
}

const (
	// HeadSize is the size of a head.
	HeadSize = 64

	// Line is the size of a bucket, and of the first line of a segment.
	Line = 64
	// SlotsOff is where the slots are in a bucket, Slots how many.
	SlotsOff = 16
	Slots    = 6

	versionOff = 0
	dirsOff    = 8
	lockOff    = 24
	swapOff    = 32

	// A directory word is {depth 6, buckets 14, offset of the segment 44}.
	refBits     = 44
	bucketsBits = 14
	refMask     = 1<<refBits - 1

	// The side that is current is the lowest bit of exchanges.
	epochShift = 40
)

const (
	// MaxBits is the log2 of the words of the largest directory.
	MaxBits = 20
	// OneExchange is what versions before and after an exchange differ by, or more.
	OneExchange = 1 << epochShift
	// MaxBuckets is how many buckets a segment can have.
	MaxBuckets = 1<<bucketsBits - 1
)
