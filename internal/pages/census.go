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
	Classes                          []ClassCensus
	LargestFree                      uint64 // pages of the largest free run
	Problems                         []string
}

// ClassCensus counts the pages and blocks of one size class.
type ClassCensus struct {
	Size, Pages, Used, Free uint64
}

// Census reads the whole table and calls visit with every block in use. It
// takes no lock and is exact when nobody writes.
func (t *Table) Census(visit func(Block)) Census {
	c := Census{Pages: t.Pages(), Classes: make([]ClassCensus, len(t.types.classes))}
	for i, cl := range t.types.classes {
		c.Classes[i].Size = cl.Size
	}
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

// countPage counts one page, or a whole run, and returns how many pages it was.
func (t *Table) countPage(p uint64, c *Census, visit func(Block)) uint64 {
	e := t.entry(p)
	word := e.word.Load()
	switch kind := word & kindMask; {
	case word == kindFree:
		c.Free++
		if e.used.Load()|e.freed.Load() != 0 {
			c.Problems = append(c.Problems, fmt.Sprintf("page %d is free but its bits are not clear", p))
		}
	case kind == kindRaw:
		c.Raw++
	case kind == kindRun:
		return t.countRun(p, c, visit)
	case kind >= kindClass && int(kind-kindClass) < len(t.types.classes):
		t.countClass(p, int(kind-kindClass), c, visit)
	default:
		c.Problems = append(c.Problems, fmt.Sprintf("page %d has word %#x: %s, owner %s", p, word, kindName(kind), psync.IDOf(word)))
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
	}
	return n
}

func (t *Table) countClass(p uint64, class int, c *Census, visit func(Block)) {
	cl := &t.types.classes[class]
	cc := &c.Classes[class]
	cc.Pages++
	for w := range cl.words {
		u, f := t.bits(p, cl, w)
		used := u.Load() &^ f.Load()
		if used&^cl.mask(w) != 0 {
			c.Problems = append(c.Problems, fmt.Sprintf("page %d: used bits %#x beyond its %d blocks", p, used, cl.Blocks))
		}
		used &= cl.mask(w)
		cc.Used += uint64(onesIn(used))
		for rest := used; rest != 0; rest &= rest - 1 {
			visit(Block{Off: t.pageOff(p) + cl.Head + (w*64+lowest(rest))*cl.Size, Size: cl.Size})
		}
	}
	cc.Free = cc.Pages*cl.Blocks - cc.Used
}
