//go:build crash

package shmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/shm"
)

// groveScenes are what is done with a grove of 6 entries, and cut off.
var groveScenes = map[string]func(t *testing.T, g *grove) func(){
	"split":  func(t *testing.T, g *grove) func() { return func() { require.NoError(t, g.split(0)) } },
	"double": func(t *testing.T, g *grove) func() { return func() { require.NoError(t, g.double()) } },
	"build":  func(t *testing.T, g *grove) func() { return func() { require.NoError(t, g.grow(0, 1, 1)) } },
}

func openGrove(t testing.TB, a *arena.Arena, name string) *grove {
	t.Helper()
	h, err := a.OpenObject(name, groveSpec)
	require.NoError(t, err)
	return groveOf(t, a, h)
}

func newGroveScene(t *testing.T, o *arena.Options, name string) (*shm.Segment, *grove, func()) {
	seg := Segment(t, o)
	a := OnSegment(t, seg, nil)
	g := planted(t, a, "grove", 1, 2)
	require.NoError(t, tree(t, a, "old", 2, 1).Close())
	return seg, g, groveScenes[name](t, g)
}

// Whatever is done is cut off at every tick, and so is its recovery: the entries
// are there, and all blocks are accounted for, whichever side they are on.
func TestCrash_Grove(t *testing.T) {
	for name := range groveScenes {
		t.Run(name, func(t *testing.T) {
			eachArena(t, func(t *testing.T, o *arena.Options) *Run {
				seg, _, do := newGroveScene(t, o, name)
				return &Run{Segment: seg, Do: do, Verify: func(t *testing.T, a *arena.Arena, _ bool) {
					g := openGrove(t, a, "grove")
					require.Equal(t, 6, g.entries(t))
					require.NoError(t, g.double())
					require.NoError(t, g.split(0))
					require.Equal(t, 6, g.entries(t))
					require.NoError(t, g.h.Close())
				}}
			})
		})
	}
}

// At every tick the arena is in order for one who only looks: of a split that is
// half done he sees what it will be.
func TestCrash_GroveLooked(t *testing.T) {
	for name := range groveScenes {
		t.Run(name, func(t *testing.T) {
			seg, _, do := newGroveScene(t, tiny(4), name)
			b := OnSegment(t, seg, nil)
			n := int64(0)
			fault.Reset()
			fault.SetHook(func(int64) {
				n++
				_, err := b.Check()
				assert.NoError(t, err, "tick %d", n) // and the operation goes on, or it would keep its locks
			})
			do()
			fault.Reset()
			t.Logf("%d ticks", n)
		})
	}
}

// A grove with two sides is removed, and that is cut off at every tick: nothing is
// left of it, or all.
func TestCrash_GroveRemove(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, g *grove){
		"two sides": func(t *testing.T, g *grove) { require.NoError(t, g.grow(0, 1, 1)) },
		"half": func(t *testing.T, g *grove) {
			require.NoError(t, g.grow(0, 1, 1))
			d, err := g.tree.Open(g.tree.Dir(0).Load())
			require.NoError(t, err)
			d.At(0).Store(0)
		},
		"no tree": func(t *testing.T, g *grove) {
			require.NoError(t, g.a.Remove("grove"))
			require.NoError(t, g.h.Close())
			*g = *plant(t, g.a, "grove")
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachArena(t, func(t *testing.T, o *arena.Options) *Run {
				seg, g, _ := newGroveScene(t, o, "split")
				prepare(t, g)
				blocks := Clean(t, g.a).Blocks
				return &Run{
					Segment: seg,
					Do: func() {
						require.NoError(t, g.a.Remove("grove"))
						require.NoError(t, g.h.Close())
					},
					Verify: func(t *testing.T, a *arena.Arena, whole bool) {
						r := Clean(t, a)
						if len(r.Objects) == 1 {
							require.Equal(t, 2, r.Blocks)
						} else {
							require.False(t, whole)
							require.Equal(t, blocks, r.Blocks)
						}
					},
				}
			})
		})
	}
}

// Somebody dies at work in a grove, and while he is recovered, at every tick of
// that, another one removes it: what he had open is settled before the last of
// its blocks is freed.
func TestCrash_GroveRemovedMeanwhile(t *testing.T) {
	for name := range groveScenes {
		t.Run(name, func(t *testing.T) {
			seg, _, do := newGroveScene(t, tiny(4), name)
			frames, _ := Freeze(seg, do)
			total := int64(0)
			for _, f := range frames {
				ticks := removeBeside(t, Thaw(f, seg), 0)
				for k := int64(1); k <= ticks; k++ {
					removeBeside(t, Thaw(f, seg), k)
				}
				total += ticks
			}
			t.Logf("%d frames, %d ticks", len(frames), total)
		})
	}
}

// removeBeside recovers a frame; before tick k of that somebody comes and removes
// the grove. It returns the number of ticks.
func removeBeside(t *testing.T, seg *shm.Segment, k int64) int64 {
	var b *arena.Arena
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(n int64) {
		if n != k {
			return
		}
		other, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		b = other
		if mem.Must[psync.Mutex](seg.View(), 256).Holder() == 0 { // else it would wait for us
			require.NoError(t, other.Remove("grove"))
		}
	})
	a, err := arena.Attach(seg, nil)
	require.NoError(t, err)
	fault.SetHook(nil)
	ticks := fault.Count()
	if b != nil {
		_, err = b.Recover()
		require.NoError(t, err)
		_ = b.Remove("grove")
		r := Clean(t, b)
		require.Equal(t, 2, r.Blocks)
		require.Zero(t, r.Garbage)
		require.NoError(t, b.Close())
	}
	require.NoError(t, a.Close())
	return ticks
}
