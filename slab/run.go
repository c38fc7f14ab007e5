package slab

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/pages"
)

// allocRun reserves a run of pages for n bytes under the record's name.
func (s *Slab) allocRun(r *intent.Record, l *lane, bytes uint64) (uint64, error) {
	n := s.f.Pages.RunPages(bytes)
	off, err := s.runOf(r, l, n)
	if err != nil {
		s.f.Tally.Refused[runKind].Add(1)
		return 0, err
	}
	s.cut(runKind, int64(n))
	s.count(l, runKind)
	return off, nil
}

// runKind is where the tallies count runs.
const runKind = pages.MaxClasses

// runOf makes a run of n pages. One that is larger than the arena can ever be is
// refused at once: nobody gives up an empty page for it, and nobody waits.
func (s *Slab) runOf(r *intent.Record, l *lane, n uint64) (uint64, error) {
	if g := s.f.Pages.Geometry(); n > g.MaxPages {
		return 0, fmt.Errorf("slab: no run of %d pages: %w: arena %q has at most %d pages of %d bytes",
			n, arena.ErrFull, s.arena.Name(), g.MaxPages, g.PageSize())
	}
	return s.findRun(r, l, n)
}

func (s *Slab) findRun(r *intent.Record, l *lane, n uint64) (uint64, error) {
	moved := false
	for look := 0; ; {
		if off, ok, err := s.makeRun(r, n); ok || err != nil {
			return off, err
		}
		freed, err := s.breakRuns(true)
		if err != nil {
			return 0, err
		}
		if freed+s.freeEmpty(l, l.search.Begin(pages.HintEmpty, pages.NoClass)) > 0 {
			continue
		}
		err = s.f.Grow(n)
		if err == nil {
			continue
		}
		if look == looks {
			return 0, fmt.Errorf("slab: no run of %d pages: %w", n, err)
		}
		if look++; look == 1 {
			if err := s.reclaim(pages.HintHeld); err != nil {
				return 0, err
			}
		}
		_, trace := s.held(l, pages.NoClass, moved, func(q *pages.Search) bool { return s.freeEmpty(l, q) > 0 })
		if trace != 0 && !moved {
			moved, look = true, min(look, looks-1) // once more at least, at all pages
		}
		runtime.Gosched() // a page may be in somebody's hands for the moment
	}
}

// locked runs f under the run lock.
func (s *Slab) locked(f func() error) error {
	if err := s.f.RunLock.Lock(s.f.Owner, s.mend); err != nil {
		return closedError(err)
	}
	return s.guarded(f)
}

// guarded runs f, which returns with the run lock given back.
func (s *Slab) guarded(f func() error) error {
	whole := false
	defer func() {
		if whole {
			s.f.RunLock.Unlock()
		} else {
			s.f.RunLock.Abandon()
		}
	}()
	err := f()
	whole = true
	return err
}

// makeRun makes a run of n pages where there is room for one now.
func (s *Slab) makeRun(r *intent.Record, n uint64) (off uint64, ok bool, err error) {
	t := s.f.Pages
	err = s.locked(func() error {
		for {
			p, found := t.FindRun(n)
			if !found {
				return nil
			}
			off = t.RunAt(p)
			r.MakeRun(s.f.RunOff, off, n)
			if t.MakeRun(p, n, s.me) {
				r.Made() // survivor: frees the run, as any block without destination
				ok = true
				return nil
			}
			r.Close() // somebody took one of the pages for blocks
		}
	})
	return off, ok, err
}

// breakRuns takes the runs apart that were freed and that no open record names,
// and returns how many. Unless wait is true it leaves them to others when the
// run lock is not free: who wants a block need not wait for who wants a run.
func (s *Slab) breakRuns(wait bool) (int, error) {
	if !s.f.Pages.Hinted(pages.HintFreed) {
		return 0, nil
	}
	r, i, ok := s.f.Pool.TakeNested()
	if !ok {
		return 0, arena.ErrClosed
	}
	defer s.f.Pool.Give(i)
	broken := 0
	f := func() error {
		broken = s.breakRunsLocked(r)
		return nil
	}
	if wait {
		err := s.locked(f)
		return broken, err
	}
	if !s.f.RunLock.TryLock(s.f.Owner) {
		return 0, nil
	}
	err := s.guarded(f)
	return broken, err
}

func (s *Slab) breakRunsLocked(r *intent.Record) int {
	t := s.f.Pages
	broken, rotor := 0, s.rotor.Load()
	defer func() { s.rotor.Store(rotor) }()
	var kept []uint64
	for {
		p, n, ok := t.TakeFreed(&rotor)
		if !ok {
			break
		}
		off := t.RunAt(p)
		if slices.Contains(s.f.Records.Named(nil), off) {
			kept = append(kept, p)
			continue
		}
		r.BreakRun(s.f.RunOff, off, n)
		t.BreakRun(p, n, s.me)
		r.Close()
		s.cut(runKind, -int64(n))
		broken++
	}
	for _, p := range kept {
		t.KeepFreed(p)
	}
	return broken
}

// freeEmpty turns the pages without used blocks that a search finds into free pages,
// so that they can become part of a run, and returns how many.
func (s *Slab) freeEmpty(l *lane, q *pages.Search) (freed int) {
	t := s.f.Pages
	for {
		p, class, ok := t.Find(q)
		if !ok {
			return freed
		}
		if _, used := s.collect(l, p, class); used != 0 {
			t.Return(q, p, class)
			continue
		}
		t.Discard(p, s.me, q.At)
		s.cut(class, -1)
		freed++
	}
}
