package intent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// The findings of the protocol review that concern records, one step at a time
// and without luck. The same interleavings at every tick: package slab, tag
// crash.

// dieAfterFree is a process that has published, freed the old block, and was
// killed before it could close its record.
func dieAfterFree(o *opened) {
	o.replace(nil)
	o.target(0).Store(o.new)
	o.word(versionAt).Add(1)
	require.NoError(o.t, o.dead.pages.Free(o.old))
	o.dead.kill()
}

// takeAll reserves all the blocks that p can get, and publishes them in targets
// from first on.
func (p *proc) takeAll(first int) (refs []uint64) {
	p.w.t.Helper()
	pg := p.page()
	for {
		r, i := p.take()
		ref := p.reserve(r, pg)
		if ref != 0 {
			c := Change{Lock: lockAt + 8, Target: targetAt(first + len(refs)), New: ref}
			p.Apply(r, &c)
			refs = append(refs, ref)
		}
		p.pool.Give(i)
		if ref == 0 {
			return refs
		}
	}
}

// B1: the writer is dead, its record open, its old block free. Others live on,
// collect and allocate; the repair must not free what they were given.
func TestB1_RepairFreesLiveBlock(t *testing.T) {
	o := open(t)
	dieAfterFree(o)
	s := o.attach()
	pg := s.pages.PageAt(o.old)
	before := s.takeAll(1)
	require.NotContains(t, before, o.old, "handed out while a record names it")
	require.Len(t, before, 64-2)
	s.mustRecover(1)
	o.accounted(1 + len(before))
	// Now it is nobody's.
	r, _ := s.take()
	require.Equal(t, o.old, s.reserve(r, pg))
}

// B1, the recoverer killed between its free and closing the record: between
// the two recoveries a living process collects and allocates.
func TestB1_RecovererDiesBeforeClose(t *testing.T) {
	for _, published := range []bool{false, true} {
		o := open(t)
		o.replace(nil)
		named := o.new
		if published {
			o.target(0).Store(o.new)
			named = o.old
		}
		o.dead.kill()
		first := o.attach()
		first.pages.Settle(named) // its last store
		first.kill()
		s := o.attach()
		got := s.takeAll(1)
		require.NotContains(t, got, named)
		s.mustRecover(2)
		o.accounted(1 + len(got))
	}
}

// B2: named but not marked. The dead is in the page still: nobody gets at it
// before the record is settled, so nobody can be given the block that the
// record names.
func TestB2_NamedBeforeMarked(t *testing.T) {
	w := newWorld(t, 1)
	d := w.attach()
	pg := d.page()
	r, _ := d.take()
	_, c, _ := d.choose(pg)
	ref := c.Off
	r.Alloc(ref)
	d.kill()
	s := w.attach()
	s.pages.Hint(pg)
	require.False(t, s.pages.Take(pg, class, s.owner.ID(), s.at()), "not even from the dead")
	_, _, ok := s.pages.Find(s.find.Begin(pages.HintClass+class, class))
	require.False(t, ok)
	_, _, ok = s.pages.Find(s.find.Begin(pages.HintEmpty, 0))
	require.False(t, ok)
	s.mustRecover(1)
	require.Empty(t, w.inUse())
	refs := s.takeAll(0)
	require.Len(t, refs, 64)
	require.Contains(t, refs, ref)
	w.accounted(64)
}

// B2: two goroutines of a process that dies: their records never name the same
// block, because choosing, naming and marking are one busy section.
func TestB2_RecordsNameDifferentBlocks(t *testing.T) {
	w := newWorld(t, 1)
	d := w.attach()
	pg := d.page()
	seen := make(map[uint64]bool)
	for range PerSlot - nested {
		r, _ := d.take()
		ref := d.reserve(r, pg)
		require.False(t, seen[ref])
		seen[ref] = true
	}
	require.Len(t, d.Named(nil), PerSlot-nested)
	d.kill()
	w.attach().mustRecover(1)
	require.Empty(t, w.inUse())
}

// B13: records live in the slot and are found without the lock they name; an
// alloc record names none and is settled with the slot.
func TestB13_AllocBeforeLock(t *testing.T) {
	o := open(t) // reserved, no lock taken
	require.Zero(t, o.word(lockAt).Load())
	op := o.r.op.Load()
	require.EqualValues(t, opAlloc, op&opMask)
	require.Zero(t, op>>8)
	o.dead.kill()
	o.attach().mustRecover(1)
	o.accounted(1)
}

// A record that names a lock which a living process holds: the slot is left for
// later, its blocks stay named.
func TestB13_LockHeldByTheLiving(t *testing.T) {
	o := open(t)
	o.replace(nil)
	o.dead.kill()
	s := o.attach()
	holder := o.attach()
	// Somebody has taken the lock over and not mended yet: he is stopped.
	o.word(lockAt).Store(uint64(holder.owner.ID()) | 2)
	_, err := s.recover()
	require.Error(t, err)
	require.True(t, isOpen(o.r))
	require.ElementsMatch(t, []uint64{o.old, o.new}, s.Named(nil))
	_, used := s.slots.Current(o.dead.slot())
	require.True(t, used)
	o.word(lockAt).Store(2) // he gives it up, marked
	s.mustRecover(1)
	o.accounted(1)
}

// A survivor that has not yet noticed that the segment has grown settles a
// record whose target lies in the new part: it looks first, and does not call
// it corrupt.
func TestB17_TargetInNewPages(t *testing.T) {
	w := newWorld(t, 4)
	short := *w
	short.view = mem.NewView(bytesOf(t, w.view), w.plan.End(1))
	s := &proc{w: &short, locks: w.locks.Holder()}
	pt, err := pages.NewTable(short.view, w.plan, func() { short.view.SetLimit(w.plan.End(4)) })
	require.NoError(t, err)
	st := psync.NewTable(short.view, slotsAt, stride, slots, short.word(highAt), s.locks)
	s.Table = NewTable(short.view, st, slotsAt+128, stride, pt)
	s.owner, err = st.Attach(s.settleDead)
	require.NoError(t, err)
	s.pool = s.NewPool(s.slot())

	d := w.attach()
	pg := d.page()
	r, _ := d.take()
	ref := d.reserve(r, pg)
	far := w.plan.End(3) + 64 // in the last page
	w.word(far).Store(ref)
	d.lockDead()
	r.Replace(&Change{Lock: lockAt, Target: far, New: ref, Version: far + 8, Count: far + 16, After: 5})
	d.kill()
	s.locked(func() { require.False(t, isOpen(r)) })
	require.Equal(t, []uint64{ref}, w.inUse())
	require.EqualValues(t, 5, w.word(far+16).Load())
}

// bytesOf returns the memory of a view, to make another view of it.
func bytesOf(t *testing.T, v *mem.View) []byte {
	t.Helper()
	b, err := v.Slice(0, v.Limit())
	require.NoError(t, err)
	return b
}
