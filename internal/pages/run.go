package pages

import (
	"math/bits"

	"github.com/shmkit/shmkit/internal/psync"
)

// Runs are put together and taken apart under the run lock, one at a time, and
// an open record names the pages before the first of them is touched. While
// that goes on, the pages carry the id of who does it:
//
//	make:  free → mine|tail, first page to last; then mine|tail → tail, last to
//	       second; then the head becomes a run
//	break: the head becomes mine|tail; then tail → free, last page to first
//
// So whenever the first page is mine, the pages of the half-done run are those
// that follow it without a gap and are tails; otherwise nothing was begun, or
// all is done. A page that was a tail of somebody else's run cannot follow: its
// head would come first. [Table.Break] relies on this, for the living and for
// the dead.

// MakeRun makes a run of n pages from page p on, for a block that an open
// record names with its length. False: a page was not free, nothing was done.
func (t *Table) MakeRun(p, n uint64, me psync.ID) bool {
	mine := uint64(me) | busy | kindTail
	for i := p; i < p+n; i++ {
		if !t.entry(i).word.CompareAndSwap(kindFree, mine) { // survivor: pages [p, i) are taken apart
			t.BreakClaimed(p, n, me.Slot())
			return false
		}
		t.clearFreeHint(i)
	}
	for i := p + n - 1; i > p; i-- {
		t.entry(i).word.Store(kindTail) // survivor: as above, the first page is still mine
	}
	e := t.entry(p)
	e.used.Store(n<<1 | 1)
	e.word.Store(kindRun) // survivor: a run in use that the record names
	return true
}

// BreakRun takes the run at page p apart. An open record names it, no other
// open record does, and its freed bit is set.
func (t *Table) BreakRun(p, n uint64, me psync.ID) {
	t.entry(p).word.Store(uint64(me) | busy | kindTail) // survivor: takes it apart
	t.BreakClaimed(p, n, me.Slot())
}

// BreakClaimed frees what is left of a half-done run whose first page carries
// the id of an attach of the slot, living or dead. Only one attach of a slot
// can have a run half done: the next one settles it first.
func (t *Table) BreakClaimed(p, n uint64, slot int) {
	if !t.has(p) {
		return
	}
	if word := t.entry(p).word.Load(); word&(busy|kindMask) != busy|kindTail || psync.IDOf(word).Slot() != slot {
		return
	}
	end := p
	for end < min(p+n, t.Pages()) && t.entry(end).word.Load()&kindMask == kindTail {
		end++
	}
	e := t.entry(p)
	e.used.Store(0)
	e.freed.Store(0)
	for i := end; i > p; i-- {
		t.entry(i - 1).word.Store(kindFree) // survivor: goes on with the pages before; after the first one nothing is left
	}
	t.setFree(p, end)
}

// Run returns the head page and the length of the run at off.
func (t *Table) Run(off uint64) (p, n uint64, ok bool) {
	at, err := t.locate(off)
	if err != nil || at.class >= 0 {
		return 0, 0, false
	}
	n = t.entry(at.page).runPages()
	return at.page, n, n > 0 && n <= t.g.MaxPages && t.has(at.page+n-1)
}

// runPages returns the length of the run that the page heads.
func (e *entry) runPages() uint64 { return e.used.Load() >> 1 }

// RunAt returns the offset of a run that begins at page p.
func (t *Table) RunAt(p uint64) uint64 { return t.pageOff(p) }

// PageAt returns the page that begins at off.
func (t *Table) PageAt(off uint64) uint64 { return (off - t.g.DataOff) >> t.g.Shift }

// IsRun reports whether page p heads a complete run.
func (t *Table) IsRun(p uint64) bool {
	return t.has(p) && t.entry(p).word.Load()&kindMask == kindRun
}

// FindRun finds n consecutive free pages: in the smallest gap that is large
// enough, of several the last one, and in it the last place. Pages for blocks
// are taken from the low end, so that runs and blocks keep out of each other's
// way. At the end of an arena that can grow a run lies at the start of the gap:
// what remains then becomes one with the space that is added.
func (t *Table) FindRun(n uint64) (uint64, bool) {
	for {
		from, to := t.bestGap(n)
		if to == 0 {
			return 0, false
		}
		p := to - n
		if to == t.Pages() && to < t.g.MaxPages {
			p = from
		}
		if t.allFree(p, p+n) {
			return p, true
		}
		t.prune(from, to)
	}
}

// bestGap returns the pages [from, to) of the smallest gap of at least n pages,
// by the hints, and 0, 0 if there is none. It looks from the end on, and no
// further than to a gap that fits exactly.
func (t *Table) bestGap(n uint64) (from, to uint64) {
	for q := t.freeBelow(t.Pages()); q != 0; {
		p := t.gapStart(q)
		if size := q - p; size >= n && (to == 0 || size < to-from) {
			if from, to = p, q; size == n {
				break
			}
		}
		q = t.freeBelow(p)
	}
	return from, to
}

// freeBelow returns the page behind the last one below q that has the hint of a
// free page; 0 if none has. It reads a word for 64 pages, or for a group without
// any.
func (t *Table) freeBelow(q uint64) uint64 {
	for q > 0 {
		start := (q - 1) &^ (groupPages - 1)
		if t.summary(HintFree, start/groupPages).Load() == 0 {
			q = start
			continue
		}
		for ; q > start; q = (q - 1) &^ 63 {
			if w := t.freeWord(q-1) << (63 - (q-1)%64); w != 0 {
				return q - highZeros(w)
			}
		}
	}
	return 0
}

// gapStart returns the first page of the gap that ends before page q.
func (t *Table) gapStart(q uint64) uint64 {
	for ; q > 0; q = (q - 1) &^ 63 {
		if w := ^t.freeWord(q-1) << (63 - (q-1)%64); w != 0 {
			return q - highZeros(w)
		}
	}
	return 0
}

// highZeros returns how many bits above the highest one are clear.
func highZeros(x uint64) uint64 { return uint64(bits.LeadingZeros64(x)) }

func (t *Table) allFree(from, to uint64) bool {
	for p := from; p < to; p++ {
		if t.entry(p).word.Load() != kindFree {
			return false
		}
	}
	return true
}

// prune takes the hints of pages [from, to) away that are wrong. Whoever makes a
// page free sets its hint after that: if it was set before we take it away, we
// see the page free, and set it again.
func (t *Table) prune(from, to uint64) {
	for p := from; p < to; p++ {
		if t.entry(p).word.Load() == kindFree {
			continue
		}
		t.clearFreeHint(p)
		if t.entry(p).word.Load() == kindFree {
			t.setHint(HintFree, p)
		}
	}
}

// FreeTail returns how many of the last pages are free.
func (t *Table) FreeTail() uint64 {
	n := t.Pages()
	for p := n; p > 0; p-- {
		if t.entry(p-1).word.Load() != kindFree {
			return n - p
		}
	}
	return n
}

func (t *Table) freeWord(p uint64) uint64 {
	return t.leaf(HintFree, p/groupPages, p%groupPages/64).Load()
}

func (t *Table) clearFreeHint(p uint64) {
	group, i := p/groupPages, p%groupPages/64
	leaf := t.leaf(HintFree, group, i)
	if leaf.And(^(uint64(1)<<(p%64)))&^(1<<(p%64)) == 0 {
		t.trim(t.summary(HintFree, group), leaf, i)
	}
}

// TakeFreed returns a run that was freed, found by its hint.
func (t *Table) TakeFreed(rotor *uint64) (p, n uint64, ok bool) {
	for {
		p, ok := t.takeHint(HintFreed, rotor)
		if !ok {
			return 0, 0, false
		}
		e := t.entry(p)
		n := e.runPages()
		if e.word.Load() == kindRun && e.freed.Load()&1 != 0 && n > 0 && n <= t.g.MaxPages && t.has(p+n-1) {
			return p, n, true
		}
	}
}

// KeepFreed puts the hint of a freed run back: a record still names it.
func (t *Table) KeepFreed(p uint64) { t.setHint(HintFreed, p) }
