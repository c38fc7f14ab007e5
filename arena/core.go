package arena

import (
	"fmt"
	"sync"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/shm"
)

// core is what any process can do with a mapped arena, whoever it is: read the
// tables and settle what the dead left. An attach has one on its mapping, and
// for a moment at the end a second one on the mapping's twin.
type core struct {
	seg     *shm.Segment
	view    *mem.View
	plan    *plan
	head    *header
	slots   *psync.Table
	records *intent.Table
	pages   *pages.Table
	writes  bool // hints may be set: an attach that has its slot
}

// Offsets of fields in a slot and of the locks.
const (
	slotPins    = 64
	slotRecords = 128

	highOff = 19 * 8
	dirOff  = 256
	runOff  = 384
	initOff = 512
)

func newCore(seg *shm.Segment, p *plan, locks psync.Bytes) (*core, error) {
	c := &core{seg: seg, view: seg.View(), plan: p}
	var err error
	if c.head, err = mem.At[header](c.view, 0); err != nil {
		return nil, err
	}
	high := mem.Must[psync.Word64](c.view, highOff)
	c.slots = psync.NewTable(c.view, firstSlot, slotSize, int(p.slots), high, locks)
	if c.pages, err = pages.NewTable(c.view, p.pages, c.refresh); err != nil {
		return nil, err
	}
	c.records = intent.NewTable(c.view, c.slots, firstSlot+slotRecords, slotSize, c.pages)
	return c, nil
}

func (c *core) slot(s int) *slot {
	return mem.Must[slot](c.view, firstSlot+uint64(s)*slotSize)
}

func (c *core) object(o int) *object {
	return mem.Must[object](c.view, c.objectAt(o))
}

func (c *core) objectAt(o int) uint64 { return c.plan.objectOff() + uint64(o)*objectSize }

func (c *core) entry(n int) *name {
	return mem.Must[name](c.view, c.nameAt(n))
}

func (c *core) nameAt(n int) uint64 { return c.plan.nameOff() + uint64(n)*nameSize }

// refresh raises the view's limit to what other processes have committed, as
// far as the file bears it: the stored size alone is not believed (B17).
func (c *core) refresh() {
	committed := c.head.committed.Load()
	if committed <= c.view.Limit() {
		return
	}
	size, err := c.seg.Committed()
	if err == nil && c.plan.checkSize(committed, uint64(size)) == nil {
		c.raise(committed)
	}
}

// raising keeps two goroutines from setting a view's limit back: whoever uses
// what lies behind it would be outside for a moment.
var raising sync.Mutex

// raise also sets the hints of the new pages, as whoever committed them does: he
// may have been stopped before he got to it, and a hint set twice is set once.
func (c *core) raise(committed uint64) {
	raising.Lock()
	defer raising.Unlock()
	limit := c.view.Limit()
	if committed <= limit || committed > c.view.Reserve() {
		return
	}
	c.view.SetLimit(committed)
	if g := c.plan.pages; c.writes {
		c.pages.Commit(g.Pages(limit), g.Pages(committed))
	}
}

// settle mends what the dead attach left in its slot: its operations, then its
// pins, then the pages it was in. The claim byte of the slot is held. Every step can be
// repeated, and is, if we die here.
func (c *core) settle(me *psync.Owner, dead psync.ID) error {
	c.refresh()
	err := c.records.SettleSlot(dead.Slot(), func(off uint64) error {
		lock, err := mem.At[psync.Mutex](c.view, off)
		if err != nil {
			return err
		}
		return lock.Settle(me, func() error { return c.records.SettleLockSoon(off) })
	})
	if err != nil {
		return fmt.Errorf("%s: %w", dead, err)
	}
	c.head.deaths.Add(1) // survivor: one rescan too many
	c.letGo(dead)
	return nil
}

// holds reports whether a slot names a block, an object or a page.
func (c *core) holds(slot int) bool {
	var any uint64
	s := c.slot(slot)
	for i := range s.pins {
		any |= s.pins[i].Load()
	}
	for i := range s.records {
		if s.records[i].Open() {
			return true
		}
		any |= s.records[i].Inside().Load()
	}
	return any != 0
}

// letGo drops the pins of an attach that has no operation left, and leaves the
// pages that it was in.
func (c *core) letGo(id psync.ID) {
	s := c.slot(id.Slot())
	for i := range s.pins {
		if s.pins[i].Load() != 0 {
			s.pins[i].Store(0) // survivor: drops the others
		}
	}
	for i := range s.records {
		if at := s.records[i].Inside(); at.Load() != 0 {
			c.pages.Pass(at.Load()-1, id.Slot())
			at.Store(0) // survivor: leaves it once more, which finds nobody inside
		}
	}
}

// pinned reports whether a handle on the object may be open. Pins of the dead
// count until their slot is recovered.
func (c *core) pinned(o int) bool {
	for s := range c.slots.High() {
		if c.slot(s).pins[o/64].Load()>>(o%64)&1 != 0 {
			return true
		}
	}
	return false
}
