package slab

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Slab is the allocator of an arena, as one attach sees it.
type Slab struct {
	arena *arena.Arena
	f     *arena.Floor
	me    psync.ID
	mend  func() error // settles what a dead holder of the run lock left
	lanes [intent.Lanes]lane
	rooms [pages.MaxClasses]int // blocks that a lane keeps at most

	rotor   atomic.Uint64 // of the search for freed runs
	seconds sync.Mutex    // held by the operation that has two blocks
	deaths  atomic.Uint64 // of which this process has looked for lost hints

	hosts [pages.MaxClasses][]int    // the classes whose pages serve a class
	vains [pages.MaxClasses + 1]vain // runs last
}

// Of returns the allocator of an arena. It is one for each attach.
func Of(a *arena.Arena) *Slab {
	return a.Floor(func(f *arena.Floor) any { return newSlab(a, f) }).(*Slab)
}

func newSlab(a *arena.Arena, f *arena.Floor) *Slab {
	s := &Slab{arena: a, f: f}
	if f.Owner != nil {
		s.me = f.Owner.ID()
	}
	s.mend = func() error { return f.Records.SettleLock(f.RunOff) }
	f.Leave = s.leaveAll
	for i := range s.lanes {
		l := &s.lanes[i]
		l.record = i
		if f.Owner == nil {
			continue
		}
		l.own = f.Records.Record(s.me.Slot(), i)
		// Processes start their search at different places, so that they do
		// not meet on the same pages.
		l.search = pages.Search{
			Me: s.me, At: l.own.Inside(),
			Home:  uint64(s.me.Slot()) * 37,
			Rotor: uint64(s.me.Slot())*1021 + uint64(i)*257,
		}
	}
	for class := range f.Pages.Classes() {
		s.rooms[class], s.hosts[class] = s.room(class), f.Pages.Hosts(class)
	}
	return s
}

// Floor gives the structures what they need of the arena.
func (s *Slab) Floor() *arena.Floor { return s.f }

// MaxSize returns the number of bytes the arena may grow to.
func (s *Slab) MaxSize() int64 { return s.arena.MaxSize() }

// View is the window on the segment.
func (s *Slab) View() *mem.View { return s.f.View }

// Free gives back a block that no structure refers to any more. Exactly one
// Free of a block succeeds. Offsets that are not those of a block in use are
// refused with ErrNotAllocated; nothing changes then.
func (s *Slab) Free(ref uint64) error {
	if s.f.Owner == nil {
		return arena.ErrReadOnly
	}
	if s.f.Closed.Load() {
		return arena.ErrClosed
	}
	l, ok := s.enter()
	if !ok {
		return s.f.Pages.Free(ref)
	}
	err := s.free(l, ref)
	s.leave(l)
	return err
}

func (s *Slab) free(l *lane, ref uint64) error {
	if len(l.pending) >= mostPending {
		s.ripen(l)
	}
	n := len(l.pending)
	l.pending = append(l.pending, pages.Round{})
	err := s.f.Pages.FreeRound(ref, &l.pending[n])
	if l.pending[n].Empty() {
		l.pending = l.pending[:n]
	}
	return err
}

// Size returns the number of bytes of the block at ref.
func (s *Slab) Size(ref uint64) (uint64, error) { return s.f.Pages.Size(ref) }

// allocBlock reserves a block of a class under the record's name.
func (s *Slab) allocBlock(r *intent.Record, l *lane, class int) (uint64, error) {
	m := &l.magazines[class]
	for {
		for len(m.rounds) != 0 {
			if off, ok := s.fire(r, l, m); ok {
				return off, nil
			}
		}
		if !l.hasPending(class) {
			break
		}
		if s.ripen(l); len(m.rounds) == 0 {
			break
		}
	}
	off, err := s.refill(r, l, class)
	if err != nil {
		s.f.Tally.Refused[class].Add(1)
	}
	return off, err
}

// fire hands out the next block of the last round. False: the round was worth
// nothing any more.
func (s *Slab) fire(r *intent.Record, l *lane, m *magazine) (uint64, bool) {
	round := &m.rounds[len(m.rounds)-1]
	if !s.f.Pages.Next(round, s.me, l.search.At, &l.chosen) {
		m.pop()
		return 0, false
	}
	return s.hand(r, l, m), true
}

// hand hands out the block that was chosen from the last round, and leaves its
// page.
func (s *Slab) hand(r *intent.Record, l *lane, m *magazine) uint64 {
	round, c := &m.rounds[len(m.rounds)-1], &l.chosen
	r.Alloc(c.Off) // survivor: not marked: nothing to free
	c.Mark()       // survivor: frees the block that the record names
	s.f.Pages.LeaveRound(round, l.search.At)
	s.count(l, round.Class())
	if m.blocks--; round.Empty() {
		m.rounds = m.rounds[:len(m.rounds)-1]
	}
	return c.Off
}

func (s *Slab) collect(l *lane, p uint64, class int) (free, used int) {
	return s.f.Pages.Collect(p, class, func() []uint64 {
		l.named = s.f.Records.Named(l.named[:0])
		return l.named
	})
}

// refill fills the magazine of a class and reserves a block: from a page with free
// blocks that nobody keeps for himself, a free page, one that has become empty,
// new space; or as a last resort from a page whose free blocks another process or
// goroutine keeps.
func (s *Slab) refill(r *intent.Record, l *lane, class int) (uint64, error) {
	var w watch
	for {
		if off, ok, err := s.find(r, l, class); ok || err != nil {
			return off, err
		}
		err := s.f.Grow(1)
		if err == nil {
			continue
		}
		if w.begin() {
			if err := s.reclaim(pages.HintHeld, pages.HintClass+class); err != nil {
				return 0, err
			}
			if _, err := s.breakRuns(true); err != nil {
				return 0, err
			}
		}
		off, moved := s.takeHeld(r, l, class, w.moved)
		if off != 0 {
			return off, nil
		}
		if w.still(moved) {
			return 0, fmt.Errorf("slab: no block of the %d-byte class: %w", s.f.Pages.Classes()[class].Size, err)
		}
	}
}

// takeHeld takes a block from a page whose free blocks somebody keeps; see held.
func (s *Slab) takeHeld(r *intent.Record, l *lane, class int, all bool) (off, moved uint64) {
	_, moved = s.held(l, class, all, func(q *pages.Search) (ok bool) {
		off, ok = s.take(r, l, q)
		return ok
	})
	return off, moved
}

// find does what refill does, with what can be had without taking anything from
// anybody.
func (s *Slab) find(r *intent.Record, l *lane, class int) (off uint64, ok bool, err error) {
	s.seek()
	for {
		if off, ok := s.take(r, l, l.search.Begin(pages.HintClass+class, class)); ok {
			return off, true, nil
		}
		if p, ok := s.f.Pages.TakeFree(&l.search, class); ok {
			s.cut(class, 1)
			if off, ok := s.load(r, l, p, class, class); ok {
				return off, true, nil
			}
			s.f.Pages.Return(&l.search, p, class) // blocks that were here before have been freed twice
			continue
		}
		if off, ok := s.take(r, l, l.search.Begin(pages.HintEmpty, class)); ok {
			return off, true, nil
		}
		if n, err := s.breakRuns(false); n == 0 || err != nil {
			return 0, false, err
		}
	}
}

// take loads the first page that a search finds, and that has free blocks of the
// class which no open record names. An empty page of another class is cut anew.
func (s *Slab) take(r *intent.Record, l *lane, q *pages.Search) (uint64, bool) {
	t, class := s.f.Pages, q.Class()
	for {
		p, is, ok := t.Find(q)
		if !ok {
			return 0, false
		}
		if _, used := s.collect(l, p, is); is != class && used == 0 {
			t.Recut(p, class, s.me)
			s.cut(is, -1)
			s.cut(class, 1)
			is = class
		}
		if off, ok := s.load(r, l, p, is, class); ok {
			return off, true
		}
		t.Return(q, p, is)
	}
}

// load fills the magazines with the free blocks of a page that we are in, and hands
// one of the class out before it leaves: who is short of memory may be after it.
// False: there is none of the class, and nothing is done.
func (s *Slab) load(r *intent.Record, l *lane, p uint64, is, class int) (uint64, bool) {
	t, m := s.f.Pages, &l.magazines[class]
	l.found = t.Rounds(p, is, l.found[:0])
	before := len(m.rounds)
	for i := range l.found {
		if round := &l.found[i]; round.Class() == class {
			m.push(round)
		}
	}
	if len(m.rounds) == before {
		return 0, false
	}
	t.Hold(p)
	for i := range l.found {
		if round := &l.found[i]; round.Class() != class {
			s.lodge(l, round)
		}
	}
	t.Choose(&m.rounds[len(m.rounds)-1], &l.chosen)
	return s.hand(r, l, m), true
}

// lodge keeps the round of a block that came with a page of another class, if there
// is room for it. Else it is everybody's.
func (s *Slab) lodge(l *lane, round *pages.Round) {
	if m := &l.magazines[round.Class()]; m.blocks < s.rooms[round.Class()] {
		m.push(round)
	} else {
		s.f.Pages.Offer(round)
	}
}

// seek finds the hints again that the dead may have lost, once for each death.
func (s *Slab) seek() {
	if deaths := s.f.Deaths.Load(); deaths != s.deaths.Load() {
		s.f.Pages.Rescan()
		s.deaths.Store(deaths)
	}
}

// reclaim makes everything available that the dead and the removed still hold.
// kinds are those of the hints to look after.
func (s *Slab) reclaim(kinds ...int) error {
	if _, err := s.arena.Recover(); err != nil && errors.Is(err, arena.ErrClosed) {
		return err
	}
	s.seek()
	// Whoever has grown the arena last may be stopped before he set the hints.
	n := s.f.Pages.Pages()
	s.f.Pages.Commit(n-s.f.Pages.FreeTail(), n)
	for _, kind := range append(kinds, pages.HintFree, pages.HintEmpty, pages.HintFreed) {
		s.f.Pages.Untrim(kind)
	}
	return s.f.Collect()
}
