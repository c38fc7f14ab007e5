package intent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// A world is as much of an arena as records need: slots, pages, one lock, and
// words to publish in. Processes come, die and recover in one test process.
const (
	highAt    = 0
	lockAt    = 128
	versionAt = 256
	countAt   = 264
	targetsAt = 512
	slotsAt   = 1024
	slots     = 4
	stride    = 2048
	class     = 6 // 64 bytes, as many as bits in a word
)

type world struct {
	t     testing.TB
	view  *mem.View
	locks *psync.Local
	plan  pages.Geometry
}

type proc struct {
	*Table
	w     *world
	locks psync.Bytes
	owner *psync.Owner
	pool  *Pool
	find  pages.Search
}

func newWorld(t testing.TB, n uint64) *world {
	t.Helper()
	g, err := pages.Plan(slotsAt+slots*stride, 1<<16+n<<12, 12)
	require.NoError(t, err)
	w := &world{t: t, view: mem.NewView(make([]byte, g.End(n)), g.End(n)), locks: psync.NewLocal(), plan: g}
	w.table(w.locks.Holder()).pages.Commit(0, n)
	return w
}

func (w *world) word(off uint64) *psync.Word64 { return mem.Must[psync.Word64](w.view, off) }

func (w *world) target(i int) *psync.Word64 { return w.word(targetAt(i)) }

func targetAt(i int) uint64 { return targetsAt + uint64(i)*8 }

func (w *world) table(locks psync.Bytes) *Table {
	pt, err := pages.NewTable(w.view, w.plan, func() {})
	require.NoError(w.t, err)
	st := psync.NewTable(w.view, slotsAt, stride, slots, w.word(highAt), locks)
	return NewTable(w.view, st, slotsAt+128, stride, pt)
}

// attach is a process that comes.
func (w *world) attach() *proc {
	p := &proc{w: w, locks: w.locks.Holder()}
	p.Table = w.table(p.locks)
	var err error
	p.owner, err = p.slots.Attach(p.settleDead)
	require.NoError(w.t, err)
	p.SetOwner(p.owner)
	p.pool = p.NewPool(p.slot())
	p.find = pages.Search{Me: p.owner.ID(), At: p.at()}
	return p
}

func (p *proc) slot() int { return p.owner.ID().Slot() }

func (p *proc) inside(slot int) *psync.Word64 { return p.record(slot, PerSlot-1).Inside() }

func (p *proc) at() *psync.Word64 { return p.inside(p.slot()) }

// kill is the death of the process, at whatever it was doing.
func (p *proc) kill() { require.NoError(p.w.t, p.locks.Close()) }

// settleDead mends what a dead process left: records first, then the page
// it was in.
func (p *proc) settleDead(me *psync.Owner, dead psync.ID) error {
	p.SetOwner(me)
	err := p.SettleSlot(dead.Slot(), func(off uint64) error {
		lock, err := mem.At[psync.Mutex](p.view, off)
		if err != nil {
			return err
		}
		return lock.Settle(me, func() error { return p.SettleLockSoon(off) })
	})
	if err != nil {
		return err
	}
	if at := p.inside(dead.Slot()); at.Load() != 0 {
		p.pages.Pass(at.Load()-1, dead.Slot())
		at.Store(0)
	}
	return nil
}

func (p *proc) recover() (int, error) { return p.slots.Recover(p.owner, p.settleDead) }

func (p *proc) mustRecover(n int) {
	p.w.t.Helper()
	got, err := p.recover()
	require.NoError(p.w.t, err)
	require.Equal(p.w.t, n, got)
}

// page finds a page of the class, a fresh one or one with free blocks.
func (p *proc) page() uint64 {
	p.w.t.Helper()
	pg, _, ok := p.pages.Find(p.find.Begin(pages.HintClass+class, class))
	if !ok {
		pg, ok = p.pages.TakeFree(&p.find, class)
		require.True(p.w.t, ok, "no page")
	}
	p.pages.Leave(pg, class, p.at())
	return pg
}

// choose enters the page, after a collection, and chooses a block of it.
func (p *proc) choose(pg uint64) (r pages.Round, c pages.Chamber, ok bool) {
	p.w.t.Helper()
	require.True(p.w.t, p.pages.Take(pg, class, p.owner.ID(), p.at()))
	p.pages.Collect(pg, class, func() []uint64 { return p.Named(nil) })
	rounds := p.pages.Rounds(pg, class, nil)
	p.pages.Leave(pg, class, p.at())
	if len(rounds) == 0 {
		return r, c, false
	}
	require.True(p.w.t, p.pages.Next(&rounds[0], p.owner.ID(), p.at(), &c))
	return rounds[0], c, true
}

// reserve takes a block of the page under the record's name; 0: there is none.
func (p *proc) reserve(r *Record, pg uint64) uint64 {
	p.w.t.Helper()
	round, c, ok := p.choose(pg)
	if !ok {
		return 0
	}
	r.Alloc(c.Off)
	c.Mark()
	p.pages.LeaveRound(&round, p.at())
	return c.Off
}

// take gets a record.
func (p *proc) take() (*Record, int) {
	p.w.t.Helper()
	r, i, ok := p.pool.Take()
	require.True(p.w.t, ok)
	return r, i
}

// store publishes a new block in target i and frees what was there.
func (p *proc) store(i int, pg uint64) uint64 {
	p.w.t.Helper()
	r, n := p.take()
	defer p.pool.Give(n)
	ref := p.reserve(r, pg)
	require.NotZero(p.w.t, ref)
	c := p.change(i, ref)
	p.locked(func() { p.Apply(r, &c) })
	return ref
}

func (p *proc) change(i int, ref uint64) Change {
	return Change{
		Lock: lockAt, Target: targetAt(i), Old: p.w.target(i).Load(), New: ref,
		Version: versionAt, Count: countAt, After: p.w.word(countAt).Load() + 1,
	}
}

func (p *proc) locked(f func()) {
	p.w.t.Helper()
	lock := mem.Must[psync.Mutex](p.view, lockAt)
	require.NoError(p.w.t, lock.Lock(p.owner, func() error { return p.SettleLock(lockAt) }))
	f()
	lock.Unlock()
}

// lockDead takes the lock and leaves it as one does who is killed then.
func (p *proc) lockDead() {
	p.w.t.Helper()
	lock := mem.Must[psync.Mutex](p.view, lockAt)
	require.NoError(p.w.t, lock.Lock(p.owner, func() error { return p.SettleLock(lockAt) }))
}

// inUse returns the blocks in use.
func (w *world) inUse() (refs []uint64) {
	w.t.Helper()
	c := w.table(w.locks.Holder()).pages.Census(func(b pages.Block) { refs = append(refs, b.Off) })
	require.Empty(w.t, c.Problems)
	return refs
}

// published returns what the targets hold.
func (w *world) published(n int) (refs []uint64) {
	for i := range n {
		if ref := w.target(i).Load() & RefMask; ref != 0 {
			refs = append(refs, ref)
		}
	}
	return refs
}

// accounted checks that the blocks in use are those of the first n targets.
func (w *world) accounted(n int) {
	w.t.Helper()
	require.ElementsMatch(w.t, w.published(n), w.inUse())
}

func isOpen(r *Record) bool { return r.op.Load()&opMask != opNone }
