package slab

import (
	"cmp"
	"slices"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Stats says what an arena's memory is used for, by all processes together.
type Stats struct {
	PageSize  int64
	Committed int64 // bytes of the segment now; see [arena.Arena.Size]
	Max       int64 // bytes that it may grow to
	Metadata  int64 // bytes of Committed in front of the first page: header, process slots, directory, page table

	Pages, MaxPages int   // now, and when the arena has grown as far as it may
	FreePages       int   // of Pages: in no class and in no run
	CutPages        int   // of Pages: being taken into use at this moment
	HeldPages       int   // with free blocks that a process keeps at hand; others take them when they find nothing else
	LargestFree     int   // pages of the largest free run
	LargestBytes    int64 // the same in bytes

	Classes []ClassStats // by block size
	Runs    RunStats
	Inside  []Inside // processes that are in a page at this moment
	Held    []Held   // HeldPages, by process
}

// ClassStats is the part of one size class: its pages, and the blocks of its size.
// A page of blocks of three eighths of a page has a block of a quarter besides: it is
// counted as that.
type ClassStats struct {
	Size       int64 // of a block, in bytes
	Pages      int
	MostPages  int    // at any time
	Used, Free int    // blocks
	Requests   uint64 // blocks asked for, since the arena was made
	Failures   uint64 // of those: the arena was full
	Waste      int64  // bytes in the pages of the class that can hold no block
}

// RunStats is the part of the blocks that are larger than half a page.
type RunStats struct {
	Count      int // runs
	Pages      int // in them
	MostPages  int // at any time
	Freed      int // of Count: given back, and not yet taken apart; that is done when pages are short
	FreedPages int
	Requests   uint64 // as of a class
	Failures   uint64
}

// Inside is a process that is in pages: it is taking blocks from them, or looks
// for free ones. It leaves them within a microsecond, unless it is stopped; if
// it was killed (Process.Alive is false), whoever is short of memory leaves them
// for it.
type Inside struct {
	Process arena.ProcessInfo
	Pages   int
}

// Held is a process that keeps free blocks at hand, of pages that nobody takes from as
// long as there are others: its leases. A page counts for the process that was the last one to
// look for its free blocks; of what others have freed there since, they keep that one block
// themselves. What a process has left, when it ended, counts for who has its slot now, if
// anybody has (Process.PID is 0 if not), until somebody has looked for it.
type Held struct {
	Process arena.ProcessInfo
	Pages   int
	Blocks  int // free ones in these pages
}

// Stats reads the whole page table, without a lock: beside writers the numbers
// are of slightly different moments. Of a closed arena they are worth nothing.
//
// What is in use is the truth of the pages themselves. Some of the rest may lag,
// since nobody waits for a counter:
//
//   - Requests: each process adds what it has handed out when it is 64 blocks of
//     a class, for each of the up to 14 operations that it has had going at a
//     time. Up to 63 of each are lost with a process that is killed. Stats adds
//     those of its own process first, but for operations that are going on.
//   - MostPages: the count of pages that it is taken from may be off by the few
//     that a killed process had under way, for each kill. It is never less than
//     the pages there are.
//   - HeldPages: pages count until somebody has looked for their free blocks,
//     also after the process that kept them has ended.
func (s *Slab) Stats() Stats {
	s.tellAll()
	s.f.Refresh()
	census := s.f.Pages.Census(nil)
	g := s.f.Pages.Geometry()
	st := Stats{
		PageSize: int64(g.PageSize()), Committed: int64(g.End(census.Pages)), Max: s.MaxSize(), Metadata: int64(g.DataOff),
		Pages: int(census.Pages), MaxPages: int(g.MaxPages), FreePages: int(census.Free), CutPages: int(census.Raw),
		HeldPages:   int(census.Held),
		LargestFree: int(census.LargestFree), LargestBytes: int64(census.LargestFree << g.Shift),
		Runs: s.runStats(&census),
	}
	if len(census.Inside)+len(census.Keepers) != 0 {
		ps, _ := s.arena.Processes() // as many as can be had
		st.Inside, st.Held = inside(census.Inside, ps), held(census.Keepers, ps)
	}
	for class := range census.Classes {
		st.Classes = append(st.Classes, s.classStats(&census, class))
	}
	return st
}

func (s *Slab) classStats(census *pages.Census, class int) ClassStats {
	c, now := &s.f.Pages.Classes()[class], &census.Classes[class]
	waste := s.f.Pages.Geometry().PageSize() - s.f.Pages.Usable(class)
	requests, failures := s.requests(class)
	return ClassStats{
		Size: int64(c.Size), Pages: int(now.Pages), MostPages: s.mostPages(class, now.Pages),
		Used: int(now.Used), Free: int(now.Free),
		Requests: requests, Failures: failures, Waste: int64(now.Pages * waste),
	}
}

func (s *Slab) runStats(census *pages.Census) RunStats {
	requests, failures := s.requests(runKind)
	return RunStats{
		Count: int(census.Runs), Pages: int(census.RunPages), MostPages: s.mostPages(runKind, census.RunPages),
		Freed: int(census.Freed), FreedPages: int(census.FreedPages),
		Requests: requests, Failures: failures,
	}
}

// requests adds up what all processes were asked for.
func (s *Slab) requests(kind int) (requests, failures uint64) {
	failures = s.f.Tally.Refused[kind].Load()
	requests = failures
	for slot := range s.f.Slots.High() {
		requests += s.f.Tally.Handed(slot, kind).Load()
	}
	return requests, failures
}

// mostPages believes the census where the tally is behind.
func (s *Slab) mostPages(kind int, now uint64) int {
	return int(max(now, s.f.Tally.Most[kind].Load()))
}

// tellAll adds what this process has handed out to the counts that everybody
// sees. A lane that is in use tells later.
func (s *Slab) tellAll() {
	if s.f.Owner == nil {
		return
	}
	for i := range s.lanes {
		if !s.f.Pool.TryTake(i) {
			continue
		}
		s.tellLane(&s.lanes[i])
		s.f.Pool.Give(i)
	}
}

// inside says which processes the ids are of, that were found in page words. One
// that is not in the table any more was a damaged word, or has just left.
func inside(found map[psync.ID]uint64, ps []arena.ProcessInfo) (all []Inside) {
	for id, n := range found {
		in := Inside{Process: arena.ProcessInfo{Slot: id.Slot(), Incarnation: id.Incarnation()}, Pages: int(n)}
		for _, p := range ps {
			if p.Slot == id.Slot() && p.Incarnation == id.Incarnation() {
				in.Process = p
			}
		}
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b Inside) int {
		return cmp.Or(cmp.Compare(a.Process.Slot, b.Process.Slot), cmp.Compare(a.Process.Incarnation, b.Process.Incarnation))
	})
	return all
}

// held says which processes have the slots now that were found in epochs.
func held(found map[int]pages.Kept, ps []arena.ProcessInfo) (all []Held) {
	for slot, kept := range found {
		h := Held{Process: arena.ProcessInfo{Slot: slot}, Pages: int(kept.Pages), Blocks: int(kept.Blocks)}
		for _, p := range ps {
			if p.Slot == slot {
				h.Process = p
			}
		}
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b Held) int { return cmp.Compare(a.Process.Slot, b.Process.Slot) })
	return all
}
