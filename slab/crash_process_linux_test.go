//go:build crash

package slab_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

func init() {
	roles["operate"] = operate
	roles["recover"] = recoverRole
	roles["cut"] = cutRole
}

// operate is a process that is killed while it does a bit of everything.
func operate(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	c, err := openCells(a, sceneCells)
	shmtest.Must(err)
	for i := range 6 {
		shmtest.Must(c.put(i, 1000, 1))
	}
	shmtest.Arm()
	shmtest.Must(c.put(0, 1000, 2)) // replace
	shmtest.Must(c.del(1))
	shmtest.Must(c.put(1, 100, 2))  // another class
	shmtest.Must(c.put(2, 9000, 2)) // a run
	shmtest.Must(c.del(2))
	shmtest.Must(c.put(3, 13000, 2)) // breaks one, makes one
	op, err := c.s.Begin()
	shmtest.Must(err)
	_, err = op.Reserve(500)
	shmtest.Must(err)
	op.End()
	shmtest.Must(a.Close())
	return 0
}

// recoverRole is a process that is killed while it recovers the other one.
func recoverRole(args []string) int {
	shmtest.Arm()
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	_, err = a.Recover()
	shmtest.Must(err)
	shmtest.Must(a.Close())
	return 0
}

// TestCrash_Slab_Process kills a real process at every tick, and after it a
// real recoverer at one of its ticks. This process lives through it all, and
// collects and allocates between the deaths: what it has it keeps, and in the
// end every byte is accounted for.
func TestCrash_Slab_Process(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 300 << 10, Processes: 5, Objects: 8})
	c := createCells(t, a, sceneCells)
	b := &bystander{t: t, a: a, s: c.s}
	at := int64(0)
	shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
		at = k
		return shmtest.ArmedAt(t, k, "operate", a.Name())
	}, func(bool) {
		b.grabSome(12)
		for _, j := range []int64{1 + at*7%45, 1 + at*13%90} {
			shmtest.ArmedAt(t, j, "recover", a.Name()).Wait()
			b.grabSome(6)
		}
		_, err := a.Recover()
		require.NoError(t, err)
		c.check(t)
		quiet(t, c.s)
		b.giveBack(at)
		shmtest.Clean(t, a)
	})
	accountFor(t, a, c)
}

// grabSome takes a few blocks, without being short of memory: it recovers
// nobody.
func (b *bystander) grabSome(n int) {
	for range n {
		for _, size := range []uint64{1000, 100, 500} {
			ref, err := grab(b.s, size)
			require.NoError(b.t, err)
			b.refs = append(b.refs, ref)
		}
	}
}

// cutRole is a process that is killed while it empties a page and cuts it anew.
func cutRole(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	s := slab.Of(a)
	shmtest.Arm()
	for _, arg := range args[1:] {
		ref, err := strconv.ParseUint(arg, 10, 64)
		shmtest.Must(err)
		shmtest.Must(s.Free(ref))
	}
	_, err = grab(s, 1024)
	shmtest.Must(err)
	shmtest.Must(a.Close())
	return 0
}

// A process that was refused remembers pages of no use to it. One of them is cut for what
// it wants by another one, who is killed at each tick, and then taken by others, who
// keep what is free: the first one has all of it.
func TestCrash_Vain_Process(t *testing.T) {
	o := &arena.Options{Size: 100 << 10, Processes: 6, Objects: 8}
	var one, third, fourth *slab.Slab
	shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
		a := shmtest.Named(t, o, shmtest.Unchecked)
		one, third, fourth = slab.Of(a), slab.Of(shmtest.Again(t, a, nil)), slab.Of(shmtest.Again(t, a, nil))
		args := []string{a.Name()}
		seen := make(map[uint64]bool)
		for _, ref := range reserveAll(t, third, 512) {
			if p := one.Floor().Pages.PageAt(ref); !seen[p] {
				seen[p] = true
				require.NoError(t, third.Free(ref))
			} else if len(seen) == 1 {
				args = append(args, strconv.FormatUint(ref, 10))
			}
		}
		_, err := grab(one, 1024)
		require.ErrorIs(t, err, slab.ErrFull)
		return shmtest.ArmedAt(t, k, "cut", args...)
	}, func(bool) {
		deaths := one.Floor().Deaths.Load()
		fault.Reset()
		fault.SetHook(func(int64) { // the first one asks while the third one recovers, and finds all lost hints
			if now := one.Floor().Deaths.Load(); now != deaths {
				deaths = now
				_, _ = haveAll(one, 1024)
			}
		})
		_, _ = grab(third, 1024)
		fault.Reset()
		_, _ = grab(fourth, 1024) // by the hint for everybody, if there is one
		class, _ := one.Floor().Pages.ClassFor(1024)
		want := sure(one, class, pages.None)
		refs, err := haveAll(one, 1024)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(refs), want)
	})
}
