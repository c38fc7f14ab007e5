// Package pages is the page table of an arena: which bytes are allocated.
//
// It holds the mechanism only: the state of pages and blocks, how a block is
// marked and freed, and what a survivor does about a page of the dead. Which
// page to take a block from is the policy of package slab. The mechanism lies
// below the arena so that any process that attaches can settle what a dead one
// left, whatever structures it knows.
//
// # Terms
//
//   - Page: the unit of the data area. A page is free, or cut into blocks of one
//     size class, or part of a run.
//   - Lodger: a block of another class, the last one of its page. Two blocks of
//     three eighths of a page leave a quarter, which serves the class of that size.
//   - Run: consecutive pages that hold one block larger than the largest class.
//   - Page word: {who is inside, busy, kind} in one word, so that a page changes hands
//     and kind by one compare-and-swap.
//   - Inside: one goroutine of one process at a time is in a page that is cut for
//     a class; the page word says who. Only he marks blocks as used. Anybody may
//     free them.
//   - Used and freed: two bits a block. Used is written by who is inside; freed is
//     set by anyone with one atomic OR. In use = used and not freed.
//   - Collect: turn freed blocks back into free ones, except those that an open
//     intent record names (quarantine, B1).
//   - Epoch: a number of the page, raised by everyone who enters to collect.
//   - Round: what a process keeps in its own memory: these blocks were free as of
//     this epoch. As long as the epoch stands they are his; that is what makes
//     taking a block one short visit to its page, without a search and without a
//     look at anybody's records.
//   - Hint: a bit that says "look at this page". Hints are never trusted and may
//     be lost with a dead process; [Table.Rescan] finds every page again.
//
// # Picture
//
//	page word  63           32 31     20  19  18      8 7    0
//	          | incarnation   | slot + 1 |busy|    0   | kind |
//
//	kind  0 free   1 raw (being cut)   2 run   3 tail of a run   16+c class c
//
//	page entry (32 bytes)   | word | used | freed | epoch |
//
// A page with more than 64 blocks keeps its used and freed bits in its own
// first bytes.
//
// # Invariants
//
//   - A free page has used = freed = 0 in its entry.
//   - used is stored only by who is inside (a run: under the run lock).
//   - A block becomes used and not freed only after an open record names it.
//   - freed set without used is what a collector that died left: not in use,
//     and cleaned by the next collector.
//   - No block is in two rounds of the page's epoch. A round comes from a
//     collection, which raises the epoch, or from the free of a block that was in
//     use, and so in no round.
//   - An epoch only rises, through all that the page is in its life.
package pages
