//go:build crash

package shmtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
)

// tiny is an arena whose frames are cheap. With one slot only, whoever comes
// after a death takes the slot of the dead.
func tiny(processes int) *arena.Options {
	return &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: processes, Objects: 8}
}

// eachArena runs a frozen test with the slot of the dead to be recovered, and to
// be taken.
func eachArena(t *testing.T, setup func(t *testing.T, o *arena.Options) *Run) {
	for _, processes := range []int{4, 1} {
		t.Run(fmt.Sprintf("%d slots", processes), func(t *testing.T) {
			EachTick(t, func(t *testing.T) *Run {
				run := setup(t, tiny(processes))
				verify := run.Verify
				run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
					r := Clean(t, a)
					require.Zero(t, r.Garbage, "objects without a name that nobody has open")
					require.Len(t, r.Processes, 1)
					verify(t, a, whole)
				}
				return run
			})
		})
	}
}

func names(a *arena.Arena) (names []string) {
	for _, o := range a.Objects() {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return names
}

// requireOneOf wants the objects as they were before or as they are after.
func requireOneOf(t *testing.T, a *arena.Arena, whole bool, before, after []string) {
	t.Helper()
	got := names(a)
	if whole || !slices.Equal(got, before) {
		require.Equal(t, after, got)
	}
	for _, name := range got {
		h, err := openTree(a, name)
		require.NoError(t, err)
		require.NoError(t, h.Close())
	}
}

func TestCrash_Arena_AttachClose(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		return &Run{
			Segment: seg,
			Do: func() {
				a, err := arena.Attach(seg, nil)
				require.NoError(t, err)
				require.NoError(t, a.Close())
			},
			Verify: func(t *testing.T, a *arena.Arena, _ bool) { require.Empty(t, a.Objects()) },
		}
	})
}

func TestCrash_Arena_Create(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil)
		require.NoError(t, tree(t, a, "old", 2, 1).Close())
		return &Run{
			Segment: seg,
			Do: func() {
				_, err := makeTree(a, "new", 3)
				require.NoError(t, err)
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				requireOneOf(t, a, whole, []string{"old"}, []string{"new", "old"})
			},
		}
	})
}

func TestCrash_Arena_Remove(t *testing.T) {
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("open %v", open), func(t *testing.T) {
			eachArena(t, func(t *testing.T, o *arena.Options) *Run {
				seg := Segment(t, o)
				a := OnSegment(t, seg, nil)
				h := tree(t, a, "big", 5, 4)
				require.NoError(t, tree(t, a, "old", 2, 1).Close())
				if !open {
					require.NoError(t, h.Close())
				}
				return &Run{
					Segment: seg,
					Do: func() {
						require.NoError(t, a.Remove("big"))
						require.NoError(t, h.Close())
					},
					Verify: func(t *testing.T, a *arena.Arena, whole bool) {
						requireOneOf(t, a, whole, []string{"big", "old"}, []string{"old"})
						r := Clean(t, a)
						if len(r.Objects) == 1 {
							require.Equal(t, 2, r.Blocks, "what the object had is free")
						} else {
							require.Equal(t, 7, r.Blocks)
						}
					},
				}
			})
		})
	}
}

func TestCrash_Arena_Rename(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil)
		require.NoError(t, tree(t, a, "a", 2, 1).Close())
		return &Run{
			Segment: seg,
			Do:      func() { require.NoError(t, a.Rename("a", "z")) },
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				requireOneOf(t, a, whole, []string{"a"}, []string{"z"})
			},
		}
	})
}

func TestCrash_Arena_RenameReplaces(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil)
		require.NoError(t, tree(t, a, "live", 2, 1).Close())
		require.NoError(t, tree(t, a, "next", 3, 2).Close())
		return &Run{
			Segment: seg,
			Do:      func() { require.NoError(t, a.Rename("next", "live")) },
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				requireOneOf(t, a, whole, []string{"live", "next"}, []string{"live"})
				if r := Clean(t, a); len(r.Objects) == 1 {
					require.EqualValues(t, 8+3*8, r.Objects[0].Size)
					require.Equal(t, 3, r.Blocks)
				}
			},
		}
	})
}

// One block replaced and one taken out: each is there before or after.
func TestCrash_Arena_Link(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil)
		h := tree(t, a, "tree", 3, 2)
		before := [2]uint64{linked(a, h, 0), linked(a, h, 1)}
		return &Run{
			Segment: seg,
			Do: func() {
				require.NoError(t, link(a, h, 0, 500))
				require.NoError(t, link(a, h, 1, 0))
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				h, err := openTree(a, "tree")
				require.NoError(t, err)
				first, second := linked(a, h, 0), linked(a, h, 1)
				if whole || second == 0 {
					require.Zero(t, second)
					require.NotEqual(t, before[0], first)
				} else {
					require.Equal(t, before[1], second)
				}
				require.NoError(t, h.Close())
			},
		}
	})
}

// A block that needs the arena to grow, and a run of pages.
func TestCrash_Arena_Grow(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil)
		h := tree(t, a, "tree", 3, 0)
		small := a.Size()
		return &Run{
			Segment: seg,
			Do: func() {
				require.NoError(t, link(a, h, 0, 70<<10))
				require.Greater(t, a.Size(), small)
				require.NoError(t, link(a, h, 0, 0))
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				h, err := openTree(a, "tree")
				require.NoError(t, err)
				if whole {
					require.Zero(t, linked(a, h, 0))
				}
				// All of it can be had, whatever came in between.
				require.NoError(t, link(a, h, 1, 120<<10))
				require.NoError(t, link(a, h, 1, 0))
				require.NoError(t, h.Close())
			},
		}
	})
}

// A process recovers what another one left; it is killed too.
func TestCrash_Arena_Recover(t *testing.T) {
	eachArena(t, func(t *testing.T, o *arena.Options) *Run {
		o.Processes = max(o.Processes, 2)
		seg := Segment(t, o)
		a := OnSegment(t, seg, nil, Unchecked)
		require.NoError(t, tree(t, a, "kept", 2, 1).Close())
		tree(t, a, "gone", 4, 3)
		require.NoError(t, a.Remove("gone")) // its handle is open
		frames, _ := Freeze(seg, func() {})
		seg = Thaw(frames[0], seg)
		return &Run{
			Segment: seg,
			Do: func() {
				a, err := arena.Attach(seg, nil)
				require.NoError(t, err)
				require.NoError(t, a.Close())
			},
			Verify: func(t *testing.T, a *arena.Arena, _ bool) {
				require.Equal(t, []string{"kept"}, names(a))
			},
		}
	})
}
