// Package psync synchronises processes that share mapped memory.
//
// # Terms
//
//   - Word: 8 bytes of a segment, always read and written by one atomic
//     instruction. [Word64] is the one door for every shared store that a
//     survivor relies on; a build with the tag crash can kill the process at
//     each of them.
//   - Slot: a process that attaches a segment for writing claims a slot in
//     the segment's table. The slot word is {incarnation, state}; claiming it
//     raises the incarnation.
//   - ID: slot and incarnation together. It names one attach for ever and is
//     what locks and pages store. Process ids, start times and names are kept
//     beside it for people; no decision reads them.
//   - Life byte L(s): an open-file-description lock that the attach in slot s
//     holds as long as it lives. The kernel drops it on death and only then, in
//     every pid namespace, also after SIGKILL. A stopped process keeps it.
//   - Claim byte C(s): held by whoever attaches to slot s or recovers it.
//
// # Picture
//
//	slot word    63           32 31            8 7     0
//	            | incarnation   |      0        | state |
//
//	lock word    63           32 31     20 19         2   1          0
//	            | incarnation   | slot + 1 |     0     | inconsistent | waiters |
//
// # Invariants
//
//   - The incarnation is raised before the life byte is taken, so an id that
//     was dead once is dead for ever: a lock word of the dead cannot come alive
//     because somebody else uses the slot again.
//   - A recoverer never takes a life byte; it holds the claim byte, which the
//     kernel drops when the recoverer is killed too.
//   - State FREE is stored last, when nothing of the dead is left open.
//   - A lock is taken from its owner only when the owner is dead, by a
//     compare-and-swap of the exact word that was judged, and what it guards is
//     mended before the new owner may use it.
//
// The lock is in the tradition of the robust futex, but detection is exact
// across pid namespaces (the robust list compares namespace-local thread
// numbers) and mending is compulsory: [Mutex.Lock] does not return before the
// mend function it was given has run.
package psync
