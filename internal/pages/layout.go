package pages

import "github.com/shmkit/shmkit/internal/psync"

// entry is the state of one page.
type entry struct {
	word  psync.Word64 // {process inside, busy, kind}; by CAS of who enters, by store of who leaves
	used  psync.Word64 // block i was handed out; who is inside. A run: {pages 63, 1}; the holder of the run lock
	freed psync.Word64 // block i was given back; anyone, by OR; cleared by who is inside
	epoch psync.Word64 // {count 52, slot + 1 of who has raised it last 12}; raised by who is inside, before it collects, and by who cuts a free page; only rises
}

// EntrySize is the size of a page's entry.
const EntrySize = 32

// Kinds of a page, in the low byte of its word.
const (
	kindFree  = 0
	kindRaw   = 1 // taken, not yet cut: its bits mean nothing
	kindRun   = 2
	kindTail  = 3 // inside a run, or a page of a run that is being put together
	kindClass = 16

	// epochOne is what the count of an epoch is raised by.
	epochOne = 1 << 12

	kindMask uint64 = 0xff
	busy     uint64 = 1 << 19
)

// Hint kinds. Classes follow from HintClass on.
const (
	HintFree  = 0 // the page is free
	HintEmpty = 1 // cut, but no block of it is in use
	HintFreed = 2 // the run was freed
	HintHeld  = 3 // free blocks, which a process keeps for itself as long as there are others
	HintClass = 4 // free blocks of the class
)

const (
	// groupPages is the number of pages that one group of hint words covers.
	groupPages = 64 * 64
	// MaxClasses bounds the size classes of any page size.
	MaxClasses = 42
)
