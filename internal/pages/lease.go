package pages

import (
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// A process names the page in its slot's lease list before it takes the lease,
// so that whoever recovers the slot finds every page of it.

// None is no page.
const None = ^uint64(0)

// Busy makes the idle lease of page p busy. False: the lease was stolen, and
// with it everything this process believed about the page.
func (t *Table) Busy(p uint64, class int, me psync.ID) bool {
	idle := uint64(me) | kindClass + uint64(class)
	return t.entry(p).word.CompareAndSwap(idle, idle|busy)
}

// Idle ends a busy section.
func (t *Table) Idle(p uint64, class int, me psync.ID) {
	t.entry(p).word.Store(uint64(me) | kindClass + uint64(class)) // survivor: the dead's lease, passed on by recovery
}

// Pick chooses a free block of a page under a busy lease, with its offset.
func (t *Table) Pick(p uint64, class int) (off uint64, ok bool) {
	c := &t.types.classes[class]
	for w := range c.words {
		u, f := t.bits(p, c, w)
		if avail := ^(u.Load() | f.Load()) & c.mask(w); avail != 0 {
			return t.pageOff(p) + c.Head + (w*64+lowest(avail))*c.Size, true
		}
	}
	return 0, false
}

// Mark marks the block that Pick chose as used. The lease is busy, and an open
// record names the block.
func (t *Table) Mark(p uint64, class int, off uint64) {
	c := &t.types.classes[class]
	i, _ := c.index(off - t.pageOff(p) - c.Head)
	u, _ := t.bits(p, c, i/64)
	u.Store(u.Load() | 1<<(i%64)) // survivor: a used block that the record names
}

// Collect makes the freed blocks of a page free, but for those that are named
// by an open record, and returns how many blocks are free and in use after it.
// The lease is busy. named is called with the freed bits already read: a block
// whose freed bit was set then and that no record names now can be named by
// none later (PROTOCOL 3.3).
func (t *Table) Collect(p uint64, class int, named func() []uint64) (free, used int) {
	c := &t.types.classes[class]
	var freed [64]uint64
	var any uint64
	for w := range c.words {
		_, f := t.bits(p, c, w)
		freed[w] = f.Load()
		any |= freed[w]
	}
	if any != 0 {
		for _, off := range named() {
			t.keep(&freed, p, c, off)
		}
		for w := range c.words {
			t.reap(p, c, w, freed[w])
		}
	}
	return t.tally(p, c)
}

// keep takes a named block out of the freed bits.
func (t *Table) keep(freed *[64]uint64, p uint64, c *Class, off uint64) {
	start := t.pageOff(p) + c.Head
	if off < start || off >= t.pageOff(p+1) {
		return
	}
	if i := (off - start) / c.Size; i < c.Blocks {
		freed[i/64] &^= 1 << (i % 64)
	}
}

// reap frees the blocks of one word: used first, then freed; the other order
// would leave them used for ever if we died in between.
func (t *Table) reap(p uint64, c *Class, w, freed uint64) {
	if freed == 0 {
		return
	}
	u, f := t.bits(p, c, w)
	if old := u.Load(); old&freed != 0 {
		u.Store(old &^ freed) // survivor: free, with freed bits that the next collector clears
	}
	f.And(^freed) // survivor: free
}

func (t *Table) tally(p uint64, c *Class) (free, used int) {
	for w := range c.words {
		u, f := t.bits(p, c, w)
		used += onesIn(u.Load() & c.mask(w))
		free += onesIn(^(u.Load() | f.Load()) & c.mask(w))
	}
	return free, used
}

// TakeFree takes a free page found by its hint and cuts it for a class; the
// lease is left idle. lease is the word of the slot's lease list to name it in.
func (t *Table) TakeFree(class int, me psync.ID, lease *psync.Word64, rotor *uint64) (uint64, bool) {
	for {
		p, ok := t.takeHint(HintFree, rotor)
		if !ok {
			return None, false
		}
		lease.Store(p + 1)                                                     // survivor: names a page that is not ours yet; ignored
		if t.entry(p).word.CompareAndSwap(kindFree, uint64(me)|busy|kindRaw) { // survivor: a raw page of the dead, made free
			t.cut(p, class, me)
			return p, true
		}
	}
}

// cut makes a raw page one of the class, with no block used.
func (t *Table) cut(p uint64, class int, me psync.ID) {
	if c := &t.types.classes[class]; c.Head != 0 {
		base := t.view.Base().Add(t.pageOff(p))
		mem.Zero(base, c.Head) // nobody reads these bits before the page has a class
	}
	t.Idle(p, class, me)
}

// TakeClass leases a page of the class that has no lessee, found by its hint.
// The lease is left busy.
func (t *Table) TakeClass(class int, me psync.ID, lease *psync.Word64, rotor *uint64) (uint64, bool) {
	for {
		p, ok := t.takeHint(HintClass+class, rotor)
		if !ok {
			return None, false
		}
		lease.Store(p + 1)
		bare := kindClass + uint64(class)
		if t.entry(p).word.CompareAndSwap(bare, bare|uint64(me)|busy) { // survivor: the dead's lease, passed on by recovery
			return p, true
		}
	}
}

// TakeEmpty leases a page of any class that has no lessee and no block in use,
// found by its hint. The lease is left busy.
func (t *Table) TakeEmpty(me psync.ID, lease *psync.Word64, rotor *uint64) (p uint64, class int, ok bool) {
	for {
		p, ok := t.takeHint(HintEmpty, rotor)
		if !ok {
			return None, 0, false
		}
		lease.Store(p + 1)
		e := t.entry(p)
		word := e.word.Load()
		kind := word & kindMask
		if psync.IDOf(word) != 0 || kind < kindClass || int(kind-kindClass) >= len(t.types.classes) {
			continue
		}
		if e.word.CompareAndSwap(word, word|uint64(me)|busy) {
			return p, int(kind - kindClass), true
		}
	}
}

// Recut gives a page without used blocks to another class; the lease goes from
// busy to idle.
func (t *Table) Recut(p uint64, class int, me psync.ID) {
	t.entry(p).word.Store(uint64(me) | busy | kindRaw) // survivor: a raw page of the dead, made free
	t.clearBits(p)
	t.cut(p, class, me)
}

// clearBits makes the entry's bits those of a free page. A page that has its
// bits in itself has left rubbish in neither.
func (t *Table) clearBits(p uint64) {
	e := t.entry(p)
	if e.used.Load() != 0 {
		e.used.Store(0)
	}
	if e.freed.Load() != 0 {
		e.freed.Store(0)
	}
}

// Release gives up the busy lease of a page of which used blocks are left. An
// empty page becomes free. The hints of another one are set if hint is true;
// otherwise by [Table.Hint], later: a page whose free blocks are all named by
// open records would be found again at once.
func (t *Table) Release(p uint64, class int, me psync.ID, lease *psync.Word64, used int, hint bool) {
	e := t.entry(p)
	if used == 0 {
		e.word.Store(uint64(me) | busy | kindRaw) // survivor: as in Recut
		t.clearBits(p)
		e.word.Store(kindFree) // survivor: a free page without its hint
		t.setHint(HintFree, p)
	} else {
		e.word.Store(kindClass + uint64(class)) // survivor: a page without lessee, perhaps without hint
		if hint {
			t.hintPage(p, class)
		}
	}
	lease.Store(0)
}

// Hint sets the hints of a page that was released without.
func (t *Table) Hint(p uint64) {
	word := t.entry(p).word.Load()
	if kind := word & kindMask; kind >= kindClass && psync.IDOf(word) == 0 {
		t.hintPage(p, int(kind-kindClass))
	}
}

// Steal takes the idle lease that a living process has on a page, if the page
// is of the class; the lease is left busy.
func (t *Table) Steal(p uint64, class int, from, me psync.ID, lease *psync.Word64) bool {
	if !t.has(p) {
		return false
	}
	lease.Store(p + 1)
	bare := kindClass + uint64(class)
	return t.entry(p).word.CompareAndSwap(bare|uint64(from), bare|uint64(me)|busy)
}

// StealEmpty is Steal for a page of any class that has no block in use.
func (t *Table) StealEmpty(p uint64, from, me psync.ID, lease *psync.Word64) (class int, ok bool) {
	if !t.has(p) {
		return 0, false
	}
	word := t.entry(p).word.Load()
	class = int(word&kindMask) - kindClass
	if psync.IDOf(word) != from || word&busy != 0 || class < 0 || class >= len(t.types.classes) {
		return 0, false
	}
	if _, used := t.count(p, class); used != 0 {
		return 0, false
	}
	lease.Store(p + 1)
	return class, t.entry(p).word.CompareAndSwap(word, uint64(me)|busy|word&kindMask) // survivor: as in TakeEmpty
}

// Moving reports whether page p, which is on a lease list, could serve the class
// once it is let go: somebody is taking it, or has it, or is giving it away.
// state changes as that goes on.
func (t *Table) Moving(p uint64, class int) (state uint64, ok bool) {
	if !t.has(p) {
		return 0, false
	}
	word := t.entry(p).word.Load()
	switch kind := word & kindMask; {
	case kind == kindFree || kind == kindRaw:
		return word, true // taken by its hint, or about to get one
	case kind < kindClass || int(kind-kindClass) >= len(t.types.classes):
		return 0, false
	default:
		free, used := t.count(p, int(kind-kindClass))
		return word + uint64(free), used == 0 || int(kind-kindClass) == class && free > 0
	}
}

// Worth reports whether stealing a page of the class could bring a block.
func (t *Table) Worth(p uint64, class int) bool {
	if !t.has(p) || t.entry(p).word.Load()&kindMask != kindClass+uint64(class) {
		return false
	}
	free, _ := t.count(p, class)
	return free > 0
}

// Pass makes a page that an attach of the slot leased available to everybody.
// The attach is dead, or about to leave, and every record of it is settled. An
// idle lease may be stolen meanwhile; then it is the thief's.
func (t *Table) Pass(p uint64, slot int) {
	if !t.has(p) {
		return // a damaged lease list: nothing is leased there
	}
	e := t.entry(p)
	for word := e.word.Load(); psync.IDOf(word).Slot() == slot; word = e.word.Load() {
		switch kind := word & kindMask; {
		case kind == kindRaw:
			t.clearBits(p)
			e.word.Store(kindFree) // survivor: repeats the recovery, finds the page free
			t.setHint(HintFree, p)
		case kind < kindClass || int(kind-kindClass) >= len(t.types.classes):
			return // a run that is being made or broken: its record settles it
		case e.word.CompareAndSwap(word, kind): // survivor: repeats the recovery, finds no lessee
			t.hintPage(p, int(kind-kindClass))
		}
	}
}
