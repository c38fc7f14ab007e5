package slab

import (
	"runtime"
	"time"
)

// watch tells a full arena from one whose last free blocks are in somebody's
// hands for the moment: another goroutine or process is taking a block from the
// page, or giving it away. That takes a microsecond, but he may have lost his
// processor, or be stopped.
type watch struct {
	begun bool
	moved bool      // something has moved: nothing that was known before is relied on
	quiet int       // looks in a row that saw nothing move
	trace uint64    // what the last look saw
	since time.Time // when that was seen first
	start time.Time // of the first look
	now   time.Time // when this look began
}

const (
	// looks is how often nothing must be seen: somebody can go from a page
	// looked at later to one looked at already.
	looks = 3
	// handover is how long a page may stay where it is without a change before
	// it is given up: whoever has it is stopped.
	handover = 20 * time.Millisecond
	// patience bounds the whole watch: two that are both short would otherwise
	// take the same full pages from each other's hands, and each see the other
	// move, for ever.
	patience = 200 * time.Millisecond
)

// begin begins a look, and reports whether it is the first one.
func (w *watch) begin() bool {
	first := !w.begun
	w.now = time.Now()
	if first {
		w.begun, w.start = true, w.now
	}
	return first
}

// still takes the trace of a look and reports whether to give up. Otherwise it
// lets others run. What counts is when the look began: who has lost the processor in
// it may have seen nobody leave.
func (w *watch) still(trace uint64) bool {
	first := trace != 0 && !w.moved // then pages were passed by that are looked at now, however late it is
	w.moved = w.moved || trace != 0
	switch {
	case trace == 0:
		w.quiet++
	case trace != w.trace:
		w.quiet, w.since = 0, time.Now()
	case w.now.Sub(w.since) > handover:
		return true
	}
	w.trace = trace
	if !first && (w.quiet == looks || w.now.Sub(w.start) > patience) {
		return true
	}
	runtime.Gosched()
	return false
}
