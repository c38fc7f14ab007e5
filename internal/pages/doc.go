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
//   - Run: consecutive pages that hold one block larger than the largest class.
//   - Page word: {lessee, busy, kind} in one word, so that a page changes hands
//     and kind by one compare-and-swap.
//   - Lease: the lessee is the only one that marks blocks of the page as used.
//     Anybody may free them. A lease is busy while the lessee chooses, names and
//     marks a block; an idle lease may be stolen, a busy one never.
//   - Used and freed: two bits a block. Used is written by the lessee only;
//     freed is set by anyone with one atomic OR. In use = used and not freed.
//   - Collect: the lessee turns freed blocks back into free ones, except those
//     that an open intent record names (quarantine, B1).
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
//	page entry (32 bytes)   | word | used | freed | pages of the run |
//
// A page with more than 64 blocks keeps its used and freed bits in its own
// first bytes.
//
// # Invariants
//
//   - A free page has used = freed = 0 in its entry.
//   - used is stored only under a busy lease (a run: under the run lock).
//   - A block is marked used only after an open record names it, and its freed
//     bit is then clear.
//   - freed set without used is what a collector that died left: not in use,
//     and cleaned by the next collector.
package pages
