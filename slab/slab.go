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
	lanes [lanes]lane

	rotor uint64 // of the search for freed runs; under the run lock

	deaths atomic.Uint64 // of which this process has looked for lost hints
}

// lanes is how many goroutines of a process can allocate at the same time.
const lanes = 4

// leasesPerLane is the part of the slot's lease list that a lane uses: one a
// class, and one for pages on their way from one class to another.
const (
	leasesPerLane = arena.Leases / lanes
	spareLease    = leasesPerLane - 1
)

// lane is a set of leased pages, one a class. What it holds is a belief: the
// page word decides whether the lease still stands.
type lane struct {
	mu      sync.Mutex
	index   int
	pages   [pages.MaxClasses]uint64
	rotor   uint64
	named   []uint64 // scratch: blocks named by open records
	skipped []uint64 // scratch: pages whose free blocks are all named
	_       [64]byte // lanes of one process run on different cores
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
	for i := range s.lanes {
		l := &s.lanes[i]
		l.index = i
		// Processes start their search at different places, so that they do
		// not meet on the same pages.
		l.rotor = uint64(max(0, s.me.Slot()))*1021 + uint64(i)*257
		for c := range l.pages {
			l.pages[c] = pages.None
		}
	}
	return s
}

// Floor gives the structures what they need of the arena.
func (s *Slab) Floor() *arena.Floor { return s.f }

// MaxSize returns the number of bytes the arena may grow to.
func (s *Slab) MaxSize() int64 { return s.arena.MaxSize() }

// View is the window on the segment.
func (s *Slab) View() *mem.View { return s.f.View }

func (s *Slab) lease(l *lane, i int) *psync.Word64 {
	return s.f.Lease(s.me.Slot(), l.index*leasesPerLane+i)
}

// enter returns a lane of this goroutine's choice, locked.
func (s *Slab) enter() *lane {
	n := mem.Spread()
	for i := range uint64(lanes) {
		if l := &s.lanes[(n+i)%lanes]; l.mu.TryLock() {
			return l
		}
	}
	l := &s.lanes[n%lanes]
	l.mu.Lock()
	return l
}

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
	return s.f.Pages.Free(ref)
}

// Size returns the number of bytes of the block at ref.
func (s *Slab) Size(ref uint64) (uint64, error) { return s.f.Pages.Size(ref) }

// allocBlock reserves a block of a class under the record's name.
func (s *Slab) allocBlock(r *intent.Record, class int) (uint64, error) {
	l := s.enter()
	defer l.mu.Unlock()
	for {
		if p := l.pages[class]; p != pages.None {
			if off, ok := s.allocFrom(r, l, p, class); ok {
				return off, nil
			}
			l.pages[class] = pages.None
		}
		p, err := s.refill(l, class)
		if err != nil {
			return 0, err
		}
		l.pages[class] = p
	}
}

// allocFrom takes a block of page p. False: the page is full and was given up,
// or the lease was stolen.
func (s *Slab) allocFrom(r *intent.Record, l *lane, p uint64, class int) (uint64, bool) {
	t := s.f.Pages
	if !t.Busy(p, class, s.me) {
		return 0, false
	}
	off, ok := t.Pick(p, class)
	if !ok {
		if free, used := s.collect(l, p, class); free == 0 {
			t.Release(p, class, s.me, s.lease(l, class), used, true)
			return 0, false
		}
		off, _ = t.Pick(p, class)
	}
	r.Alloc(off)          // survivor: not marked: nothing to free
	t.Mark(p, class, off) // survivor: frees the block that the record names
	t.Idle(p, class, s.me)
	return off, true
}

func (s *Slab) collect(l *lane, p uint64, class int) (free, used int) {
	return s.f.Pages.Collect(p, class, func() []uint64 {
		l.named = s.f.Records.Named(l.named[:0])
		return l.named
	})
}

// refill leases a page with free blocks of the class: one that nobody leases, a
// free one, one that has become empty, one of new space, one of a dead process,
// or as a last resort one that a living process leases but is not using.
func (s *Slab) refill(l *lane, class int) (uint64, error) {
	defer s.rehint(l)
	var w watch
	for {
		if p, ok, err := s.find(l, class); ok || err != nil {
			return p, err
		}
		err := s.f.Grow(1)
		if err == nil {
			continue
		}
		if w.begin() {
			if err := s.reclaim(pages.HintClass + class); err != nil {
				return 0, err
			}
			if _, err := s.breakRuns(true); err != nil {
				return 0, err
			}
		}
		if w.still(s.moving(l, class)) {
			return 0, fmt.Errorf("slab: no block of the %d-byte class: %w", s.f.Pages.Classes()[class].Size, err)
		}
		s.shed(l)
		if p, ok := s.steal(l, class); ok {
			return p, nil
		}
	}
}

// find leases a page among those that can be had without taking anything from
// anybody.
func (s *Slab) find(l *lane, class int) (p uint64, ok bool, err error) {
	for {
		if p, ok := s.takeClass(l, class); ok {
			return p, true, nil
		}
		if p, ok := s.f.Pages.TakeFree(class, s.me, s.lease(l, class), &l.rotor); ok {
			return p, true, nil
		}
		if p, ok := s.takeEmpty(l, class); ok {
			return p, true, nil
		}
		if n, err := s.breakRuns(false); n == 0 || err != nil {
			return 0, false, err
		}
	}
}

// moving returns a number that changes when a page that could serve the class
// goes from hand to hand in other lanes and processes, 0 if there is none. Every
// page on its way is on a lease list.
func (s *Slab) moving(l *lane, class int) (trace uint64) {
	own := l.index * leasesPerLane
	for slot := range s.f.Slots.High() {
		for i := range arena.Leases {
			if slot == s.me.Slot() && i >= own && i < own+leasesPerLane {
				continue
			}
			p := s.f.Lease(slot, i).Load() - 1
			if state, ok := s.f.Pages.Moving(p, class); ok {
				trace = trace*31 + state + p + 1
			}
		}
	}
	return trace
}

// rehint puts the hints of the pages back that were looked at in vain.
func (s *Slab) rehint(l *lane) {
	for _, p := range l.skipped {
		s.f.Pages.Hint(p)
	}
	l.skipped = l.skipped[:0]
}

func (s *Slab) takeClass(l *lane, class int) (uint64, bool) {
	t, lease := s.f.Pages, s.lease(l, class)
	for {
		p, ok := t.TakeClass(class, s.me, lease, &l.rotor)
		if !ok {
			return 0, false
		}
		free, used := s.collect(l, p, class)
		if free > 0 {
			t.Idle(p, class, s.me)
			return p, true
		}
		t.Release(p, class, s.me, lease, used, false)
		l.skipped = append(l.skipped, p)
	}
}

// takeEmpty finds a page of any class without used blocks and cuts it anew.
func (s *Slab) takeEmpty(l *lane, class int) (uint64, bool) {
	t, lease := s.f.Pages, s.lease(l, class)
	for {
		p, was, ok := t.TakeEmpty(s.me, lease, &l.rotor)
		if !ok {
			return 0, false
		}
		_, used := s.collect(l, p, was)
		if used == 0 {
			t.Recut(p, class, s.me)
			return p, true
		}
		t.Release(p, was, s.me, lease, used, false)
		l.skipped = append(l.skipped, p)
	}
}

// reclaim makes everything available that the dead and the removed still hold.
// kinds are those of the hints to look after.
func (s *Slab) reclaim(kinds ...int) error {
	if _, err := s.arena.Recover(); err != nil && errors.Is(err, arena.ErrClosed) {
		return err
	}
	if deaths := s.f.Deaths.Load(); deaths != s.deaths.Load() {
		s.f.Pages.Rescan()
		s.deaths.Store(deaths)
	}
	// Whoever has grown the arena last may be stopped before he set the hints.
	n := s.f.Pages.Pages()
	s.f.Pages.Commit(n-s.f.Pages.FreeTail(), n)
	for _, kind := range append(kinds, pages.HintFree, pages.HintEmpty, pages.HintFreed) {
		s.f.Pages.Untrim(kind)
	}
	return s.f.Collect()
}

// shed frees the pages without used blocks that a process leases and does not
// use, whichever process and class: in a small arena the idle leases of other
// classes may be all there is.
func (s *Slab) shed(l *lane) {
	t, lease := s.f.Pages, s.lease(l, spareLease)
	for slot := range s.f.Slots.High() {
		from, used := s.f.Slots.Current(slot)
		if !used {
			continue
		}
		for i := range arena.Leases {
			p := s.f.Lease(slot, i).Load() - 1
			if class, ok := t.StealEmpty(p, from, s.me, lease); ok {
				_, used := s.collect(l, p, class)
				t.Release(p, class, s.me, lease, used, true)
			}
		}
	}
}

// steal takes the idle lease of a page that has a free block of the class.
func (s *Slab) steal(l *lane, class int) (uint64, bool) {
	t := s.f.Pages
	for slot := range s.f.Slots.High() {
		from, used := s.f.Slots.Current(slot)
		if !used {
			continue
		}
		for i := range lanes {
			p := s.f.Lease(slot, i*leasesPerLane+class).Load() - 1
			if p == pages.None || !t.Worth(p, class) || !t.Steal(p, class, from, s.me, s.lease(l, class)) {
				continue
			}
			free, used := s.collect(l, p, class)
			if free > 0 {
				t.Idle(p, class, s.me)
				return p, true
			}
			t.Release(p, class, s.me, s.lease(l, class), used, false)
			l.skipped = append(l.skipped, p)
		}
	}
	return 0, false
}
