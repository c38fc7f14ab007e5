package arena

import (
	"errors"
	"fmt"
)

const (
	// growStep bounds what one growth allocates beyond what is asked for: the file
	// system takes its time for every page, and somebody waits for it.
	growStep = 64 << 10
	// prefaulted is how much of it is mapped in at most.
	prefaulted = 512 << 10
)

// grow commits more pages, so that at least n free ones lie at the end. Nobody
// holds a lock: the space is allocated, then one compare-and-swap publishes it.
// Whoever dies or is stopped in between keeps nobody from doing it again. When
// another process was faster, grow returns as if it had been ours. The pages are
// mapped in at once: by themselves each would cost its first writer a page fault.
func (c *core) grow(n uint64) error {
	g := c.plan.pages
	c.refresh()
	committed := c.head.committed.Load()
	have := g.Pages(committed)
	least := max(1, n-min(n, c.pages.FreeTail()))
	if have+least > g.MaxPages {
		return fmt.Errorf("%w: arena %q has %d of at most %d pages of %d bytes, and %d more were wanted",
			ErrFull, c.seg.Name(), have, g.MaxPages, g.PageSize(), least)
	}
	to := min(g.MaxPages, have+max(least, growStep>>g.Shift))
	err := c.allocate(have, to)
	if errors.Is(err, ErrNoSpace) && to > have+least {
		to = have + least
		err = c.allocate(have, to)
	}
	if err != nil {
		return err
	}
	c.head.committed.CompareAndSwap(committed, g.End(to)) // survivor: free pages, whose hints everybody sets who sees them first
	c.refresh()
	c.seg.Prefault(int64(g.End(have)), int64(min(g.End(to)-g.End(have), prefaulted)))
	return nil
}

// allocate takes the space for pages [from, to) and for what describes them
// from the file system; the data last, since that is the end of the file.
func (c *core) allocate(from, to uint64) error {
	g := c.plan.pages
	for _, r := range [][2]uint64{
		{g.HintsEnd(from), g.HintsEnd(to)},
		{g.TableEnd(from), g.TableEnd(to)},
		{g.End(from), g.End(to)},
	} {
		if err := c.seg.Allocate(int64(r[0]), int64(r[1]-r[0])); err != nil {
			return err
		}
	}
	return nil
}

// frontSize is the number of bytes before the page table's hints.
func (p *plan) frontSize() uint64 { return p.pages.HintsOff }

// format allocates and fills a new segment with n pages.
func (p *plan) format(c *core, n uint64, ready bool) error {
	if err := c.seg.Allocate(0, int64(p.frontSize())); err != nil {
		return err
	}
	if err := c.allocate(0, n); err != nil {
		return err
	}
	end := p.pages.End(n)
	c.view.SetLimit(end)
	p.write(c.view, end, ready)
	c.pages.Commit(0, n)
	return nil
}
