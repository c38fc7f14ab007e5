package arena

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Report is what Check found.
type Report struct {
	SegmentBytes  int64 // committed
	OverheadBytes int64 // header, tables, page table
	UsedBytes     int64 // in blocks in use
	FreeBytes     int64 // of the data area, not in use
	LeakedBytes   int64 // in blocks in use that nothing refers to
	Blocks        int   // in use
	LeakedBlocks  int
	InFlight      int // blocks that only an open record refers to
	Garbage       int // objects that were removed but are still open
	Pages         pages.Census
	Objects       []ObjectInfo
	Processes     []ProcessInfo
	Problems      []string
}

// Check reads the whole arena and accounts for every block: each is free, or
// reachable from exactly one place of an object, or named by an open record. It
// takes no lock and writes nothing. It is exact when nobody writes meanwhile;
// beside writers it may report what is only under way. The error wraps
// ErrCorrupt if there are problems, leaked blocks among them.
func (a *Arena) Check() (*Report, error) {
	if a.closed.Load() {
		return nil, ErrClosed
	}
	a.refresh()
	ps, err := a.Processes()
	if a.closed.Load() {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, err
	}
	c := checker{core: a.core, blocks: make(map[uint64]*blockState)}
	r := &c.report
	r.SegmentBytes, r.Objects, r.Processes = int64(a.view.Limit()), a.Objects(), ps
	c.census()
	c.objects()
	c.inFlight()
	c.account()
	if a.closed.Load() {
		return nil, ErrClosed // what was read may be private zeros
	}
	if len(r.Problems) != 0 {
		return r, fmt.Errorf("%w: %s: %d problems, the first: %s", ErrCorrupt, a, len(r.Problems), r.Problems[0])
	}
	return r, nil
}

// checker accounts for the blocks of one arena.
type checker struct {
	*core
	blocks map[uint64]*blockState
	report Report
}

type blockState struct {
	size   uint64
	refs   int // reference words that lead to it
	record bool
}

func (c *checker) problem(format string, args ...any) {
	c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
}

// census finds the blocks in use.
func (c *checker) census() {
	r := &c.report
	r.Pages = c.pages.Census(func(b pages.Block) {
		c.blocks[b.Off] = &blockState{size: b.Size}
		r.UsedBytes += int64(b.Size)
	})
	r.Blocks = len(c.blocks)
	r.Problems = append(r.Problems, r.Pages.Problems...)
	r.OverheadBytes = int64(c.plan.pages.DataOff)
	r.FreeBytes = r.SegmentBytes - r.OverheadBytes - r.UsedBytes
}

// objects follows every reference word of every object.
func (c *checker) objects() {
	for o := range int(c.plan.objects) {
		e := c.object(o)
		root := e.ref.Load()
		if root == 0 {
			if c.named(o) {
				c.problem("object %d has a name but no block", o)
			}
			continue
		}
		if !c.named(o) {
			c.report.Garbage++
		}
		c.refer(root, "object %d", o)
		if size := e.size.Load(); c.blocks[root] != nil && size > c.blocks[root].size {
			c.problem("object %d uses %d bytes of a block of %d", o, size, c.blocks[root].size)
			continue
		}
		err := c.traced(o, 0, func(_, at uint64, word *psync.Word64) bool {
			if w := c.records.ForeseeWord(at, word.Load()); w != 0 {
				c.refer(w&intent.RefMask, "the word at %#x", int(at))
			}
			return true
		})
		if err != nil {
			c.problem("%v", err)
		}
		c.tree(o)
	}
}

// refer counts a reference, and returns the block, nil if that is none.
func (c *checker) refer(ref uint64, from string, arg int) *blockState {
	b := c.blocks[ref]
	if b == nil {
		c.problem("%s refers to %#x, which is not a block in use", fmt.Sprintf(from, arg), ref)
		return nil
	}
	if b.refs++; b.refs > 1 {
		c.problem("%s refers to the block at %#x, and so does something else", fmt.Sprintf(from, arg), ref)
	}
	return b
}

// inFlight marks what open records name.
func (c *checker) inFlight() {
	for _, ref := range c.records.Named(nil) {
		if b := c.blocks[ref]; b != nil {
			b.record = true
		}
	}
}

// account finds the blocks that nothing refers to.
func (c *checker) account() {
	r := &c.report
	for off, b := range c.blocks {
		switch {
		case b.refs != 0:
		case b.record:
			r.InFlight++
		default:
			r.LeakedBlocks++
			r.LeakedBytes += int64(b.size)
			if r.LeakedBlocks <= 10 {
				c.problem("leaked: the block of %d bytes at %#x is in use, but nothing refers to it", b.size, off)
			}
		}
	}
	if r.Pages.Raw != 0 {
		r.LeakedBytes += int64(r.Pages.Raw * c.plan.pages.PageSize())
		if len(r.Processes) == 0 {
			c.problem("leaked: %d pages are being cut, but no process is attached", r.Pages.Raw)
		}
	}
}

// Freeze copies the segment as it is at this moment, for tests that recover the
// copy.
func (a *Arena) Freeze() ([]byte, error) {
	src, err := a.view.Slice(0, a.view.Limit())
	if err != nil {
		return nil, err
	}
	b := make([]byte, len(src))
	mem.CopyOut(b, mem.PtrOf(src))
	return b, nil
}
