package intent

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

func TestSplit(t *testing.T) {
	w, p := newGrove(t)
	before := w.sound(nil)
	for i, c := range []struct {
		word   uint64
		larger bool
	}{{0, false}, {0, true}, {2, false}, {4, false}, {6, true}, {7, true}} {
		version := w.tree().Version().Load()
		old := w.dir()
		was := tree.Parse(old.At(c.word).Load())
		p.split(hashAt(c.word), c.larger)
		require.Greater(t, w.tree().Version().Load(), version, "step %d", i)
		require.Equal(t, before, w.sound(nil))
		d := w.dir()
		first, n := d.Range(hashAt(c.word), was.Depth)
		low, high := tree.Parse(d.At(first).Load()), tree.Parse(d.At(first+n-1).Load())
		if c.larger {
			require.Equal(t, low, high)
			require.Equal(t, [2]uint64{uint64(was.Depth), 2 * was.Buckets}, [2]uint64{uint64(low.Depth), low.Buckets})
		} else {
			require.NotEqual(t, low.Off, high.Off)
			require.Equal(t, [2]uint{was.Depth + 1, was.Depth + 1}, [2]uint{low.Depth, high.Depth})
		}
	}
	p.double()
	p.split(hashAt(6), false)
	require.Equal(t, before, w.sound(nil))
	w.settled()
}

// cut is a split that died with its record open: what it is of, and the record.
type cut struct {
	*world
	dead   *proc
	r      *Record
	s      Split
	before []uint64
}

// cutSplit opens the record of a split of the segment of word 0, under its lock.
func cutSplit(t *testing.T) *cut {
	w, d := newGrove(t)
	c := &cut{world: w, dead: d, before: w.sound(nil)}
	at := w.dir()
	old := tree.Parse(at.At(0).Load())
	c.r, _ = d.take()
	second, _ := d.take()
	low, high := d.fresh(c.r, 2, 1), d.fresh(second, 2, 1)
	k := uint64(0)
	old.Slots(w.view, func(_, word uint64) bool {
		to := [2]*tree.Segment{&low, &high}[k%2]
		w.word(to.SlotAt(0, k)).Store(word)
		k++
		return true
	})
	c.s = Split{Lock: lockAt, Tree: headOff, Hash: hashAt(1), Old: old.Word, Low: low.Word, High: high.Word}
	d.lockDead()
	c.r.openSplit(&c.s)
	second.Close()
	return c
}

// From each store on: undone, or gone on with.
func TestSettle_Split(t *testing.T) {
	for stored := range uint64(5) {
		for _, doubled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d words, doubled %v", stored, doubled), func(t *testing.T) {
				c := cutSplit(t)
				d := c.dir()
				for i := range stored {
					d.At(i).Store(c.s.word(i, 4))
				}
				require.Subset(t, c.dead.Named(nil), []uint64{c.s.Old & RefMask, c.s.Low & RefMask, c.s.High & RefMask})
				c.dead.kill()
				if doubled {
					c.attach().double()
				}
				version := c.tree().Version().Load()
				c.attach().mustRecover(1)
				require.Equal(t, c.before, c.sound(nil))
				c.settled()
				require.Equal(t, stored != 0, c.tree().Version().Load() > version)
				d = c.dir()
				if first := d.At(0).Load(); stored == 0 {
					require.Equal(t, c.s.Old, first)
				} else {
					require.Equal(t, c.s.Low, first)
					require.Equal(t, c.s.High, d.At(d.Len()/2-1).Load())
				}
			})
		}
	}
}

// Who recovers a slot does not wait for a living process that keeps the tree lock: he
// leaves the split to whoever comes after that one.
func TestSettle_SplitUnderLiving(t *testing.T) {
	c := cutSplit(t)
	d := c.dir()
	d.At(0).Store(c.s.word(0, 4))
	c.dead.kill()
	holder, p := c.attach(), c.attach()
	require.NoError(t, c.tree().Lock().Lock(holder.owner, nil))
	_, err := p.recover()
	require.ErrorIs(t, err, psync.ErrBusy)
	require.True(t, isOpen(c.r))
	c.tree().Lock().Unlock()
	p.mustRecover(1)
	require.Equal(t, c.before, c.sound(nil))
	c.settled()
}

// While a split is cut off its directory can be read as it will be.
func TestForesee(t *testing.T) {
	c := cutSplit(t)
	tr, table := c.tree(), c.table(c.locks.Holder())
	d := c.dir()
	for stored := range uint64(5) {
		if stored != 0 {
			d.At(stored - 1).Store(c.s.word(stored-1, 4))
		}
		f := table.Foresee(tr, 0, d)
		require.Equal(t, stored == 0, f == d)
		for i := range uint64(4) {
			want := c.s.Old
			if stored != 0 {
				want = c.s.word(i, 4)
			}
			require.Equal(t, want, f.At(i).Load())
		}
		require.Equal(t, stored == 4, d.At(3).Load() == c.s.High, "it is a copy")
		require.Equal(t, d, table.Foresee(tr, 1, d), "another side")
	}
}

// A record of a split that is wrong in one point is believed in none (B17).
func TestB17_ImplausibleSplit(t *testing.T) {
	const far = 1 << 43
	for name, do := range map[string]func(c *cut){
		"tree outside":          func(c *cut) { c.r.target.Store(far) },
		"tree misaligned":       func(c *cut) { c.r.target.Store(headOff + 4) },
		"other side":            func(c *cut) { c.r.version.Store(1) },
		"other hash":            func(c *cut) { c.r.after.Store(hashAt(5)) },
		"other old":             func(c *cut) { d := c.dir(); c.r.old.Store(d.At(4).Load()) },
		"old outside":           func(c *cut) { c.r.old.Store(c.s.Old | far) },
		"old too deep":          func(c *cut) { c.r.old.Store(c.s.Old + 9<<58) },
		"low outside":           func(c *cut) { c.r.new.Store(c.s.Low | far) },
		"low is old":            func(c *cut) { c.r.new.Store(c.s.Old + 1<<58) },
		"low is nothing":        func(c *cut) { c.r.new.Store(0) },
		"low of another depth":  func(c *cut) { c.r.new.Store(c.s.Low + 1<<58) },
		"high outside":          func(c *cut) { c.r.extra.Store(c.s.High | far) },
		"high is old":           func(c *cut) { c.r.extra.Store(c.s.Old + 1<<58) },
		"high is low":           func(c *cut) { c.r.extra.Store(c.s.Low) },
		"high is low, larger":   func(c *cut) { c.r.extra.Store(c.s.Low + 1<<44) },
		"neither old nor low":   func(c *cut) { d := c.dir(); d.At(0).Store(c.s.High) },
		"directory outside":     func(c *cut) { c.tree().Dir(0).Store(tree.DirRef(far, 3)) },
		"directory too small":   func(c *cut) { d := c.dir(); c.tree().Dir(0).Store(tree.DirRef(d.Off, 1)) },
		"under the tree's lock": func(c *cut) { c.r.op.Store(c.tree().LockAt()<<8 | opSplit) },
	} {
		t.Run(name, func(t *testing.T) {
			c := cutSplit(t)
			do(c)
			var words []uint64
			d := c.dirAnyway()
			for i := range uint64(groveAll) {
				words = append(words, d.At(i).Load())
			}
			before := c.inUse()
			c.dead.kill()
			for range 2 {
				_, err := c.attach().recover()
				require.ErrorIs(t, err, mem.ErrCorrupt)
				require.ElementsMatch(t, before, c.inUse(), "freed a block on the word of a bad record")
				for i, w := range words {
					require.Equal(t, w, d.At(uint64(i)).Load())
				}
			}
			require.True(t, c.r.Open())
		})
	}
}

// dirAnyway returns the directory of 8 words, whatever the head says.
func (c *cut) dirAnyway() tree.Dir {
	d, err := c.tree().Open(tree.DirRef(c.dead.firstDir(), 3))
	require.NoError(c.t, err)
	return d
}

// firstDir is where the first block of the class of directories is.
func (p *proc) firstDir() uint64 { return p.w.inUse()[0] }

// With an error nothing has happened, and the caller's records are as they were.
func TestSplit_Refused(t *testing.T) {
	for name, do := range map[string]func(s *Split, w *world){
		"too deep":    func(s *Split, w *world) { s.Hash = hashAt(7); d := w.dir(); s.Old = d.At(7).Load() },
		"corrupt":     func(s *Split, w *world) { w.tree().Dir(0).Store(7) },
		"outside":     func(s *Split, _ *world) { s.Tree = 1 << 43 },
		"same lock":   func(s *Split, w *world) { s.Lock = w.tree().LockAt() },
		"wrong depth": func(s *Split, _ *world) { s.Low += 1 << 58 },
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newGrove(t)
			d := w.dir()
			r, _ := p.take()
			second, _ := p.take()
			low, high := p.fresh(r, 2, 1), p.fresh(second, 2, 1)
			s := Split{Lock: lockAt, Tree: headOff, Hash: hashAt(0), Old: d.At(0).Load(), Low: low.Word, High: high.Word}
			do(&s, w)
			version := w.tree().Version().Load()
			require.ErrorIs(t, p.ApplySplit(r, second, &s), mem.ErrCorrupt)
			for _, r := range []*Record{r, second} {
				_, ok := r.Reserved()
				require.True(t, ok)
			}
			require.Equal(t, version, w.tree().Version().Load())
			require.True(t, w.tree().Lock().Consistent())
			require.Zero(t, w.tree().Lock().Holder())
		})
	}
}

// One who has not noticed yet that the segment has grown splits in a directory
// that lies in the new part.
func TestSplit_DirectoryInNewPages(t *testing.T) {
	w, d := newGrove(t)
	short := *w
	short.view = mem.NewView(bytesOf(t, w.view), w.plan.End(0))
	s := &proc{w: &short, locks: w.locks.Holder()}
	pt, err := pages.NewTable(short.view, w.plan, func() { short.view.SetLimit(w.view.Limit()) })
	require.NoError(t, err)
	st := psync.NewTable(short.view, slotsAt, stride, slots, short.word(highAt), s.locks)
	s.Table = NewTable(short.view, st, slotsAt+128, stride, pt)
	s.owner, err = st.Attach(s.settleDead)
	require.NoError(t, err)
	s.SetOwner(s.owner)
	at := w.dir()
	old := tree.Parse(at.At(7).Load())
	r, _ := d.take()
	larger := d.fresh(r, old.Depth, 2)
	old.Slots(w.view, func(_, word uint64) bool {
		for k := uint64(0); ; k++ {
			if slot := w.word(larger.SlotAt(0, k)); slot.Load() == 0 {
				slot.Store(word)
				return true
			}
		}
	})
	before := w.sound([]uint64{larger.Off})
	require.NoError(t, s.ApplySplit(r, nil, &Split{Lock: lockAt, Tree: headOff, Hash: hashAt(7), Old: old.Word, Low: larger.Word, High: larger.Word}))
	require.Equal(t, before, w.sound(nil))
}
