// Package slab hands out blocks of an arena to the structures that live in it,
// and takes them back: a memory allocator whose state lies in shared memory,
// and which any process may leave by SIGKILL at any instruction.
//
// Whoever uses the structures of packages value, array and hashmap does not
// need it. Whoever builds one does:
//
//	op, err := o.Begin()               // an intent record of this process
//	if err != nil { ... }
//	defer op.End()                     // frees what was reserved and not published
//	ref, err := op.Reserve(size)       // no lock is held here: the arena may grow
//	if err != nil { ... }
//	err = s.Write(ref, 0, contents)    // nobody else is led to it yet
//	if err != nil { ... }
//	err = o.Lock(&root.lock)
//	if err != nil { ... }
//	o.Publish(&op, slab.Change{Lock: &root.lock, Target: &root.slot, New: ref})
//	o.Unlock(&root.lock)               // one store has published it; the old block is free
//
// # Terms
//
//   - Block: memory of one of 26 to 42 size classes, by the page's size, or a run.
//     A page has blocks of one class, but for the lodger: behind blocks of three
//     eighths of a page there is room for one of a quarter.
//   - Run: consecutive pages for a block larger than half a page.
//   - Magazine: free blocks of one class that a process keeps at hand, in its own
//     memory, as rounds: blocks of one page, and the page's epoch, which tells
//     whether they are still his to take.
//   - Lane: a set of magazines, one a class. Each intent record has one, so that
//     the goroutines of a process do not wait for each other.
//   - Op: one operation of a structure, with the record that names the block it
//     has reserved.
//
// # Picture
//
//	 Begin              Reserve                                 Apply                   End
//	record, lane ─▶ magazine ─▶ page: name, mark ─▶ publish, free the old ─▶ record closed
//	                   ▲  ▲                                          │
//	                   │  └───────────────── a round ────────────────┘
//	                   │ a page with free blocks; a free one; an empty one of another class;
//	                   └ a freed run taken apart; new space; and when the arena is full: what the
//	                     dead and the removed held, and what others keep in their magazines
//
// # Why nothing leaks
//
// A block is always reachable: from a structure, from an open record, or it is
// free. Its name is in the record before its bit says used, and stays there
// until a structure refers to it. If the process dies in between, whoever comes
// next reads the record and frees the block, or completes what had begun.
//
// # Why nothing is given out twice
//
// Choosing, naming and marking a block is one section inside its page, and one
// goroutine of one process is in a page at a time; a page that a dead process is
// in is left only after its records are settled. Whoever collects the freed
// blocks of a page raises its epoch, and with that every round of it is void but
// his own. A freed block is not given out again while any open record names it,
// since settling that record may free it once more.
//
// # Structures of one's own
//
// [Create] and [Open] make an object of a root type, with locks, words and
// references in it; see the example of a queue. Its author sees to this:
//
//   - Reserve and fill before the lock is taken, publish under it: [Object.Publish].
//   - One reference owns a block. What is not in a reference of a root block, nor
//     reserved by an operation under way, [arena.Arena.Check] calls leaked.
//   - Killed before Publish has stored the target, the operation has not
//     happened, and its block is free. Killed after, it has happened: who takes
//     the lock next raises the version, frees the old block and sets the count.
//     A change of several references is several operations.
//   - A word that changes alone, under the lock or without one, needs no record:
//     it is stored whole or not at all.
//   - Who reads without the lock reads a version before and after, and then asks
//     [Object.Err]; what he has read in between may be rubbish until then.
//
// The build tag poison fills blocks that are freed with a pattern, and looks at
// it before they are handed out again: a store into memory that was freed is a
// panic that names the block. Every process that has the arena open must have the
// tag.
//
// # Blocking
//
// Reserve takes no shared lock for blocks up to half a page, and nobody can
// hold it up: a page that somebody is in is passed by. Runs are made and taken
// apart under the run lock, one at a time; Reserve comes to that too when it has
// no page left and freed runs lie about. A stopped process keeps, as long as it is stopped, the page it was taking a
// block from; a full arena then waits for it a moment before it says so. What is
// in its magazines others take when they find nothing else. The page whose last block it
// was just freeing others may miss for up to 10 s.
//
// # Caveats
//
// When the arena has reached its limit, ErrFull comes at once and changes
// nothing; memory freed by anybody is there for everybody again. A run that is larger
// than the arena may become is refused without a look at anything. Any other refusal
// reads a few bits a page, and looks at the pages whose free blocks somebody keeps: at
// each of them once, for each class, and not again when it is refused again, unless pages
// were cut for the class meanwhile or somebody is in one. In 1 GiB of pages of 4 KiB, all
// of which have free blocks of another size, the first refusal takes 4 ms, the next ones
// 0.1 ms. Not so for blocks of three eighths of a page, and for those of a quarter: pages
// that have only the other ones free are looked at each time.
//
// Pages do not move. An arena full of blocks of one class, of which all but one
// a page are freed, has all of them for that class again and nothing for any
// other; where every second page is emptied, half of the arena serves every class
// and runs of one page. That is all there can be, and the tests find 100 % of it
// (TestFragmentation). Runs lie in the smallest gap that is large enough, from the high
// end; pages for blocks are taken from the low end, so that the two keep apart: at
// 85 % full, half of it runs, a run of 32 pages finds no place in 12 of 100 looks
// although 64 pages are free, with first fit in 67 (TestFindRun_Mix).
//
// A block is larger than what was asked for by a quarter of it at most, but for
// 17 bytes (29 %), and by 9.7 % on the mean of all sizes up to half a page. What
// describes the pages takes 1 % of blocks of 64 bytes and more, in arenas from
// 1 MiB on. docs/SPACE.md has all of it by hand.
//
// Freeing a block twice is refused as long as nobody else has got it in the
// meantime. No allocator without a generation in every reference can promise
// more; the records make sure that the structures never do it.
//
// The design is that of the slab allocator of nginx, with pages entered one by
// one in place of its one mutex, four size classes to a doubling, and two bits a
// block in place of one. Magazines are those of Bonwick and Adams (Magazines and Vmem,
// USENIX 2001), but as hints: what is in them is free for everybody by its bits.
package slab
