package slab

import (
	"fmt"
	"math"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/pages"
)

// Request is a number of blocks of one size.
type Request struct {
	Size  uint64 // bytes, as given to [Op.Reserve]
	Count uint64
}

// Fit says what an arena has room for, before it is made.
type Fit struct {
	OK     bool   // there is room for what was requested
	Pages  uint64 // pages of the arena when it has grown as far as it may
	Needed uint64 // pages that the requests take
	// Size is the least MaxSize that has room for the requests, as a multiple of
	// 4096, if the other options are as they are. An arena that is to have its
	// memory from the start is made with it as Size too.
	Size int64

	g       pages.Geometry
	classes []pages.Class
	spare   []uint64 // blocks that the pages for them have beside, by class
}

// Plan says whether an arena that is made with the options has room for all the
// blocks requested, and how large it must be for them. It counts to the block:
//
//	fit, err := slab.Plan(&arena.Options{Size: 4 << 20}, slab.Request{Size: 100, Count: 20_000})
//	fmt.Println(fit.OK, fit.Room(100)) // whether they fit, and how many more do
//
// What a structure needs for itself, the block of its root to begin with, is a
// request as any other. Pages do not move: all blocks are sure to find the room
// only if they are allocated in the order of the requests, those larger than half a
// page first, and nothing is freed between; and by one goroutine: others may keep a
// few blocks of each size at hand, which until the arena is full serve only them. How
// much memory the file system has left, Plan does not know.
//
// The error says what is wrong with the options, or wraps ErrFull: no arena can
// be that large.
func Plan(o *arena.Options, requests ...Request) (Fit, error) {
	g, err := arena.Layout(o)
	if err != nil {
		return Fit{}, err
	}
	f := Fit{Pages: g.MaxPages, g: g, classes: pages.Classes(g.Shift)}
	f.spare = make([]uint64, len(f.classes))
	for _, r := range requests {
		f.request(r)
	}
	f.OK = f.Needed <= f.Pages
	f.Size, err = leastSize(o, g, f.Needed)
	return f, err
}

// request counts blocks of a class together, since they share pages, and the
// pages of runs at once.
func (f *Fit) request(r Request) {
	if class, ok := f.classFor(r.Size); ok {
		f.place(class, r.Count)
		return
	}
	n := ceil(r.Size, f.g.PageSize())
	if r.Count > math.MaxUint64/n {
		r.Count, n = math.MaxUint64, 1
	}
	f.take(r.Count * n)
}

// place takes the pages for n blocks of a class, beside those that the pages of the
// requests before have room for.
func (f *Fit) place(class int, n uint64) {
	c, beside := &f.classes[class], min(n, f.spare[class])
	pages := ceil(n-beside, c.Blocks)
	f.take(pages)
	if c.Lodger != 0 {
		f.spare[c.Lodger] = sum(f.spare[c.Lodger], pages)
	}
	f.spare[class] = f.spare[class] - beside + pages*c.Blocks - (n - beside)
}

func (f *Fit) take(pages uint64) { f.Needed = sum(f.Needed, pages) }

// Room returns how many blocks of n bytes find room beside what was requested,
// if there are no others.
func (f *Fit) Room(n uint64) uint64 {
	if !f.OK {
		return 0
	}
	free := f.Pages - f.Needed
	class, ok := f.classFor(n)
	if !ok {
		return free / ceil(n, f.g.PageSize())
	}
	return free*f.classes[class].Blocks + f.spare[class]
}

// classFor is the choice of the page table, for one that is not there yet.
func (f *Fit) classFor(n uint64) (int, bool) {
	for class := range f.classes {
		if n <= f.classes[class].Size {
			return class, true
		}
	}
	return 0, false
}

// leastSize returns the least size of an arena with so many pages. It asks the
// arena about sizes that grow, and passes none by that could do: the header of a
// larger arena is no smaller, and behind it come the pages and what describes
// them.
func leastSize(o *arena.Options, g pages.Geometry, need uint64) (int64, error) {
	var d arena.Options
	if o != nil {
		d = *o
	}
	need = max(need, 1) // there is no arena without a page
	if need <= largest>>g.Shift {
		for size := need << g.Shift; size <= largest; {
			d.Size, d.MaxSize = int64(size), 0
			g, err := arena.Layout(&d)
			if err == nil && g.MaxPages >= need {
				return d.Size, nil
			}
			size += step
			if err == nil {
				g.MaxPages = need
				bytes := g.HintsEnd(need) + need*pages.EntrySize + need<<g.Shift
				size = max(size, ceil(bytes, step)*step)
			}
		}
	}
	return 0, fmt.Errorf("slab: no arena has %d pages of %d bytes: %w", need, g.PageSize(), ErrFull)
}

const (
	step    = 4096               // between the sizes of arenas that are considered
	largest = intent.RefMask + 1 // arena: references lead no further
)

// sum and ceil are for numbers that a caller chose: they stay at the largest
// number in place of beginning anew.
func sum(a, b uint64) uint64 { return a + min(b, math.MaxUint64-a) }

func ceil(n, by uint64) uint64 {
	q := n / by
	if n%by != 0 {
		q++
	}
	return q
}
