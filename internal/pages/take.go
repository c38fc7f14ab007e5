package pages

import (
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// A process stores which page it is about to enter in a word of its slot, so
// that whoever recovers the slot finds the page: at is that word, one for each
// operation in flight.

// None is no page.
const None = ^uint64(0)

// Enter goes into page p if it is cut for the class and nobody is inside.
func (t *Table) Enter(p uint64, class int, me psync.ID, at *psync.Word64) bool {
	at.Put(p + 1) // survivor: names a page that we are not in; ignored
	bare := kindClass + uint64(class)
	return t.entry(p).word.CompareAndSwap(bare, bare|uint64(me)|busy) // survivor: leaves it for us
}

// Leave goes out of page p. A freer who has met us inside has set the hint of
// the page himself.
func (t *Table) Leave(p uint64, class int, at *psync.Word64) {
	t.entry(p).word.StoreRelease(kindClass + uint64(class)) // survivor: nothing to leave
	at.StoreRelease(0)
}

// Take is Enter for one who will collect: it raises the epoch, so that nobody
// relies any more on what he believes to be free there. Before he collects: if he
// dies between his stores, the page is left for him, and rounds of the old epoch
// must not be good. When it fails, the caller clears *at.
func (t *Table) Take(p uint64, class int, me psync.ID, at *psync.Word64) bool {
	if !t.Enter(p, class, me, at) {
		return false
	}
	t.entry(p).raise(me) // survivor: rounds that were good are not; the blocks are found by their hints
	return true
}

// raise raises the epoch of an entered page, and says there who has done so.
func (e *entry) raise(me psync.ID) {
	e.epoch.Store(e.epoch.Load()&^(epochOne-1) + epochOne + uint64(me.Slot()+1))
}

// keeper returns the slot of who has raised the epoch last, which is who has looked for
// the page's free blocks; -1: nobody has.
func (e *entry) keeper() int { return int(e.epoch.Load()&(epochOne-1)) - 1 }

// Search is a search for pages by their hints. It looks at each page once, from
// where the one before it was successful.
type Search struct {
	Me psync.ID
	At *psync.Word64

	Home  uint64 // hint word to look for free pages from on
	begun bool   // there is a chunk there that this search has begun
	Rotor uint64 // page to begin with
	kind  int    // of the hints
	want  int    // class
	begin uint64 // hint word that was first
	seen  uint64 // words looked at
	rest  uint64 // bits of the word not yet looked at
	vain  *Vain  // nil: look at every page

	Looks uint64 // pages looked at, by all searches; for tests
}

// NoClass is for a search for pages without used blocks, whatever their class.
const NoClass = -1

// Begin starts a search by hints of the kind, for a class.
func (s *Search) Begin(kind, want int) *Search {
	s.kind, s.want, s.begin, s.seen, s.rest, s.vain = kind, want, s.Rotor/64, 0, ^uint64(0), nil
	return s
}

// Past has a search that was begun pass by the pages that are in v, and add those that
// it finds to be of no use.
func (s *Search) Past(v *Vain) *Search {
	s.vain = v
	return s
}

// Class returns the class that is searched for.
func (s *Search) Class() int { return s.want }

// worth is what a hint is worth.
type worth int

const (
	stale worth = iota // nothing: the page is not what the hint says
	other              // something, but not to this search
	fit
)

// judge looks at a page that has a hint of the search's kind.
func (t *Table) judge(s *Search, p uint64) (class int, w worth) {
	class = int(t.entry(p).word.Load()&kindMask) - kindClass
	if class < 0 || class >= len(t.types.classes) {
		return class, stale
	}
	free, lodger := t.free(p, &t.types.classes[class])
	empty := free+lodger == t.types.classes[class].All
	wanted := t.wanted(class, s.want, free, lodger) > 0
	switch {
	case free+lodger == 0, s.kind == HintEmpty && !empty, s.kind >= HintClass && !wanted:
		return class, stale
	case s.kind == HintHeld && !wanted && !empty:
		return class, other
	default:
		return class, fit
	}
}

// wanted returns how many of the free blocks of a page serve a class.
func (t *Table) wanted(class, want int, free, lodger uint64) uint64 {
	switch want {
	case class:
		return free
	case t.types.classes[class].Lodger:
		return lodger
	}
	return 0
}

// Find takes the next page that a search finds. Its hint is gone then; but a page
// that is of use to others, or that somebody is in, is never without for longer
// than it takes to look: who finds nothing says that the arena is full.
func (t *Table) Find(s *Search) (p uint64, class int, ok bool) {
	words := (t.Pages() + 63) / 64
	for ; s.seen < words; s.seen, s.rest = s.seen+1, ^uint64(0) {
		at := (s.begin + s.seen) % words
		group, i := at/64, at%64
		sum := t.summary(s.kind, group)
		if sum.Load() == 0 {
			s.seen += min(64-i, words-at) - 1 // none in this group
			continue
		}
		leaf := t.leaf(s.kind, group, i)
		for w := leaf.Load() & s.rest &^ s.vain.word(at); w != 0; w &= s.rest {
			bit := w & -w
			s.rest &^= bit | (bit - 1)
			p := at*64 + lowest(bit)
			if class, ok := t.tryHint(s, sum, leaf, i, bit, p); ok {
				s.Rotor = p
				return p, class, true
			}
		}
	}
	return None, 0, false
}

// tryHint takes page p, whose hint is the bit, if it is fit. Whoever frees a block
// sets the hint after that; so when the hint is cleared first and the page looked
// at then, no block is missed.
func (t *Table) tryHint(s *Search, sum, leaf *psync.Word64, i, bit, p uint64) (class int, ok bool) {
	if !t.has(p) {
		return 0, false
	}
	s.Looks++
	class, w := t.judge(s, p)
	if w == other {
		if s.vain != nil && !t.related(class, s.want) {
			s.vain.add(p)
		}
		return 0, false
	}
	s.At.Put(p + 1) // before the hint goes: who finds none looks who is where
	if leaf.And(^bit)&bit == 0 {
		s.At.Put(0)
		return 0, false // somebody else was faster
	}
	t.trim(sum, leaf, i)
	if w == stale {
		_, w = t.judge(s, p)
	} else if t.Take(p, class, s.Me, s.At) {
		return class, true
	}
	if w != stale {
		t.setHint(s.kind, p)
	}
	s.At.StoreRelease(0)
	return 0, false
}

// Return leaves a page that a search has found, and whose freed blocks are all
// named by open records.
func (t *Table) Return(s *Search, p uint64, class int) {
	t.setHint(s.kind, p) // before we leave: there may be a block that is of use to others
	t.Leave(p, class, s.At)
}

// TakeFree takes a free page and cuts it for the class. Each search goes on from
// where it was, and, in an arena that is not small, from a chunk of 64 pages that
// nobody has begun: the entries of neighbouring pages share cache lines, and two
// processes that take turns in a chunk would pass these to and fro at every
// allocation and every free, for as long as the pages live.
func (t *Table) TakeFree(s *Search, class int) (uint64, bool) {
	words := (t.Pages() + 63) / 64
	if words < manyChunks || s.begun {
		if p, ok := t.takeFreeAt(s, s.Home%words, class); ok {
			return p, true
		}
	}
	if words >= manyChunks {
		t.goToWhole(s, words)
		s.begun = true
	}
	for n := uint64(0); n < words; n++ {
		at := (s.Home + n) % words
		if t.summary(HintFree, at/64).Load() == 0 {
			n += min(64-at%64, words-at) - 1 // none in this group
			continue
		}
		if p, ok := t.takeFreeAt(s, at, class); ok {
			return p, true
		}
	}
	return None, false
}

const (
	// manyChunks is how many chunks an arena has in which a search leaves those that
	// others have begun to them: in a smaller one they would be too few for runs.
	manyChunks = 64
	// chunkLooks is how many chunks are looked at.
	chunkLooks = 32
)

// goToWhole has the search go on at a chunk all of whose pages are free, if there is
// one not far ahead in the lower half. The upper one is left to runs, which are sought
// from the end: else a few pages, one for each goroutine of each process, could be all
// over the arena.
func (t *Table) goToWhole(s *Search, words uint64) {
	low := words / 2
	s.Home %= low
	for n := range uint64(chunkLooks) {
		at := (s.Home + n) % low
		if t.leaf(HintFree, at/64, at%64).Load() == ^uint64(0) {
			s.Home = at
			return
		}
	}
}

// takeFreeAt takes a free page of the chunk that one hint word is for.
func (t *Table) takeFreeAt(s *Search, at uint64, class int) (uint64, bool) {
	group, i := at/64, at%64
	sum, leaf := t.summary(HintFree, group), t.leaf(HintFree, group, i)
	for w := leaf.Load(); w != 0; w &= w - 1 {
		if p := at*64 + lowest(w); t.takeFree(s, sum, leaf, i, p, class) {
			s.Home = at
			return p, true
		}
	}
	return None, false
}

func (t *Table) takeFree(s *Search, sum, leaf *psync.Word64, i, p uint64, class int) bool {
	bit := uint64(1) << (p % 64)
	s.At.Put(p + 1) // before the hint goes: who finds none looks who is where
	if leaf.And(^bit)&bit != 0 {
		t.trim(sum, leaf, i)
		if t.has(p) && t.entry(p).word.CompareAndSwap(kindFree, uint64(s.Me)|busy|kindRaw) { // survivor: a raw page of the dead, made free
			t.entry(p).raise(s.Me) // survivor: the same
			t.cut(p, class, s.Me)
			return true
		}
	}
	s.At.StoreRelease(0)
	return false
}

// cut makes a raw page one of the class, with no block used.
func (t *Table) cut(p uint64, class int, me psync.ID) {
	if c := &t.types.classes[class]; c.Head != 0 {
		base := t.view.Base().Add(t.pageOff(p))
		mem.Zero(base, c.Head) // nobody reads these bits before the page has a class
	}
	t.poisonPage(p, &t.types.classes[class])
	t.entry(p).word.Store(uint64(me) | busy | kindClass + uint64(class)) // survivor: leaves it for us
}

// Recut gives an entered page without used blocks to another class.
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

// Discard leaves an entered page without used blocks as a free page.
func (t *Table) Discard(p uint64, me psync.ID, at *psync.Word64) {
	e := t.entry(p)
	e.word.Store(uint64(me) | busy | kindRaw) // survivor: as in Recut
	t.clearBits(p)
	e.word.Store(kindFree) // survivor: a free page without its hint
	t.setHint(HintFree, p)
	at.Store(0)
}

// Collect makes the freed blocks of an entered page free, but for those that are
// named by an open record, and returns how many blocks are free and in use after
// it, the lodger among them. named is called with the freed bits already read: a block whose freed bit
// was set then and that no record names now can be named by none later (PROTOCOL
// 3.3).
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
	if i := (off - start) / c.Size; i < c.All {
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

// Hint sets the hints of a page for everybody.
func (t *Table) Hint(p uint64) {
	kind := t.entry(p).word.Load() & kindMask
	if class := int(kind) - kindClass; class >= 0 && class < len(t.types.classes) {
		t.hintPage(p, class)
	}
}

// Hold sets the hint of a page whose free blocks a process keeps for itself.
func (t *Table) Hold(p uint64) { t.setHint(HintHeld, p) }

// Inside reports whether page p, which somebody's record names, could serve the
// class once he is out: he is in it, or about to enter. state changes as that
// goes on.
func (t *Table) Inside(p uint64, class int) (state uint64, ok bool) {
	if !t.has(p) {
		return 0, false
	}
	word := t.entry(p).word.Load()
	switch kind := word & kindMask; {
	case kind == kindFree || kind == kindRaw:
		return word, true
	case kind < kindClass || int(kind-kindClass) >= len(t.types.classes):
		return 0, false
	default:
		c := &t.types.classes[kind-kindClass]
		free, lodger := t.free(p, c)
		return word + free + lodger, t.wanted(int(kind-kindClass), class, free, lodger) > 0 || free+lodger == c.All
	}
}

// Pass leaves page p for an attach of the slot that was in it, and is dead or
// about to leave, with every record of it settled.
func (t *Table) Pass(p uint64, slot int) {
	if !t.has(p) {
		return // a damaged word: nobody is there
	}
	e := t.entry(p)
	word := e.word.Load()
	if psync.IDOf(word).Slot() != slot {
		return
	}
	switch kind := word & kindMask; {
	case kind == kindRaw:
		t.clearBits(p)
		e.word.Store(kindFree) // survivor: repeats the recovery, finds the page free
		t.setHint(HintFree, p)
	case kind < kindClass || int(kind-kindClass) >= len(t.types.classes):
		return // a run that is being made or broken: its record settles it
	default:
		e.word.Store(kind) // survivor: repeats the recovery, finds nobody inside
		t.hintPage(p, int(kind-kindClass))
	}
}
