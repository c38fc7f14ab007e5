//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package arena

import (
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Version is the version of the layout in this file and in those of the
// packages below. A segment of another version is refused.
const Version = 1

const (
	magic     uint64 = 0x31_74_69_6b_6d_68_73_89 // "\x89shmkit1" in memory
	wordTag   uint64 = 0x40_02_01_01_02_03_04_05 // word size 64, then a pattern that shows the byte order
	firstSlot        = 1728
)

// header stands at offset 0. The words up to sum are written once, before the
// segment has a name.
type header struct {
	magic     psync.Word64        // "\x89shmkit1"
	wordTag   psync.Word64        // word size and byte order
	version   psync.Word64        // layout version
	pageShift psync.Word64        // log2 of the page size
	maxSize   psync.Word64        // bytes the segment can grow to
	slots     psync.Word64        // number of process slots, from offset 1728 on
	objects   psync.Word64        // number of object entries; of names there is one more
	objectOff psync.Word64        // offset of the object table
	nameOff   psync.Word64        // offset of the name table
	hintOff   psync.Word64        // offset of the page hints
	tableOff  psync.Word64        // offset of the page table
	dataOff   psync.Word64        // offset of page 0
	maxPages  psync.Word64        // pages the segment can grow to
	lifetime  psync.Word64        // who removes the name: 0 nobody, 1 the last process
	nonce     psync.Word64        // random; tells this segment from others of its name
	created   psync.Word64        // wall clock at creation, nanoseconds since 1970; for people
	sum       psync.Word64        // xxhash of the words before it
	committed psync.Word64        // bytes in use; raised by CAS after they are allocated
	ready     psync.Word64        // 1: the init function completed; by the holder of initLock
	high      psync.Word64        // one more than the highest slot ever claimed; only rises, by CAS of who claims one
	deaths    psync.Word64        // slots recovered; after each, hints may be lost; only rises
	spare0    [11]psync.Word64    // 0; keeps the lock off the line before it
	dirLock   psync.Mutex         // guards every store to names and objects
	spare1    [15]psync.Word64    // 0; a line of its own for each lock
	runLock   psync.Mutex         // guards page runs being made and broken
	spare2    [15]psync.Word64    // 0
	initLock  psync.Mutex         // held while the init function runs
	spare3    [15]psync.Word64    // 0
	refused   [kinds]psync.Word64 // by class, runs last: allocations that found the arena full
	cut       [kinds]psync.Word64 // {how often the class got pages 30, pages of it now 34}; may be off by what the killed had under way, until a rescan
	most      [kinds]psync.Word64 // the most pages of the class at any time
	spare4    [7]psync.Word64     // 0; up to the first process slot
}

// slot is what the arena keeps for one process.
type slot struct {
	word    psync.Word64                  // {incarnation, state}; by who holds the claim byte or, leaving, the life byte; see package psync
	pid     psync.Word64                  // for people; in the pid namespace of the process
	started psync.Word64                  // wall clock at attach, nanoseconds since 1970; for people
	name    [5]psync.Word64               // base name of the program, for people
	pins    [MaxObjects / 64]psync.Word64 // bit o: a handle on object o is open; by the process, cleared by who recovers the slot
	spare   [4]psync.Word64               // 0
	records [intent.PerSlot]intent.Record // operations in flight; by the process, closed by who settles them; see package intent
	handed  [kinds]psync.Word64           // by class, runs last: blocks handed out since the arena was made; added to by the process now and then
	spare1  [5]psync.Word64               // 0
}

// kinds is the number of classes a page can have, and one for runs.
const kinds = pages.MaxClasses + 1

// MaxObjects bounds the objects of an arena.
const MaxObjects = 256

// object is one typed structure, as an inode is one file.
type object struct {
	ref         psync.Word64 // offset of its root block; 0: the entry is free; under dirLock
	state       psync.Word64 // {version 62, state 2}; changes when the object comes and when it goes; under dirLock, read last by readers
	kind        psync.Word64 // of structure; this and what follows is stored while ref is 0
	fingerprint psync.Word64 // of its types
	size        psync.Word64 // bytes of the root block in use
	traceOff    psync.Word64 // offset in the root block of the first reference word, or of the head of a tree
	traceShape  psync.Word64 // {bytes from group to group 32, reference words in a group 32}
	traceCount  psync.Word64 // {tree 1, groups 63}; tree: there are also the references of a tree, see package tree; the groups begin behind its head, and end with their reference words
}

// traceTree says that an object keeps its blocks in a tree.
const traceTree uint64 = 1 << 63

// States of an object.
const (
	objectNone    = 0
	objectLive    = 1
	objectRemoved = 2
	stateMask     = 3
)

// name leads to an object, as a directory entry leads to an inode.
type name struct {
	word   psync.Word64              // {generation 32, object + 1}; 0 in the low half: free; under dirLock
	length psync.Word64              // bytes of text; for people
	text   [MaxName / 8]psync.Word64 // the name, padded with zeros; stored after the generation has changed and while the low half of word is 0
}

// MaxName is the longest name of an object, in bytes.
const MaxName = 112
