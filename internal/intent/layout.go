package intent

import "github.com/shmkit/shmkit/internal/psync"

// Record is one operation in flight.
type Record struct {
	op      psync.Word64 // {offset of the lock word << 8, op}; stored last, cleared last
	target  psync.Word64 // offset of the word that publishes
	old     psync.Word64 // what target held; a reference word
	new     psync.Word64 // what target will hold; a reference word
	version psync.Word64 // offset of the word to raise after publishing; 0: none
	count   psync.Word64 // offset of the counter to store; 0: none
	after   psync.Word64 // what the counter will hold
	extra   psync.Word64 // run: its pages; rename: offset of the word to clear; split: the second new word; while blocks are taken: one more than the page that the operation is in
}

// Size is the size of a record.
const Size = 64

// PerSlot is the number of records in a process slot: operations that one
// process can have in flight.
const PerSlot = 16

// Ops of a record.
const (
	opNone    = 0
	opAlloc   = 1 // new is allocated and reachable from nowhere else
	opReplace = 2 // target: old → new; old is freed
	opRename  = 3 // target: old → new, then the low half of the word at extra is cleared; frees nothing
	opMake    = 4 // a run of extra pages is put together at new
	opBreak   = 5 // the run of extra pages at old is taken apart
	opSplit   = 6 // words of the tree at target, for the hash after, on the side version: old → new in the first half, extra in the second; old is freed
	opTrade   = 7 // target: old → new, and old takes the place of new in the word at count: frees nothing

	opMask uint64 = 0xff
)

// RefMask covers the offset in a reference word.
const RefMask uint64 = 1<<44 - 1

// NameMask covers what a rename clears in the word of the old name.
const NameMask uint64 = 1<<32 - 1
