package shmtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
)

func TestMain(m *testing.M) { Main(m, roles) }

var roles = map[string]func(args []string) int{"filler": filler}

// filler is killed in its init function.
func filler(args []string) int {
	o := little()
	o.Init = func(a *arena.Arena) error {
		Must(fillUpTo(a, 3))
		Say("full")
		select {}
	}
	_, err := arena.OpenOrCreate(args[0], o)
	Must(err)
	return 0
}

// Somebody waits for an initialiser, which is killed: it starts afresh, and
// nothing of the dead one is left.
func TestB16_InitKilledWhileOthersWait(t *testing.T) {
	name := Name(t)
	c := Start(t, "filler", name)
	c.Expect("full")
	o := little()
	o.Init = func(a *arena.Arena) error { return fillUpTo(a, 3) } // there is room beside what the dead left
	waiting := make(chan struct{})
	o.OnStall = func(arena.Stall) {
		select {
		case <-waiting:
		default:
			close(waiting)
		}
	}
	opened := make(chan *arena.Arena)
	go func() {
		a, err := arena.OpenOrCreate(name, o)
		if err != nil {
			t.Error(err)
		}
		opened <- a
	}()
	select {
	case <-waiting:
	case <-time.After(time.Minute):
		t.Fatal("it does not wait")
	}
	c.Kill()
	a := <-opened
	require.NotNil(t, a)
	r := Clean(t, a)
	require.Len(t, r.Objects, 3)
	require.Equal(t, 6, r.Blocks)
	require.Zero(t, r.Garbage)
	require.NoError(t, a.Close())
}
