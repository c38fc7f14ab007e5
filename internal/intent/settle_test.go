package intent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// opened is a process that died with a record open, and what the record names.
type opened struct {
	*world
	dead     *proc
	r        *Record
	old, new uint64
}

// open makes a world in which target 0 holds old, and a record of d replaces it
// by new.
func open(t *testing.T) *opened {
	w := newWorld(t, 4)
	d := w.attach()
	pg := d.page()
	old := d.store(0, pg)
	r, _ := d.take()
	o := &opened{world: w, dead: d, r: r, old: old, new: d.reserve(r, pg)}
	return o
}

// replace opens the record under the lock.
func (o *opened) replace(change func(c *Change)) {
	o.dead.lockDead()
	c := o.dead.change(0, o.new)
	if change != nil {
		change(&c)
	}
	o.r.Replace(&c)
}

// settleTwice recovers, then does the same with the record as it was.
func (o *opened) settleTwice() (first, second error) {
	o.dead.kill()
	var saved [8]uint64
	words := o.record()
	for i, w := range words {
		saved[i] = w.Load()
	}
	s := o.attach()
	_, first = s.recover()
	inUse, version := o.inUse(), o.word(versionAt).Load()
	for i := len(words) - 1; i >= 0; i-- {
		words[i].Store(saved[i])
	}
	second = s.settleDead(s.owner, o.dead.owner.ID())
	require.ElementsMatch(o.t, inUse, o.inUse(), "settling twice is settling once")
	require.GreaterOrEqual(o.t, o.word(versionAt).Load(), version)
	return first, second
}

func (o *opened) record() [8]*psync.Word64 {
	r := o.r
	return [8]*psync.Word64{&r.op, &r.target, &r.old, &r.new, &r.version, &r.count, &r.after, &r.extra}
}

func TestSettle_Alloc(t *testing.T) {
	o := open(t)
	require.ElementsMatch(t, []uint64{o.old, o.new}, o.inUse())
	one, two := o.settleTwice()
	require.NoError(t, one)
	require.NoError(t, two)
	require.Equal(t, []uint64{o.old}, o.inUse())
	require.EqualValues(t, 1, o.word(versionAt).Load())
}

// Named, not yet marked: nothing to free.
func TestSettle_AllocUnmarked(t *testing.T) {
	w := newWorld(t, 1)
	d := w.attach()
	pg := d.page()
	r, _ := d.take()
	_, c, _ := d.choose(pg)
	r.Alloc(c.Off)
	d.kill()
	s := w.attach()
	s.mustRecover(1)
	require.Empty(t, w.inUse())
	require.Equal(t, pg, s.page(), "the page has been passed on")
}

func TestSettle_Replace_NotPublished(t *testing.T) {
	o := open(t)
	o.replace(nil)
	one, two := o.settleTwice()
	require.NoError(t, one)
	require.NoError(t, two)
	require.Equal(t, o.old, o.target(0).Load())
	require.Equal(t, []uint64{o.old}, o.inUse())
	require.EqualValues(t, 1, o.word(versionAt).Load())
	require.EqualValues(t, 1, o.word(countAt).Load())
}

// From each step after the publishing store on: rolled forward.
func TestSettle_Replace_Published(t *testing.T) {
	for step := range 4 {
		o := open(t)
		o.replace(nil)
		o.target(0).Store(o.new)
		if step > 0 {
			o.word(versionAt).Add(1)
		}
		if step > 1 {
			o.dead.pages.Settle(o.old)
		}
		if step > 2 {
			o.word(countAt).Store(2)
		}
		one, two := o.settleTwice()
		require.NoError(t, one)
		require.NoError(t, two)
		require.Equal(t, o.new, o.target(0).Load())
		require.Equal(t, []uint64{o.new}, o.inUse())
		require.Greater(t, o.word(versionAt).Load(), uint64(1), "bumped at least once since (B18)")
		require.EqualValues(t, 2, o.word(countAt).Load())
	}
}

func TestSettle_Delete(t *testing.T) {
	for _, published := range []bool{false, true} {
		w := newWorld(t, 4)
		d := w.attach()
		old := d.store(0, d.page())
		r, _ := d.take()
		d.lockDead()
		r.Replace(&Change{Lock: lockAt, Target: targetAt(0), Old: old, Count: countAt, After: 0})
		if published {
			w.target(0).Store(0)
		}
		o := &opened{world: w, dead: d, r: r, old: old}
		one, two := o.settleTwice()
		require.NoError(t, one)
		require.NoError(t, two)
		w.accounted(1)
		require.Equal(t, published, w.target(0).Load() == 0)
		require.Equal(t, published, w.word(countAt).Load() == 0)
	}
}

// A trade keeps the old block in the place of the new one, or, if that was reserved,
// where there was none. From each step on.
func TestSettle_Trade(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		for step := range 4 {
			o := openTrade(t, reserved)
			if step > 0 {
				o.target(0).Store(o.new)
			}
			if step > 1 {
				o.word(versionAt).Add(1)
			}
			if step > 2 {
				o.target(1).Store(o.old)
			}
			want := o.target(1).Load()
			if step > 0 {
				want = o.old
			}
			foreseen := o.dead.ForeseeWord(targetAt(1), o.target(1).Load())
			one, two := o.settleTwice()
			require.NoError(t, one)
			require.NoError(t, two)
			require.Equal(t, want, o.target(1).Load())
			require.Equal(t, want, foreseen)
			if step == 0 && reserved {
				require.Equal(t, []uint64{o.old}, o.inUse())
			} else {
				require.ElementsMatch(t, []uint64{o.old, o.new}, o.inUse())
			}
			if step > 0 {
				require.Equal(t, o.new, o.target(0).Load())
				require.Greater(t, o.word(versionAt).Load(), uint64(1), "bumped at least once since (B18)")
			} else {
				require.Equal(t, o.old, o.target(0).Load())
			}
		}
	}
}

// openTrade opens a record that trades target 0 for what target 1 keeps, or for a
// block that is reserved.
func openTrade(t *testing.T, reserved bool) *opened {
	o := open(t)
	if !reserved {
		o.target(1).Store(o.new)
		o.r.Close()
	}
	o.dead.lockDead()
	c := o.dead.change(0, o.new)
	c.Count, c.After = targetAt(1), o.old
	o.r.Trade(&c)
	require.Subset(t, o.dead.Named(nil), []uint64{o.old, o.new})
	return o
}

// A trade that does not fit is not believed, wherever it was cut off.
func TestB17_ImplausibleTrade(t *testing.T) {
	for name, damage := range map[string]func(o *opened){
		"neither old nor new": func(o *opened) { o.target(0).Store(o.old + 640) },
		"place outside":       func(o *opened) { o.r.count.Store(1 << 43) },
		"keeps another block": func(o *opened) { o.target(1).Store(o.old + 640) },
		"is to keep another":  func(o *opened) { o.r.after.Store(o.old + 640) },
		"version outside":     func(o *opened) { o.target(0).Store(o.new); o.r.version.Store(1 << 43) },
	} {
		for _, published := range []bool{false, true} {
			o := openTrade(t, true)
			if published {
				o.target(0).Store(o.new)
			}
			damage(o)
			before, version, target, kept := o.inUse(), o.word(versionAt).Load(), o.target(0).Load(), o.target(1).Load()
			one, two := o.settleTwice()
			require.ErrorIs(t, one, mem.ErrCorrupt, name)
			require.ErrorIs(t, two, mem.ErrCorrupt, name)
			require.ElementsMatch(t, before, o.inUse())
			require.Equal(t, [3]uint64{version, target, kept}, [3]uint64{o.word(versionAt).Load(), o.target(0).Load(), o.target(1).Load()}, name)
		}
	}
}

// High bits of a reference word are the owner's; the block is named by the low
// ones.
func TestSettle_HighBits(t *testing.T) {
	const tag = 0xabc << 44
	o := open(t)
	o.replace(func(c *Change) { c.New |= tag })
	require.Contains(t, o.dead.Named(nil), o.new)
	o.target(0).Store(o.new | tag)
	one, two := o.settleTwice()
	require.NoError(t, one)
	require.NoError(t, two)
	o.accounted(1)
	require.Equal(t, o.new|tag, o.target(0).Load())
}

// A record that does not fit what it speaks of is not believed (B17): nothing
// is freed, bumped or stored, the lock is given back marked, and so again and
// again. What it names stays out of reach.
func TestB17_ImplausibleRecord(t *testing.T) {
	const far = 1 << 43
	damage := map[string]func(o *opened){
		"neither old nor new":  func(o *opened) { o.target(0).Store(o.old + 640) },
		"target outside":       func(o *opened) { o.r.target.Store(far) },
		"target misaligned":    func(o *opened) { o.r.target.Store(targetsAt + 4) },
		"unknown op":           func(o *opened) { o.r.op.Store(lockAt<<8 | 99) },
		"version outside":      func(o *opened) { o.target(0).Store(o.new); o.r.version.Store(far) },
		"version misaligned":   func(o *opened) { o.target(0).Store(o.new); o.r.version.Store(versionAt + 1) },
		"count outside":        func(o *opened) { o.target(0).Store(o.new); o.r.count.Store(far) },
		"count misaligned":     func(o *opened) { o.target(0).Store(o.new); o.r.count.Store(countAt + 2) },
		"lock outside":         func(o *opened) { o.r.op.Store(far<<8 | opReplace) },
		"lock misaligned":      func(o *opened) { o.r.op.Store((lockAt+1)<<8 | opReplace) },
		"unknown op, no lock":  func(o *opened) { o.r.op.Store(77) },
		"rename, also outside": func(o *opened) { o.target(0).Store(o.new); o.r.op.Store(lockAt<<8 | opRename); o.r.extra.Store(far) },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			o := open(t)
			o.replace(nil)
			do(o)
			before, version, count := o.inUse(), o.word(versionAt).Load(), o.word(countAt).Load()
			target := o.target(0).Load()
			one, two := o.settleTwice()
			require.ErrorIs(t, one, mem.ErrCorrupt)
			require.ErrorIs(t, two, mem.ErrCorrupt)
			require.ElementsMatch(t, before, o.inUse(), "freed a block on the word of a bad record")
			require.Equal(t, version, o.word(versionAt).Load())
			require.Equal(t, count, o.word(countAt).Load())
			require.Equal(t, target, o.target(0).Load())
			if op := o.r.op.Load() & opMask; op == opReplace {
				require.Contains(t, o.attach().Named(nil), o.new)
			}
		})
	}
}

func TestSettle_Rename(t *testing.T) {
	for _, published := range []bool{false, true} {
		w := newWorld(t, 1)
		d := w.attach()
		w.target(0).Store(7<<32 | 5) // the name that goes
		w.target(1).Store(3<<32 | 2) // the name that stays, and what it led to
		r, _ := d.take()
		d.lockDead()
		c := Change{Lock: lockAt, Target: targetAt(1), Old: 3<<32 | 2, New: 4<<32 | 5}
		r.Rename(&c, targetAt(0))
		require.Empty(t, d.Named(nil), "a rename names no blocks")
		if published {
			w.target(1).Store(c.New)
		}
		o := &opened{world: w, dead: d, r: r}
		one, two := o.settleTwice()
		require.NoError(t, one)
		require.NoError(t, two)
		if published {
			require.Equal(t, [2]uint64{7 << 32, 4<<32 | 5}, [2]uint64{w.target(0).Load(), w.target(1).Load()})
		} else {
			require.Equal(t, [2]uint64{7<<32 | 5, 3<<32 | 2}, [2]uint64{w.target(0).Load(), w.target(1).Load()})
		}
	}
}

// A run whose record is open: taken apart when half done, freed when complete.
func TestSettle_Run(t *testing.T) {
	for name, die := range map[string]func(d *proc, r *Record, p uint64){
		"make, nothing begun": func(*proc, *Record, uint64) {},
		"make, complete": func(d *proc, _ *Record, p uint64) {
			require.True(t, d.pages.MakeRun(p, 5, d.owner.ID()))
		},
		"made": func(d *proc, r *Record, p uint64) {
			require.True(t, d.pages.MakeRun(p, 5, d.owner.ID()))
			r.Made()
		},
		"break, not begun": func(d *proc, r *Record, p uint64) {
			require.True(t, d.pages.MakeRun(p, 5, d.owner.ID()))
			r.Made()
			require.NoError(t, d.pages.Free(d.pages.RunAt(p)))
			r.BreakRun(lockAt, d.pages.RunAt(p), 5)
		},
		"break, complete": func(d *proc, r *Record, p uint64) {
			require.True(t, d.pages.MakeRun(p, 5, d.owner.ID()))
			r.Made()
			require.NoError(t, d.pages.Free(d.pages.RunAt(p)))
			r.BreakRun(lockAt, d.pages.RunAt(p), 5)
			d.pages.BreakRun(p, 5, d.owner.ID())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			d := w.attach()
			r, _ := d.take()
			p, ok := d.pages.FindRun(5)
			require.True(t, ok)
			d.lockDead()
			r.MakeRun(lockAt, d.pages.RunAt(p), 5)
			die(d, r, p)
			o := &opened{world: w, dead: d, r: r}
			one, two := o.settleTwice()
			require.NoError(t, one)
			require.NoError(t, two)
			require.Empty(t, w.inUse())
			s := w.attach()
			var rotor uint64
			if p, n, ok := s.pages.TakeFreed(&rotor); ok {
				s.pages.BreakRun(p, n, s.owner.ID())
			}
			p, ok = s.pages.FindRun(12)
			require.True(t, ok, "all pages are free")
			require.Zero(t, p)
		})
	}
}

// A taker of the lock settles a record without the slot's claim; whoever
// recovers the slot afterwards finds it done.
func TestB13_LockTakerSettles(t *testing.T) {
	o := open(t)
	o.replace(nil)
	o.target(0).Store(o.new)
	o.dead.kill()
	s := o.attach() // its slot is another one: the dead's is not free
	require.NotEqual(t, o.dead.slot(), s.slot())
	s.locked(func() {
		require.False(t, isOpen(o.r))
		o.accounted(1)
	})
	s.mustRecover(1)
	o.accounted(1)
}

// SettleLock touches the records of its lock only, and no alloc record.
func TestB13_OtherRecordsUntouched(t *testing.T) {
	w := newWorld(t, 4)
	d := w.attach()
	pg := d.page()
	alloc, _ := d.take()
	ref := d.reserve(alloc, pg)
	other, _ := d.take()
	ref2 := d.reserve(other, pg)
	other.Replace(&Change{Lock: lockAt + 64, Target: targetAt(1), New: ref2})
	mine, _ := d.take()
	ref3 := d.reserve(mine, pg)
	mine.Replace(&Change{Lock: lockAt, Target: targetAt(0), New: ref3})
	require.NoError(t, d.SettleLock(lockAt))
	require.True(t, isOpen(alloc))
	require.True(t, isOpen(other))
	require.False(t, isOpen(mine))
	require.ElementsMatch(t, []uint64{ref, ref2}, w.inUse())
	d.kill()
	w.attach().mustRecover(1)
	require.Empty(t, w.inUse())
}
