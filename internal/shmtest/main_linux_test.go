package shmtest

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/shm"
)

func TestMain(m *testing.M) { Main(m, roles) }

var roles = map[string]func(args []string) int{"filler": filler, "litterer": litterer}

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

// litterer is a test binary that is killed with a segment in its hands.
func litterer([]string) int {
	hasMain = true
	startSweeper()
	o := little()
	name := namePrefix(os.Getpid()) + "x"
	_, err := arena.Create(name, o)
	Must(err)
	runtime.GC() // the sweeper is not to hear of it
	time.Sleep(10 * time.Millisecond)
	runtime.GC()
	Say("%s", name)
	select {}
}

// TestSweeper: what a killed test binary has left is removed.
func TestSweeper(t *testing.T) {
	c := Start(t, "litterer")
	name, ok := c.Line()
	require.True(t, ok)
	for range 100 {
		require.True(t, listed(t, name), "it lives")
		time.Sleep(time.Millisecond)
	}
	c.Kill()
	for limit := time.Now().Add(patience); listed(t, name); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(limit), "%s is still there", name)
	}
}

func listed(t *testing.T, name string) bool {
	t.Helper()
	all, err := shm.List("")
	require.NoError(t, err)
	return slices.ContainsFunc(all, func(s shm.Info) bool { return s.Name == name })
}
