package pages

import "github.com/shmkit/shmkit/internal/psync"

// Round is what one process believes: these blocks of a page were free, and its
// own to take, when the page's epoch was this. As long as the epoch stands
// nobody else has taken blocks of the page but those of his own rounds, and no
// block is in two. A round lives in the memory of the process only: with the
// process it is lost, and the blocks are found by the hints of their page.
type Round struct {
	page  uint64
	epoch uint64
	bits  uint64 // blocks, in one word of the page's bits
	word  uint32 // which one
	class int16  // of the page

	serves int16 // class of the blocks: another one if it is the lodger
}

// Class returns the class of the round's blocks.
func (r *Round) Class() int { return int(r.serves) }

// Page returns the round's page.
func (r *Round) Page() uint64 { return r.page }

// Blocks returns how many blocks are left in the round.
func (r *Round) Blocks() int { return onesIn(r.bits) }

// Empty reports whether no block is left in the round.
func (r *Round) Empty() bool { return r.bits == 0 }

// Chamber is a block that was chosen from a round, by one who is in its page. It is
// filled in where it lies: a struct that is returned is written in parts and then
// copied as a whole, which makes the processor wait.
type Chamber struct {
	Off         uint64
	used, freed *psync.Word64
	bit         uint64
}

// Next enters the page of a round, if the round is still good, and chooses its
// next block, which the caller names, marks, and then leaves the page by
// LeaveRound. False: nobody is inside, and the round is worth nothing.
func (t *Table) Next(r *Round, me psync.ID, at *psync.Word64, c *Chamber) bool {
	e := t.entry(r.page)
	bare := kindClass + uint64(r.class)
	at.Put(r.page + 1)                                                        // survivor: names a page that we are not in; ignored
	for try := 0; !e.word.CompareAndSwap(bare, bare|uint64(me)|busy); try++ { // survivor: leaves it for us
		if e.word.Load()&kindMask != bare || try == entries {
			at.Put(0)
			t.Hint(r.page)
			return false
		}
	}
	if e.epoch.Load() != r.epoch {
		t.LeaveRound(r, at)
		return false
	}
	if r.serves != r.class && t.empty(r.page, int(r.class)) { // all of it could serve the class of the lodger
		t.Hint(r.page) // before we leave: others may be short of it
		t.LeaveRound(r, at)
		return false
	}
	t.Choose(r, c)
	return true
}

// Choose chooses the next block of a round whose page we are in.
func (t *Table) Choose(r *Round, c *Chamber) {
	class := &t.types.classes[r.class]
	i := lowest(r.bits)
	c.bit = r.bits & -r.bits
	r.bits &^= c.bit
	c.Off = t.pageOff(r.page) + class.Head + (uint64(r.word)*64+i)*class.Size
	c.used, c.freed = t.bits(r.page, class, uint64(r.word))
	t.unpoison(c.Off, t.types.classes[r.serves].Size)
}

// entries is how often Next tries to enter a page that somebody else is in. He
// is out in no time, unless he has lost his processor.
const entries = 100

// Mark marks the block as used. An open record names it. Freed without used is
// what a collector that died left, or somebody who freed the block twice while it
// was collected.
func (c *Chamber) Mark() {
	if used := c.used.Load(); used&c.bit == 0 {
		c.used.StoreRelease(used | c.bit) // survivor: a used block that the record names, or a free one
	}
	if c.freed.Load()&c.bit != 0 {
		c.freed.And(^c.bit) // survivor: a used block that the record names
	}
}

// LeaveRound leaves the page that Next has entered.
func (t *Table) LeaveRound(r *Round, at *psync.Word64) { t.Leave(r.page, int(r.class), at) }

// Rounds appends the free blocks of an entered page to buf, as rounds of now.
func (t *Table) Rounds(p uint64, class int, buf []Round) []Round {
	c := &t.types.classes[class]
	r := Round{page: p, epoch: t.entry(p).epoch.Load(), class: int16(class)}
	for w := range c.words {
		u, f := t.bits(p, c, w)
		free := ^(u.Load() | f.Load()) & c.mask(w)
		r.word, r.serves = uint32(w), int16(class)
		if r.bits = free &^ c.lodger(); r.bits != 0 {
			buf = append(buf, r)
		}
		r.serves = int16(c.Lodger)
		if r.bits = free & c.lodger(); r.bits != 0 {
			buf = append(buf, r)
		}
	}
	return buf
}

// Offer points allocators at the page of a round that nobody keeps.
func (t *Table) Offer(r *Round) { t.setHint(HintClass+r.Class(), r.page) }

// FreeRound is Free for one who wants to hand the block out again himself, as the
// round *r. It is empty if that can't be: the block is of a run, or somebody is in the
// page, who may be collecting.
//
// The round is good when no open record names the block any more. The caller
// knows that when he has closed the record under which the block was freed, if
// that was done under the lock of what it was part of; or by looking through the
// records after FreeRound has returned.
func (t *Table) FreeRound(off uint64, r *Round) error {
	r.bits = 0
	var at place
	if err := t.locateIn(off, &at); err != nil {
		return err
	}
	// First the epoch, then the word: whoever enters to collect after we have
	// looked at the word raises the epoch above ours. Then the bit: until it is
	// set nobody collects the block, so nobody can have done so before we looked.
	// (docs/models/magazine.pml: WORDFIRST, READCLOSED)
	e := t.entry(at.page)
	epoch, word := e.epoch.Load(), e.word.Load()
	if !t.setFreed(&at, off) {
		return notInUse(off)
	}
	mine := word == kindClass+uint64(int64(at.class)) // never of a run: its class is -1
	if mine {
		r.page, r.epoch, r.bits, r.word, r.class, r.serves = at.page, epoch, at.bit, at.word, at.class, at.serves
	}
	t.hintFreed(&at, mine)
	return nil
}

// Names reports whether one of the offsets is that of a block of the round.
func (t *Table) Names(r *Round, offs []uint64) bool {
	c := &t.types.classes[r.class]
	start, end := t.pageOff(r.page)+c.Head, t.pageOff(r.page+1)
	for _, off := range offs {
		if off < start || off >= end {
			continue // nearly always: no division
		}
		if i := (off - start) / c.Size; i/64 == uint64(r.word) && r.bits>>(i%64)&1 != 0 {
			return true
		}
	}
	return false
}
