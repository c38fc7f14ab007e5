// Package array shares arrays of fixed length between processes.
//
//	load, err := array.OpenOrCreate[uint32](a, "load", 16)
//	err = load.Store(3, 70)
//	n := load.Load(3)
//	for i, n := range load.All() { ... }
//
// The elements can be of any type of up to 8 bytes without pointers and padding:
// numbers, bools, small structs and arrays. Each one is read and written whole,
// with the verbs of sync/atomic.
//
// # Picture
//
//	| length | spare  | element 0 | element 1 | ...
//	 64 bytes           8 bytes each, extended with zeros
//
// An element takes 8 bytes, also if its type is smaller: one word, one atomic
// instruction. So elements are never torn, and a process that is killed leaves
// the old or the new one. Nothing is locked, nothing is to be recovered.
//
// # What is atomic
//
// One element. All, Values, CopyTo, CopyFrom and Fill do one element after the
// other: beside a writer they see some elements before and some after its
// changes. A process that is killed in CopyFrom or Fill has stored a part.
//
// # Progress
//
// Everything is wait-free, but for Add of a type smaller than 8 bytes: it starts
// again when another write of the same element completed. Reads store nothing and
// work on a read-only arena.
//
// # Errors
//
// An index out of range panics, as with a slice. On a handle that is closed,
// whose arena is closed, or whose object was removed, reads return zeros and
// writes an error; Err says why. Closing the arena ends its handles at any time,
// whatever runs on them; nothing reaches the segment after that. A write that
// fails with [ErrClosed] while the arena is being closed may have taken effect
// just before.
//
// Close of a handle may be called at any time too. It ends the handle, not what
// runs on it: a write that was under way completes, and hits what it was meant
// for. So the memory of a removed object is given back after its handles were
// closed or dropped and then collected, or their arena closed. Go's collector does
// not know how much that is: a process that often replaces objects which take a
// good part of the arena should call [runtime.GC] when it has dropped some.
//
// # Caveats
//
// The length is fixed at creation. Equality, in CompareAndSwap, is that of the
// bytes: a NaN equals itself, and 0 and -0 of a floating-point type differ.
// Neighbouring elements share a cache line: processes that write all the time to
// elements of their own do better with 16 elements between them, or with a
// counter of package value.
package array
