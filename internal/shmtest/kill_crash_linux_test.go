//go:build crash

package shmtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
)

func init() {
	roles["carpenter"] = carpenter
	roles["recoverer"] = recoverer
}

// carpenter makes, changes, renames and removes objects.
func carpenter(args []string) int {
	a, err := arena.Open(args[0], nil)
	Must(err)
	Arm()
	h, err := makeTree(a, "chair", 4)
	Must(err)
	Must(link(a, h, 0, 100))
	Must(link(a, h, 1, 20<<10))
	Must(link(a, h, 0, 30))
	Must(a.Rename("chair", "table"))
	Must(link(a, h, 1, 0))
	Must(a.Remove("table"))
	Must(h.Close())
	Must(a.Close())
	return 0
}

func recoverer(args []string) int {
	Arm()
	a, err := arena.Open(args[0], nil)
	Must(err)
	_, err = a.Recover()
	Must(err)
	Must(a.Close())
	return 0
}

// A process is killed at a tick of its work, and so are those who recover, each
// at another tick: the last one finds an arena in order.
func TestCrash_Arena_Killed(t *testing.T) {
	var a *arena.Arena
	var k int64
	EachKill(t, 1, func(at int64) *Child {
		k = at
		a = Named(t, tiny(4))
		require.NoError(t, tree(t, a, "table", 2, 1).Close())
		require.NoError(t, a.Remove("table"))
		return ArmedAt(t, at, "carpenter", a.Name())
	}, func(killed bool) {
		for j := k%5 + 1; killed && j < 200; j += 20 {
			if !ArmedAt(t, j, "recoverer", a.Name()).Wait() {
				break
			}
		}
		_, err := a.Recover()
		require.NoError(t, err)
		r := Clean(t, a)
		require.Zero(t, r.Garbage)
		require.Len(t, r.Processes, 1)
		require.LessOrEqual(t, len(r.Objects), 1)
		require.Equal(t, len(r.Objects) == 0, r.Blocks == 0)
		for _, o := range r.Objects {
			require.NoError(t, a.Remove(o.Name))
		}
		require.Zero(t, Clean(t, a).Blocks)
		require.NoError(t, a.Close())
	})
}

// A process is killed at a tick of its work, and one who lives goes on at once,
// through the locks of the dead, before anybody has recovered its slot.
func TestCrash_Arena_SurvivorGoesOn(t *testing.T) {
	var a *arena.Arena
	EachKill(t, 1, func(k int64) *Child {
		a = Named(t, tiny(4))
		return ArmedAt(t, k, "carpenter", a.Name())
	}, func(bool) {
		h, err := makeTree(a, "fresh", 2)
		require.NoError(t, err)
		require.NoError(t, link(a, h, 0, 200))
		require.NoError(t, link(a, h, 1, 10<<10))
		require.NoError(t, a.Rename("fresh", "table"))
		require.NoError(t, h.Err())
		_, err = a.Recover()
		require.NoError(t, err)
		require.Zero(t, Clean(t, a).Garbage)
		for _, o := range a.Objects() {
			require.NoError(t, a.Remove(o.Name))
		}
		require.NoError(t, h.Close())
		require.Zero(t, Clean(t, a).Blocks)
		require.NoError(t, a.Close())
	})
}
