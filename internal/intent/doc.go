// Package intent keeps what is in flight, so that a survivor can finish it.
//
// # Terms
//
//   - Record: 64 bytes in the process slot that say what one operation is about
//     to do. Fields first, op last; op is cleared when all is done. A record
//     with op none says nothing.
//   - Target: the word whose one store publishes the operation. It holds old
//     before and new after.
//   - Reference word: a block's offset in the low 44 bits, and whatever its
//     owner keeps in the high 20. old and new of a replace are reference words.
//   - Named: a block that an open record holds as old or new. A named block is
//     never handed out again, even after it was freed (quarantine).
//   - Trade: a replace that frees nothing: the old block takes the place that the new
//     one had, or that was empty.
//   - Settle: bring a dead operation to its end. If the target holds new, roll
//     forward; if it holds old, roll back; anything else is corruption, and
//     then nothing is freed.
//
// # Life of a record
//
//	alloc    {new}                        inside the page; then the block is marked
//	replace  {lock, target, old, new, …}  under the lock, just before the target is stored
//	none                                  after version, free of old, and count
//
// A record of op alloc names no lock: it is settled by whoever recovers the
// slot. A record of a later op names the lock it was written under and is
// settled by whoever takes that lock over from the dead, before anybody else
// can touch what it guards; whoever recovers the slot takes the lock first.
//
// # Invariants
//
//   - At most one open record names a lock.
//   - Counts are absolute, so that settling twice is settling once.
//   - A block's name stands from before it is marked, or before it is freed,
//     until the record is closed. So freeing it again in a repair can't free
//     what somebody else was given meanwhile.
//
// Reserving a block under the name of its destination is the discipline of
// libpmemobj's reserve and publish; two bits a block with quarantine stand in
// for its redo log.
package intent
