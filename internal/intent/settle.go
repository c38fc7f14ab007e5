package intent

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// SettleLock settles the record that names the lock whose word is at off. The
// caller holds the lock, taken over from the dead: no living process has an
// open record for it.
func (t *Table) SettleLock(off uint64) error { return t.settleLock(off, false) }

// SettleLockSoon is SettleLock for one who is not to wait for the living: another
// lock that it takes, if a living process keeps it, gives ErrBusy, and the record
// stays open.
func (t *Table) SettleLockSoon(off uint64) error { return t.settleLock(off, true) }

func (t *Table) settleLock(off uint64, soon bool) error {
	for s := range t.slots.High() {
		for i := range PerSlot {
			r := t.record(s, i)
			op := r.op.Load()
			if op>>8 != off || op&opMask < opReplace {
				continue
			}
			if err := t.settle(r, op&opMask, s, soon); err != nil {
				return fmt.Errorf("record %d of slot %d: %w", i, s, err)
			}
		}
	}
	return nil
}

// SettleSlot settles every open record of a slot whose attach is dead. The
// caller holds the claim byte. underLock is called for a record that names a
// lock: it takes the lock and gives it back, which settles the record.
func (t *Table) SettleSlot(slot int, underLock func(off uint64) error) error {
	for i := range PerSlot {
		r := t.record(slot, i)
		op := r.op.Load()
		if op&opMask >= opReplace {
			if err := underLock(op >> 8); err != nil {
				return err
			}
			op = r.op.Load()
		}
		switch op & opMask {
		case opNone:
		case opAlloc:
			if err := t.settle(r, opAlloc, slot, true); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: record %d of slot %d names the lock at %#x, whose holder has not settled it", mem.ErrCorrupt, i, slot, op>>8)
		}
	}
	return nil
}

// settle brings one record to its end. Every step can be repeated.
func (t *Table) settle(r *Record, op uint64, slot int, soon bool) error {
	t.pages.Refresh() // what the record speaks of may lie in space that the dead has added
	switch op {
	case opAlloc:
		t.free(r.new.Load()) // survivor: finds it freed, and named
	case opReplace:
		if err := t.settleReplace(r); err != nil {
			return err
		}
	case opTrade:
		if err := t.settleTrade(r); err != nil {
			return err
		}
	case opRename:
		if err := t.settleRename(r); err != nil {
			return err
		}
	case opMake:
		t.settleMake(r, slot)
	case opBreak:
		t.settleBreak(r, slot)
	case opSplit:
		if err := t.settleSplit(r, soon); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: unknown op %d", mem.ErrCorrupt, op)
	}
	r.Close()
	return nil
}

func (t *Table) free(word uint64) {
	if ref := word & RefMask; ref != 0 {
		t.pages.Settle(ref)
	}
}

// settleReplace reads all that the record leads to before it changes anything:
// a record that is wrong in one point is believed in none.
func (t *Table) settleReplace(r *Record) error {
	published, err := t.published(r)
	if err != nil {
		return err
	}
	if !published {
		t.free(r.new.Load())
		return nil
	}
	version, err := t.optional(r.version.Load())
	if err != nil {
		return err
	}
	count, err := t.optional(r.count.Load())
	if err != nil {
		return err
	}
	if version != nil {
		version.Store(version.Load() + 1) // raised twice is as good as once, never is not (B18)
	}
	t.free(r.old.Load())
	if count != nil {
		count.Store(r.after.Load())
	}
	return nil
}

// settleTrade reads all that the record leads to before it changes anything, too.
func (t *Table) settleTrade(r *Record) error {
	published, err := t.published(r)
	if err != nil {
		return err
	}
	kept, err := t.kept(r)
	if err != nil {
		return err
	}
	if !published {
		if kept.Load() == 0 { // or new is kept still
			t.free(r.new.Load())
		}
		return nil
	}
	version, err := t.optional(r.version.Load())
	if err != nil {
		return err
	}
	if version != nil {
		version.Store(version.Load() + 1) // as above
	}
	kept.Store(r.after.Load())
	return nil
}

// kept returns the word where the block of a trade is kept: it holds 0, or new, or
// already old.
func (t *Table) kept(r *Record) (*psync.Word64, error) {
	w, err := mem.At[psync.Word64](t.view, r.count.Load())
	if err != nil {
		return nil, err
	}
	is, old, new, after := w.Load()&RefMask, r.old.Load()&RefMask, r.new.Load()&RefMask, r.after.Load()&RefMask
	if after != old || is != 0 && is != new && is != old {
		return nil, fmt.Errorf("%w: the word at %#x keeps the block at %#x, and is to keep %#x, in a trade of %#x for %#x", mem.ErrCorrupt, r.count.Load(), is, after, new, old)
	}
	return w, nil
}

// ForeseeWord returns what the word at an offset, which holds w, will hold when the
// trade is done that keeps a block there: for one who reads it while that is under
// way, or was cut off.
func (t *Table) ForeseeWord(at, w uint64) uint64 {
	for slot := range t.slots.High() {
		for i := range PerSlot {
			r := t.record(slot, i)
			if r.op.Load()&opMask != opTrade || r.count.Load() != at {
				continue
			}
			if published, err := t.published(r); err == nil && published {
				w = r.after.Load()
			}
		}
	}
	return w
}

// optional returns the word at a stored offset, nil for offset 0.
func (t *Table) optional(off uint64) (*psync.Word64, error) {
	if off == 0 {
		return nil, nil
	}
	return mem.At[psync.Word64](t.view, off)
}

// published reports whether the target holds new. If it holds neither new nor
// old, the record is not to be believed and nothing may be freed (B17).
func (t *Table) published(r *Record) (bool, error) {
	target, err := mem.At[psync.Word64](t.view, r.target.Load())
	if err != nil {
		return false, err
	}
	switch word := target.Load(); word {
	case r.new.Load():
		return true, nil
	case r.old.Load():
		return false, nil
	default:
		return false, fmt.Errorf("%w: the word at %#x holds %#x, want old %#x or new %#x", mem.ErrCorrupt, r.target.Load(), word, r.old.Load(), r.new.Load())
	}
}

func (t *Table) settleRename(r *Record) error {
	published, err := t.published(r)
	if err != nil || !published {
		return err
	}
	also, err := mem.At[psync.Word64](t.view, r.extra.Load())
	if err != nil {
		return err
	}
	also.And(^NameMask)
	return nil
}

func (t *Table) settleMake(r *Record, slot int) {
	ref := r.new.Load() & RefMask
	if p := t.pages.PageAt(ref); t.pages.IsRun(p) && t.pages.RunAt(p) == ref {
		t.pages.Settle(ref) // it was complete: a block without destination
		return
	}
	t.breakClaimed(ref, r.extra.Load(), slot)
}

func (t *Table) settleBreak(r *Record, slot int) {
	// Not begun: the run stays, freed, until the next collector comes.
	t.breakClaimed(r.old.Load()&RefMask, r.extra.Load(), slot)
}

func (t *Table) breakClaimed(ref, n uint64, slot int) {
	t.pages.BreakClaimed(t.pages.PageAt(ref), min(n, t.pages.Geometry().MaxPages), slot)
}
