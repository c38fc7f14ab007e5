package pages

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/psync"
)

// Block is a block in use.
type Block struct {
	Off  uint64
	Size uint64
}

// Census counts the pages and blocks of a table.
type Census struct {
	Pages, Free, Raw, Runs, RunPages uint64
	Freed, FreedPages                uint64 // runs that were given back and not yet taken apart, of those above
	Classes                          []ClassCensus
	LargestFree                      uint64              // pages of the largest free run
	Held                             uint64              // pages with free blocks that a process keeps for itself
	Keepers                          map[int]Kept        // the same by slot, of who has looked for them last
	Inside                           map[psync.ID]uint64 // pages that somebody is in
	Problems                         []string
}

// Kept is what a process keeps for itself.
type Kept struct{ Pages, Blocks uint64 }

// ClassCensus counts the pages of one size class, and the blocks that serve it,
// which may lie in a page of another one.
type ClassCensus struct {
	Size, Pages, Used, Free uint64
}

// PageKind says what a page is.
type PageKind int

const (
	PageFree  PageKind = iota
	PageRaw            // taken, and being cut
	PageRun            // the first one of a run
	PageTail           // another one of a run, or of one that is being made or taken apart
	PageClass          // cut into blocks of a class
	PageWrong          // nothing that a page can be
)

// Page is what a page is at a moment.
type Page struct {
	Kind   PageKind
	Class  int      // of PageClass
	Used   uint64   // blocks in use, also a lodger; 0 for a run that was given back
	Run    uint64   // pages of the run that PageRun heads
	Inside psync.ID // who is in it, or is putting it into a run; 0: nobody
}

// Page reads what page p is, which must be below Pages. It takes no lock.
func (t *Table) Page(p uint64) Page {
	e := t.entry(p)
	page := t.pageOf(e.word.Load())
	switch page.Kind {
	case PageRun:
		page.Run, page.Used = e.runPages(), e.used.Load()&^e.freed.Load()&1
	case PageClass:
		c := &t.types.classes[page.Class]
		free, lodger := t.free(p, c)
		page.Used = c.All - free - lodger
	}
	return page
}

// pageOf says what a page word says.
func (t *Table) pageOf(word uint64) Page {
	page := Page{Kind: PageWrong, Inside: psync.IDOf(word)}
	switch kind := word & kindMask; {
	case word == kindFree:
		page.Kind = PageFree
	case kind == kindRaw:
		page.Kind = PageRaw
	case kind == kindRun:
		page.Kind = PageRun
	case kind == kindTail:
		page.Kind = PageTail
	case kind >= kindClass && int(kind-kindClass) < len(t.types.classes):
		page.Kind, page.Class = PageClass, int(kind-kindClass)
	}
	return page
}

// Census reads the whole table and calls visit, unless it is nil, with every
// block in use. It takes no lock and is exact when nobody writes.
func (t *Table) Census(visit func(Block)) Census {
	if visit == nil {
		visit = func(Block) {}
	}
	c := t.newCensus()
	var free uint64
	for p := uint64(0); p < c.Pages; {
		n := t.countPage(p, &c, visit)
		if t.entry(p).word.Load() == kindFree {
			free++
			c.LargestFree = max(c.LargestFree, free)
		} else {
			free = 0
		}
		p += n
	}
	return c
}

// newCensus returns the census of no page.
func (t *Table) newCensus() Census {
	c := Census{Pages: t.Pages(), Classes: make([]ClassCensus, len(t.types.classes)), Inside: make(map[psync.ID]uint64), Keepers: make(map[int]Kept)}
	for i, cl := range t.types.classes {
		c.Classes[i].Size = cl.Size
	}
	return c
}

// Blocks shows visit the blocks in use of one page, or the run that begins there.
func (t *Table) Blocks(p uint64, visit func(Block)) {
	c := t.newCensus()
	t.countPage(p, &c, visit)
}

// countPage counts one page, or a whole run, and returns how many pages it was.
func (t *Table) countPage(p uint64, c *Census, visit func(Block)) uint64 {
	e := t.entry(p)
	word := e.word.Load()
	page := t.pageOf(word)
	if page.Inside != 0 {
		c.Inside[page.Inside]++
	}
	switch page.Kind {
	case PageFree:
		c.Free++
		if e.used.Load()|e.freed.Load() != 0 {
			c.Problems = append(c.Problems, fmt.Sprintf("page %d is free but its bits are not clear", p))
		}
	case PageRaw:
		c.Raw++
	case PageRun:
		return t.countRun(p, c, visit)
	case PageClass:
		t.countClass(p, page.Class, c, visit)
	default: // a tail too: those of a run are passed by with its head
		c.Problems = append(c.Problems, fmt.Sprintf("page %d has word %#x: %s, owner %s", p, word, kindName(word&kindMask), page.Inside))
	}
	return 1
}

func (t *Table) countRun(p uint64, c *Census, visit func(Block)) uint64 {
	e := t.entry(p)
	n := e.runPages()
	if n == 0 || n > c.Pages-p {
		c.Problems = append(c.Problems, fmt.Sprintf("page %d heads a run of %d pages, but %d follow", p, n, c.Pages-p))
		return 1
	}
	for i := p + 1; i < p+n; i++ {
		if t.entry(i).word.Load()&kindMask != kindTail {
			c.Problems = append(c.Problems, fmt.Sprintf("page %d is inside the run of %d pages at page %d but is no tail", i, n, p))
		}
	}
	c.Runs++
	c.RunPages += n
	if e.used.Load()&^e.freed.Load()&1 != 0 {
		visit(Block{Off: t.pageOff(p), Size: n << t.g.Shift})
	} else {
		c.Freed++
		c.FreedPages += n
	}
	return n
}

func (t *Table) countClass(p uint64, class int, c *Census, visit func(Block)) {
	cl := &t.types.classes[class]
	free := cl.All
	for w := range cl.words {
		u, f := t.bits(p, cl, w)
		used := u.Load() &^ f.Load()
		if used&^cl.mask(w) != 0 {
			c.Problems = append(c.Problems, fmt.Sprintf("page %d: used bits %#x beyond its %d blocks", p, used, cl.All))
		}
		for i := range min(64, cl.All-w*64) {
			serves := class
			if w*64+i == cl.Blocks {
				serves = cl.Lodger
			}
			cc := &c.Classes[serves]
			if used>>i&1 == 0 {
				cc.Free++
				continue
			}
			cc.Used++
			free--
			visit(Block{Off: t.pageOff(p) + cl.Head + (w*64+i)*cl.Size, Size: cc.Size})
		}
	}
	c.Classes[class].Pages++
	if free > 0 && t.held(p) {
		slot := t.entry(p).keeper()
		kept := c.Keepers[slot]
		c.Held++
		c.Keepers[slot] = Kept{kept.Pages + 1, kept.Blocks + free}
	}
}

// held reports whether a page has the hint of one whose free blocks somebody
// keeps. It is left when he has handed them all out.
func (t *Table) held(p uint64) bool {
	return t.leaf(HintHeld, p/groupPages, p%groupPages/64).Load()>>(p%64)&1 != 0
}
