//go:build crash

package intent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// freeze runs do and returns the different states of the world before each tick
// of it, and at the end.
func (w *world) freeze(do func()) (frames [][]byte, ticks int64) {
	keep := func() {
		src, err := w.view.Slice(0, w.view.Limit())
		require.NoError(w.t, err)
		b := make([]byte, len(src))
		mem.CopyOut(b, mem.PtrOf(src))
		if len(frames) == 0 || !bytes.Equal(b, frames[len(frames)-1]) {
			frames = append(frames, b)
		}
	}
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(int64) { keep() })
	do()
	fault.SetHook(nil)
	ticks = fault.Count()
	keep()
	return frames, ticks
}

// thaw makes a world of a frame. Everybody in it is dead.
func (w *world) thaw(frame []byte) *world {
	b := slices.Clone(frame)
	return &world{t: w.t, view: mem.NewView(b, uint64(len(b))), locks: psync.NewLocal(), plan: w.plan}
}

// grab takes all the blocks of some sizes that there are, of whatever pages.
func (p *proc) grab(sizes ...uint64) (taken []uint64) {
	p.w.t.Helper()
	r, i := p.take()
	defer p.pool.Give(i)
	for _, n := range sizes {
		for ref := p.block(r, n); ref != 0; ref = p.block(r, n) {
			r.Close()
			zero(p.w, ref, n)
			taken = append(taken, ref)
		}
	}
	return taken
}

// survivors are what one does who comes after a death. Some of them leave the
// slot of the dead alone: it is somebody else's turn to recover it.
var survivors = map[string]func(p *proc) (taken []uint64){
	"recovers": func(p *proc) []uint64 {
		mustRecoverAll(p)
		return nil
	},
	"takes the locks": func(p *proc) []uint64 {
		p.under(lockAt, func() {})
		p.under(lockAt+8, func() {})
		return nil
	},
	"doubles": func(p *proc) []uint64 {
		p.double()
		return nil
	},
	"doubles, and takes the locks": func(p *proc) []uint64 {
		p.double()
		p.under(lockAt, func() {})
		p.under(lockAt+8, func() {})
		p.double()
		return nil
	},
	"takes all there is": func(p *proc) []uint64 { return p.grab(64, 128, 192) },
	"takes the locks, and all there is": func(p *proc) []uint64 {
		p.under(lockAt, func() {})
		p.under(lockAt+8, func() {})
		return p.grab(64, 128, 192)
	},
}

// mustRecoverAll recovers until all the dead are settled.
func mustRecoverAll(p *proc) {
	p.w.t.Helper()
	_, err := p.recover()
	require.NoError(p.w.t, err)
}

// recoverFrame recovers what is left in a world, and verifies it.
func recoverFrame(w *world, look func(w *world), taken []uint64, last bool, verify func(w *world, taken []uint64, whole bool)) {
	look(w)
	p := w.attach()
	mustRecoverAll(p)
	w.settled()
	verify(w, taken, last)
	mustRecoverAll(p)
}

// eachTick cuts do off at every tick. Then one of the survivors comes, and is
// killed at every tick in its turn; and another one recovers what both left.
// verify looks at what there is then, beside the blocks that the survivor took
// and that are known only if it was not killed; look, at each state before
// anybody has recovered it.
func eachTick(t *testing.T, build func(t *testing.T) (*world, func()), look func(w *world), verify func(w *world, taken []uint64, whole bool)) {
	for name, survive := range survivors {
		t.Run(name, func(t *testing.T) {
			w, do := build(t)
			frames, ticks := w.freeze(do)
			for i, f := range frames {
				last := i == len(frames)-1
				w := w.thaw(f)
				look(w)
				var taken []uint64
				var second [][]byte
				if greedy := strings.Contains(name, "all there is"); greedy {
					taken = survive(w.attach()) // what it has taken when it is killed nobody knows
				} else {
					second, _ = w.freeze(func() { survive(w.attach()) })
				}
				end, _ := w.freeze(func() {})
				for _, f := range append(second, end...) {
					ticks++
					recoverFrame(w.thaw(f), look, taken, last, verify)
					if strings.HasPrefix(name, "takes the locks") && taken == nil {
						// Between the two recoveries somebody takes the segments that are free.
						w := w.thaw(f)
						recoverFrame(w, look, w.attach().grab(128, 192), last, verify)
					}
				}
			}
			t.Logf("%d frames, %d ticks", len(frames), ticks)
		})
	}
}

// A split is cut off at every tick: all entries are there, in the one segment or
// in the others, every block is accounted for, and whoever read the directory
// before can tell.
func TestCrash_Split(t *testing.T) {
	for _, c := range []struct {
		word   uint64
		larger bool
	}{{0, false}, {0, true}, {4, false}, {4, true}, {6, true}} {
		t.Run(fmt.Sprintf("word %d, larger %v", c.word, c.larger), func(t *testing.T) {
			h := hashAt(c.word)
			var before []uint64
			var was, version uint64
			eachTick(t, func(t *testing.T) (*world, func()) {
				w, p := newGrove(t)
				before, version = w.sound(nil), w.tree().Version().Load()
				d := w.dir()
				was = d.Word(h).Load()
				return w, func() { p.split(h, c.larger) }
			}, func(w *world) {
				if !slices.Contains(w.inUse(), was&RefMask) {
					require.Greater(w.t, w.tree().Version().Load(), version, "the segment is freed, and readers of it are not told")
				}
			}, func(w *world, taken []uint64, whole bool) {
				require.Equal(w.t, before, w.sound(taken))
				d := w.dir()
				if d.Word(h).Load() != was {
					require.Greater(w.t, w.tree().Version().Load(), version)
				} else {
					require.False(w.t, whole)
				}
				// It can be done again, by who comes then.
				if taken == nil {
					p := w.attach()
					p.split(h, true)
					require.Equal(w.t, before, w.sound(nil))
				}
			})
		})
	}
}

// A doubling, likewise.
func TestCrash_Double(t *testing.T) {
	var before []uint64
	var was, version uint64
	eachTick(t, func(t *testing.T) (*world, func()) {
		w, p := newGrove(t)
		before, version, was = w.sound(nil), w.tree().Version().Load(), w.tree().Dir(0).Load()
		return w, func() { p.double() }
	}, func(w *world) {
		if !slices.Contains(w.inUse(), was&RefMask) {
			require.Greater(w.t, w.tree().Version().Load(), version, "the directory is freed, and readers of it are not told")
		}
	}, func(w *world, taken []uint64, whole bool) {
		require.Equal(w.t, before, w.sound(taken))
		if bits := w.dir().Bits; bits > 3 {
			require.Greater(w.t, w.tree().Version().Load(), version)
		} else {
			require.False(w.t, whole)
		}
	})
}

// A tree is taken down, and that is cut off at every tick. Another process goes
// on with it, and is cut off at every tick too; what is left when they are
// recovered is a tree, which a third one takes down. Meanwhile the freed blocks
// are others'.
func TestCrash_Drain(t *testing.T) {
	for _, n := range []int{1, 3, 100} {
		t.Run(fmt.Sprintf("%d at a time", n), func(t *testing.T) {
			w, p := newGrove(t)
			frames, ticks := w.freeze(func() { p.drain(n) })
			for _, f := range frames {
				w := w.thaw(f)
				second, more := w.freeze(func() { w.attach().drain(n) })
				ticks += more
				for _, f := range second {
					w := w.thaw(f)
					p := w.attach()
					mustRecoverAll(p)
					w.settled()
					w.reached(nil, false)
					p.drain(n)
					require.Empty(w.t, w.inUse())
				}
				goOnBeside(w.thaw(f), n)
			}
			t.Logf("%d frames, %d ticks", len(frames), ticks)
		})
	}
}

// goOnBeside goes on with the work of the dead while he is not recovered: all
// blocks that are free are taken, before and after, and filled.
func goOnBeside(w *world, n int) {
	p := w.attach()
	taken := p.grab(64, 128)
	for _, ref := range taken {
		mem.CopyIn(w.view.Base().Add(ref), bytes.Repeat([]byte("taken!!!"), 8))
	}
	p.drain(n)
	more := p.grab(64, 128)
	for _, ref := range more {
		mem.CopyIn(w.view.Base().Add(ref), bytes.Repeat([]byte("taken!!!"), 8))
	}
	mustRecoverAll(p)
	w.settled()
	require.ElementsMatch(w.t, append(taken, more...), w.inUse())
}

// atTick runs do, and f before the store of tick k.
func atTick(k int64, do, f func()) (ticks int64) {
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(n int64) {
		if n == k {
			f()
		}
	})
	do()
	fault.SetHook(nil)
	return fault.Count()
}

// One splits a segment, and at every tick of that another one doubles the
// directory, unless he would have to wait; and the other way round.
func TestCrash_SplitBesideDouble(t *testing.T) {
	for name, work := range map[string][2]func(p *proc){
		"split, double": {func(p *proc) { p.split(hashAt(0), false) }, (*proc).double},
		"double, split": {(*proc).double, func(p *proc) { p.split(hashAt(0), false) }},
	} {
		t.Run(name, func(t *testing.T) {
			beside := int64(0)
			for k, ticks := int64(1), int64(1); k <= ticks; k++ {
				w, p := newGrove(t)
				before := w.sound(nil)
				other := w.attach()
				ticks = atTick(k, func() { work[0](p) }, func() {
					if w.tree().Lock().Holder() == 0 {
						work[1](other)
						beside++
					}
				})
				require.Equal(t, before, w.sound(nil), "tick %d", k)
				w.settled()
				d := w.dir()
				if name == "split, double" {
					require.EqualValues(t, 2, tree.Parse(d.At(0).Load()).Depth)
				}
			}
			require.NotZero(t, beside)
			t.Logf("%d ticks", beside)
		})
	}
}
