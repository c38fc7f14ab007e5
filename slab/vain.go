package slab

import (
	"sync"
	"time"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/pages"
)

// vain remembers for one class, or for runs, which pages this process has looked at in
// vain. An arena may be full of pages that have free blocks of other sizes, and who is
// refused in it again and again would look at all of them each time.
//
// A refusal that comes of it is checked: by who is in which page, and by the mark.
type vain struct {
	mu    sync.Mutex // nobody waits for it: who does not get it looks at all pages
	pages pages.Vain
	mark  mark
	since time.Time
}

// mark has changed when somebody has cut a page for the class and left it, or has died
// in it and was settled: both count before the page is left.
type mark struct {
	cuts   [2]uint64 // words of the tally; a part of each counts the pages ever cut
	deaths uint64
}

// vainFor is how long pages are remembered: not so long that the 30 bits that count
// cuts could come round. It is also how long an empty page may be missed if who has freed
// its last block is stopped, in that free, before he has set the hint.
const vainFor = 10 * time.Second

func (s *Slab) mark(class int) mark {
	m := mark{deaths: s.f.Deaths.Load()}
	if class == pages.NoClass {
		return m // a page without blocks in use has its hint, whatever it was cut for
	}
	for i, host := range s.hosts[class] {
		m.cuts[i] = s.f.Tally.Cut[host].Load()
	}
	return m
}

// begin has a search pass by what is remembered as of now, and returns what ends that.
func (v *vain) begin(q *pages.Search, now mark) (end func()) {
	if !v.mu.TryLock() {
		return func() {}
	}
	if v.mark != now || time.Since(v.since) > vainFor {
		v.pages.Clear()
		v.mark, v.since = now, time.Now()
	}
	q.Past(&v.pages)
	return v.mu.Unlock
}

// vainOf returns what is remembered for a class, or for runs.
func (s *Slab) vainOf(class int) *vain {
	if class == pages.NoClass {
		class = runKind
	}
	return &s.vains[class]
}

// held has use look for pages whose free blocks somebody keeps: at all of them, or past
// those that were looked at in vain. If it finds nothing, moved is 0 or changes as others
// go in and out of pages; it is not 0 either if a page that was passed by may be of use.
func (s *Slab) held(l *lane, class int, all bool, use func(*pages.Search) bool) (found bool, moved uint64) {
	q := l.search.Begin(pages.HintHeld, class)
	if all {
		return use(q), s.moving(l, class)
	}
	before := s.mark(class)
	if s.past(q, class, before, use) {
		return true, 0
	}
	// Who is where before the mark: who has cut a page and is gone has raised it.
	if moved = s.moving(l, class); moved == 0 && s.mark(class) != before {
		moved = 1
	}
	return false, moved
}

func (s *Slab) past(q *pages.Search, class int, now mark, use func(*pages.Search) bool) bool {
	defer s.vainOf(class).begin(q, now)()
	return use(q)
}

// moving returns a number that changes as others go in and out of pages that
// could serve the class, 0 if nobody is in such a page.
func (s *Slab) moving(l *lane, class int) (trace uint64) {
	for slot := range s.f.Slots.High() {
		for i := range intent.PerSlot {
			at := s.f.Records.Record(slot, i).Inside()
			if at == l.search.At {
				continue
			}
			p := at.Load() - 1
			if state, ok := s.f.Pages.Inside(p, class); ok {
				trace = trace*31 + state + p + 1
			}
		}
	}
	return trace
}
