package pages

import (
	"math/bits"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// Hints are two levels of bits for every kind and group of 4096 pages: one word
// whose bit i says that leaf word i is not zero, and up to 64 leaf words with a
// bit a page.

func onesIn(x uint64) int { return bits.OnesCount64(x) }

// summary and leaf return hint words of a group that has committed pages.
func (t *Table) summary(kind int, group uint64) *psync.Word64 {
	return mem.Cast[psync.Word64](t.hints.Add(group*t.groupBytes + uint64(kind)*8))
}

func (t *Table) leaf(kind int, group, i uint64) *psync.Word64 {
	return mem.Cast[psync.Word64](t.hints.Add(group*t.groupBytes + (t.kinds+uint64(kind)*t.perKind+i)*8))
}

// setHint sets the hint of a page. A survivor finds it set, or lost until the
// next rescan; both are harmless. The summary bit is looked at even when the
// leaf shows the hint: whoever set that may have died before he set the other.
func (t *Table) setHint(kind int, p uint64) {
	group, i, bit := p/groupPages, p%groupPages/64, uint64(1)<<(p%64)
	if leaf := t.leaf(kind, group, i); leaf.Load()&bit == 0 {
		leaf.Or(bit)
	}
	if sum := t.summary(kind, group); sum.Load()>>i&1 == 0 {
		sum.Or(1 << i)
	}
}

// setFree sets the free hint of pages [from, to), a word at a time.
func (t *Table) setFree(from, to uint64) {
	for p := from; p < to; {
		n := min(64-p%64, to-p)
		mask := ^uint64(0) >> (64 - n) << (p % 64)
		group, i := p/groupPages, p%groupPages/64
		t.leaf(HintFree, group, i).Or(mask)
		t.summary(HintFree, group).Or(1 << i)
		p += n
	}
}

// takeHint finds a page with the hint, at or behind *from in cyclic order,
// clears the hint and moves *from there. It reads one word for 4096 pages that
// have none.
func (t *Table) takeHint(kind int, from *uint64) (uint64, bool) {
	n := t.Pages()
	if n == 0 {
		return 0, false
	}
	groups := (n + groupPages - 1) / groupPages
	start := *from % n / groupPages
	for g := range groups {
		if p, ok := t.takeInGroup(kind, (start+g)%groups); ok {
			*from = p
			return p, true
		}
	}
	return 0, false
}

func (t *Table) takeInGroup(kind int, group uint64) (uint64, bool) {
	sum := t.summary(kind, group)
	for s := sum.Load(); s != 0; s &= s - 1 {
		i := lowest(s)
		if i >= t.perKind {
			return 0, false // a damaged summary
		}
		leaf := t.leaf(kind, group, i)
		for w := leaf.Load(); w != 0; w = leaf.Load() {
			bit := w & -w
			if leaf.And(^bit)&bit == 0 {
				continue // somebody else was faster
			}
			t.trim(sum, leaf, i)
			if p := group*groupPages + i*64 + lowest(bit); t.has(p) {
				return p, true
			}
		}
		t.trim(sum, leaf, i)
	}
	return 0, false
}

// trim clears the summary bit of an empty leaf, and sets it again if the leaf
// was filled meanwhile.
func (t *Table) trim(sum, leaf *psync.Word64, i uint64) {
	if leaf.Load() != 0 {
		return
	}
	sum.And(^(uint64(1) << i))
	if leaf.Load() != 0 {
		sum.Or(1 << i)
	}
}

// Untrim sets the summary bits of all leaves with a hint of the kind: somebody
// may be stopped in trim between his two stores.
func (t *Table) Untrim(kind int) {
	for p := uint64(0); p < t.Pages(); p += 64 {
		group, i := p/groupPages, p%groupPages/64
		if sum := t.summary(kind, group); sum.Load()>>i&1 == 0 && t.leaf(kind, group, i).Load() != 0 {
			sum.Or(1 << i)
		}
	}
}

// Rescan sets the hints of every page anew: those of a dead process may be
// lost. It reads the whole table and may run beside everything else.
func (t *Table) Rescan() {
	for p := range t.Pages() {
		e := t.entry(p)
		word := e.word.Load()
		switch kind := word & kindMask; {
		case word == kindFree:
			t.setHint(HintFree, p)
		case kind == kindRun && e.freed.Load()&1 != 0:
			t.setHint(HintFreed, p)
		case kind >= kindClass && int(kind-kindClass) < len(t.types.classes): // also if somebody is inside
			t.hintPage(p, int(kind-kindClass))
		}
	}
}

// Hinted reports whether any page has the hint; it may be out of date at once.
func (t *Table) Hinted(kind int) bool {
	for g := uint64(0); g*groupPages < t.Pages(); g++ {
		if t.summary(kind, g).Load() != 0 {
			return true
		}
	}
	return false
}

// Commit announces pages [from, to) that the segment has grown by. A survivor
// finds the pages free, at worst without their hints.
func (t *Table) Commit(from, to uint64) { t.setFree(from, to) }
