//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package value

import "github.com/shmkit/shmkit/internal/psync"

// line is what two processors pull at when they write to neighbouring words.
const line = 128

// valueRoot is the root block of a value.
type valueRoot struct {
	word    psync.Word64     // the value, extended with zeros; by every writer, read by all
	change  psync.Word64     // raised by whoever changed word, after it; 1 at creation; waiters sleep on it
	watched psync.Word64     // 1: somebody may sleep; set by waiters, cleared by the writer that wakes them
	spare   [13]psync.Word64 // keeps the line to itself
}

// cells is the number of cells of a counter. Processes share them: adding is
// atomic, so the sum is exact however many there are.
const cells = 16

// cell is what the processes of every 16th slot add to.
type cell struct {
	count psync.Word64     // only ever added to; a new process goes on where the last one was
	base  psync.Word64     // in cell 0: what Reset took off the sum, raised by CAS; 0 in the others
	spare [14]psync.Word64 // keeps the line to itself
}

// counterRoot is the root block of a counter.
type counterRoot struct {
	cells [cells]cell // by process slot mod 16; read by all
}
