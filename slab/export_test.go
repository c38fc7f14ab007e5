package slab

import (
	"time"

	"github.com/shmkit/shmkit/internal/pages"
)

// Looks returns how many pages this attach has looked at, in search of free blocks. No
// operation is going on.
func (s *Slab) Looks() (n uint64) {
	for i := range s.lanes {
		n += s.lanes[i].search.Looks
	}
	return n
}

// Held looks in vain for a block of n bytes in pages whose free blocks somebody keeps,
// and calls during meanwhile. It returns whether it says that something has moved.
func (s *Slab) Held(n uint64, during func()) bool {
	op, err := s.Begin()
	if err != nil {
		panic(err)
	}
	defer op.End()
	class, _ := s.f.Pages.ClassFor(n)
	_, moved := s.held(op.lane, class, false, func(*pages.Search) bool {
		during()
		return false
	})
	return moved != 0
}

// GivesUp reports whether who is refused gives up at the last of several looks that see
// these traces, if he loses the processor for a while after the first one.
func GivesUp(lost time.Duration, traces ...uint64) (up bool) {
	var w watch
	for i, trace := range traces {
		if w.begin(); i == 0 {
			w.start = w.start.Add(-lost)
		}
		up = w.still(trace)
	}
	return up
}
