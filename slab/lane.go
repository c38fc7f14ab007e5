package slab

import (
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/pages"
)

// lane is what belongs to one intent record: whoever holds the record uses it,
// and nobody else does. So goroutines of a process do not wait for each other
// to allocate.
type lane struct {
	record int
	own    *intent.Record
	second *intent.Record // of a second block of the operation; nil: none
	nested int            // its index
	search pages.Search

	magazines [pages.MaxClasses]magazine
	chosen    pages.Chamber // from a round, to be handed out
	found     []pages.Round // scratch: of a page that has been found
	pending   []pages.Round // freed, and perhaps still named by an open record
	freed     pages.Round   // by Op.Settle: good when the record is closed

	handed [pages.MaxClasses + 1]uint32 // blocks handed out and not yet told
	named  []uint64                     // scratch: blocks named by open records
}

// magazine holds the rounds of one class, the last one used first (Bonwick and
// Adams, Magazines and Vmem, 2001). It is what this process believes to be free;
// the epoch of each page tells whether that still holds.
type magazine struct {
	rounds []pages.Round
	blocks int // in all rounds
}

func (m *magazine) push(r *pages.Round) {
	m.rounds = append(m.rounds, *r)
	m.blocks += r.Blocks()
}

// pop takes the last round out.
func (m *magazine) pop() pages.Round {
	last := len(m.rounds) - 1
	r := m.rounds[last]
	m.rounds = m.rounds[:last]
	m.blocks -= r.Blocks()
	return r
}

const (
	// hoard is how many bytes of one class a lane keeps at most, few how many
	// blocks it keeps in any case, and share the part of the arena that bounds
	// it: others come to it only when they find nothing else.
	hoard = 2 << 20
	share = 1 << 7
	few   = 8
	// mostPending is how many freed blocks a lane keeps before it looks which of
	// them no record names any more.
	mostPending = 64
	// tellEvery is how many blocks of a class a lane hands out before it adds
	// them to the count of the slot.
	tellEvery = 64
	// cutBits is how many bits of a tally count pages: an arena has at most 2^32.
	cutBits = 34
)

// room returns how many blocks of each class a lane may keep.
func (s *Slab) room(class int) int {
	bytes := min(hoard, uint64(s.arena.MaxSize())/share)
	return max(few, int(bytes/s.f.Pages.Classes()[class].Size))
}

// keep takes a round that nobody names any more into its magazine. One too many
// is left to everybody.
func (s *Slab) keep(l *lane, r *pages.Round) {
	class := r.Class()
	if m := &l.magazines[class]; m.blocks < s.rooms[class] {
		m.push(r)
	} else {
		s.f.Pages.Hint(r.Page())
	}
}

// ripen looks through the open records and keeps the pending blocks that none
// of them names. They were freed before it looks: what is not named now never
// will be.
func (s *Slab) ripen(l *lane) {
	l.named = s.f.Records.Named(l.named[:0])
	still := l.pending[:0]
	for i := range l.pending {
		if r := &l.pending[i]; s.f.Pages.Names(r, l.named) {
			still = append(still, *r)
		} else {
			s.keep(l, r)
		}
	}
	l.pending = still
}

// has reports whether a block of the class is pending.
func (l *lane) hasPending(class int) bool {
	for i := range l.pending {
		if l.pending[i].Class() == class {
			return true
		}
	}
	return false
}

// enter takes a lane of this goroutine's choice if it is free.
func (s *Slab) enter() (*lane, bool) {
	i := s.f.Pool.Prefer()
	if !s.f.Pool.TryTake(i) {
		return nil, false
	}
	return &s.lanes[i], true
}

func (s *Slab) leave(l *lane) { s.f.Pool.Give(l.record) }

// count counts a block handed out.
func (s *Slab) count(l *lane, kind int) {
	if l.handed[kind]++; l.handed[kind] == tellEvery {
		s.tell(l, kind)
	}
}

// leaveAll leaves to everybody what this process keeps at hand, when the arena
// closes.
func (s *Slab) leaveAll() {
	for i := range s.lanes {
		l := &s.lanes[i]
		s.tellLane(l)
		for class := range l.magazines {
			s.hintAll(l.magazines[class].rounds)
		}
		s.hintAll(l.pending)
	}
}

func (s *Slab) hintAll(rounds []pages.Round) {
	for i := range rounds {
		s.f.Pages.Hint(rounds[i].Page())
	}
}

// tellLane adds what the lane has handed out to the counts of the slot.
func (s *Slab) tellLane(l *lane) {
	for kind, n := range l.handed {
		if n != 0 {
			s.tell(l, kind)
		}
	}
}

func (s *Slab) tell(l *lane, kind int) {
	s.f.Tally.Handed(s.me.Slot(), kind).Add(uint64(l.handed[kind]))
	l.handed[kind] = 0
}

// cut counts the pages that a class gets or, with a negative n, gives up. Pages now
// are the low 34 bits, signed: a killed process may not have counted one. Above them is
// counted how often the class got some, so that the word is never again what it was.
func (s *Slab) cut(kind int, n int64) {
	step := uint64(n)
	if n > 0 {
		step += 1 << cutBits
	}
	now := int64(s.f.Tally.Cut[kind].Add(step)<<(64-cutBits)) >> (64 - cutBits)
	most := &s.f.Tally.Most[kind]
	for m := most.Load(); now > int64(m) && !most.CompareAndSwap(m, uint64(now)); m = most.Load() {
	}
}
