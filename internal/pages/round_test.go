package pages

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What one has freed he is given again, without a collection.
func TestRound_Reuse(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 1, 1)
		for class, c := range a.Classes() {
			a = newTable(t, shift, 1, 1)
			p := a.page(t, class)
			var offs []uint64
			for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
				offs = append(offs, off)
			}
			require.Len(t, offs, int(c.All))
			for _, off := range offs {
				var r Round
				err := a.FreeRound(off, &r)
				require.NoError(t, err)
				require.Equal(t, 1, r.Blocks())
				require.Equal(t, p, r.Page())
				if off == offs[len(offs)-1] && c.Lodger != 0 {
					require.Equal(t, c.Lodger, r.Class())
				} else {
					require.Equal(t, class, r.Class())
				}
				require.True(t, a.Names(&r, []uint64{8, off}))
				require.False(t, a.Names(&r, []uint64{0, off + c.Size, off - c.Size, a.g.End(1)}))
				require.False(t, a.InUse(off))
				require.Equal(t, off, a.next(&r))
				require.True(t, a.InUse(off))
				require.Zero(t, r.Blocks())
			}
		}
	})
}

// A round is worth nothing once somebody else has collected the page, cut it
// anew, made a run of it, or is in it.
func TestRound_Void(t *testing.T) {
	voids := map[string]func(a, b *attach, p uint64){
		"collected": func(_, b *attach, p uint64) { b.collect(t, p, of64) },
		"collected, given out, freed": func(_, b *attach, p uint64) {
			b.collect(t, p, of64)
			require.NoError(t, b.Free(b.alloc(t, p, of64)))
		},
		"cut anew, and back": func(_, b *attach, p uint64) {
			for _, to := range []int{5, of64} {
				require.True(t, b.Take(p, 5+of64-to, b.me, &b.at))
				b.Recut(p, to, b.me)
				b.Leave(p, to, &b.at)
			}
		},
		"a free page": func(_, b *attach, p uint64) {
			require.True(t, b.Take(p, of64, b.me, &b.at))
			b.Collect(p, of64, func() []uint64 { return nil })
			b.Discard(p, b.me, &b.at)
		},
		"a run, and back": func(_, b *attach, p uint64) {
			require.True(t, b.Take(p, of64, b.me, &b.at))
			b.Collect(p, of64, func() []uint64 { return nil })
			b.Discard(p, b.me, &b.at)
			require.True(t, b.MakeRun(p, 1, b.me))
			require.NoError(t, b.Free(b.RunAt(p)))
			b.BreakRun(p, 1, b.me)
			b.page(t, of64)
		},
		"entered": func(_, b *attach, p uint64) { require.True(t, b.Enter(p, of64, b.me, &b.at)) },
	}
	for what, void := range voids {
		for _, fresh := range []bool{false, true} {
			a := newTable(t, 12, 1, 1)
			p := a.page(t, of64)
			var r Round
			if fresh {
				r = a.rounds(t, p, of64)[0]
			} else {
				require.NoError(t, a.FreeRound(a.alloc(t, p, of64), &r))
			}
			b := a.other(1)
			void(a, b, p)
			before := a.words(t)
			require.Zero(t, a.next(&r), what)
			require.Equal(t, before[a.g.TableOff:a.g.TableOff+EntrySize], a.words(t)[a.g.TableOff:a.g.TableOff+EntrySize], what)
			require.Zero(t, a.at.Load())
		}
	}
}

// While somebody is in the page, what is freed there is nobody's round: he may be
// collecting.
func TestRound_FreedWhileInside(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	b := a.other(1)
	p := a.page(t, of64)
	off := a.alloc(t, p, of64)
	require.True(t, b.Take(p, of64, b.me, &b.at))
	var r Round
	err := a.FreeRound(off, &r)
	require.NoError(t, err)
	require.Zero(t, r.Blocks())
	b.Leave(p, of64, &b.at)
	got, _, ok := a.takeBy(HintClass+of64, of64)
	require.True(t, ok, "everybody is pointed to it")
	require.Equal(t, p, got)
}

// Other rounds of a page stay good when blocks of it are handed out.
func TestRound_Others(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	b := a.other(1)
	p := a.page(t, of64)
	one, two := a.alloc(t, p, of64), a.alloc(t, p, of64)
	var mine Round
	err := a.FreeRound(one, &mine)
	require.NoError(t, err)
	var his Round
	err = b.FreeRound(two, &his)
	require.NoError(t, err)
	require.Equal(t, two, b.next(&his))
	require.Equal(t, one, a.next(&mine))
}

func TestRound_Refused(t *testing.T) {
	a := newTable(t, 12, 3, 3)
	p := a.page(t, of64)
	off := a.alloc(t, p, of64)
	require.True(t, a.MakeRun(1, 2, a.me))
	for _, bad := range []uint64{0, 8, off + 8, off + 64, a.g.End(3), a.RunAt(2)} {
		err := a.FreeRound(bad, new(Round))
		require.ErrorIs(t, err, ErrNotAllocated)
	}
	var r Round
	err := a.FreeRound(a.RunAt(1), &r)
	require.NoError(t, err)
	require.Zero(t, r.Blocks(), "a run is taken apart")
	err = a.FreeRound(a.RunAt(1), new(Round))
	require.ErrorIs(t, err, ErrNotAllocated)
}

// Several on one page at a time, by rounds of their own, some of them
// collecting: no block is given to two.
func TestRace_Rounds(t *testing.T) {
	for _, class := range []int{0, 4} {
		a := newTable(t, 12, 1, 1)
		p := a.page(t, class)
		var mu sync.Mutex
		owner := make(map[uint64]int)
		var all sync.WaitGroup
		for g := range 4 {
			all.Go(func() {
				me := a.other(g + 1)
				rnd := rand.New(rand.NewPCG(uint64(g), 3))
				var rounds []Round
				var held []uint64
				for range 5000 {
					switch {
					case len(held) > 0 && rnd.IntN(2) == 0:
						off := held[len(held)-1]
						held = held[:len(held)-1]
						mu.Lock()
						delete(owner, off)
						mu.Unlock()
						var r Round
						err := me.FreeRound(off, &r)
						if err != nil {
							t.Error(err)
						} else if r.Blocks() != 0 {
							rounds = append(rounds, r)
						}
					case len(rounds) > 0:
						last := &rounds[len(rounds)-1]
						if off := me.next(last); off != 0 {
							mu.Lock()
							if was, twice := owner[off]; twice {
								t.Errorf("block %#x of %d is given to %d", off, was, g)
							}
							owner[off] = g
							mu.Unlock()
							held = append(held, off)
						} else {
							last.bits = 0
						}
						if last.Blocks() == 0 {
							rounds = rounds[:len(rounds)-1]
						}
					case me.Take(p, class, me.me, &me.at):
						me.Collect(p, class, func() []uint64 { return nil })
						rounds = me.Rounds(p, class, rounds)
						me.Leave(p, class, &me.at)
					}
					if rnd.IntN(20) == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		all.Wait()
		free, used := a.collect(t, p, class)
		require.Equal(t, len(owner), used)
		require.EqualValues(t, a.Classes()[class].All, free+used)
	}
}
