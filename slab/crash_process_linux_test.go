//go:build crash

package slab_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["operate"] = operate
	roles["recover"] = recoverRole
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
