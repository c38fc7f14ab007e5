//go:build crash

package arena_test

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["visitor"] = visitor
	roles["stopper"] = stopper
	roles["quitter"] = quitter
	roles["growing"] = growing
	roles["between"] = between
}

func optionsFor(kind string) *arena.Options {
	o := small()
	o.Processes = 2
	switch kind {
	case "last":
		o.Lifetime = arena.RemoveWithLast
	case "init":
		o.Init = func(*arena.Arena) error { return nil }
	case "one":
		o.Processes = 1
	}
	return o
}

var kinds = []string{"keep", "one", "last", "init"}

// visitor opens or creates, and closes.
func visitor(args []string) int {
	a, err := arena.OpenOrCreate(args[0], optionsFor(args[1]))
	shmtest.Must(err)
	shmtest.Must(a.Close())
	return 0
}

// visit is what a survivor does: it comes, finds all in order, and goes.
func visit(t testing.TB, name, kind string) {
	t.Helper()
	a, err := arena.OpenOrCreate(name, optionsFor(kind))
	require.NoError(t, err)
	r := shmtest.Clean(t, a)
	require.Len(t, r.Processes, 1)
	require.NoError(t, a.Close())
	if kind == "last" {
		requireGone(t, name)
	}
}

// A creator is killed at every tick: it leaves the finished arena or nothing,
// and nothing that blocks the next.
func TestCrash_CreateKilled(t *testing.T) {
	for _, kind := range kinds {
		var name string
		shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
			name = shmtest.Name(t)
			return shmtest.KillAt(t, k, "visitor", name, kind)
		}, func(killed bool) {
			if killed {
				_, err := os.Stat("/dev/shm/" + name)
				require.ErrorIs(t, err, os.ErrNotExist, "under another name than its own")
			}
			visit(t, name, kind)
			_ = arena.Remove(name, nil)
			requireGone(t, name)
		})
	}
}

// One who attaches and detaches is killed at every tick, and whoever recovers
// after it is killed at every tick, some of them.
func TestCrash_AttachKilled(t *testing.T) {
	for _, kind := range kinds {
		name := shmtest.Name(t)
		k := int64(0)
		shmtest.EachKill(t, 1, func(at int64) *shmtest.Child {
			k = at
			visit(t, name, kind)
			return shmtest.KillAt(t, at, "visitor", name, kind)
		}, func(killed bool) {
			for j := k%7 + 1; killed && j < 40; j += 7 {
				if !shmtest.KillAt(t, j, "visitor", name, kind).Wait() {
					break
				}
			}
			visit(t, name, kind)
		})
	}
}

// quitter stops itself at a tick of Close.
func quitter(args []string) int {
	k, err := strconv.ParseInt(args[1], 10, 64)
	shmtest.Must(err)
	a, err := arena.OpenOrCreate(args[0], withLast())
	shmtest.Must(err)
	shmtest.Say("%d", nonce(a))
	shmtest.Hear()
	stopAt(k)
	shmtest.Must(a.Close())
	fault.SetHook(nil)
	shmtest.Say("closed")
	return 0
}

// stopper stops itself at a tick of its way in.
func stopper(args []string) int {
	k, err := strconv.ParseInt(args[1], 10, 64)
	shmtest.Must(err)
	stopAt(k)
	a, err := arena.OpenOrCreate(args[0], withLast())
	shmtest.Must(err)
	fault.SetHook(nil)
	shmtest.Say("%d", nonce(a))
	shmtest.Hear()
	shmtest.Must(a.Close())
	shmtest.Say("closed")
	return 0
}

func stopAt(k int64) {
	fault.Reset()
	fault.SetHook(func(n int64) {
		if n == k {
			shmtest.StopHere()
		}
	})
}

// The last process is stopped anywhere on its way out. Meanwhile somebody removes
// the name and makes a new arena: when the old one goes on, the new one keeps
// its name (B9: never by name alone).
func TestCrash_B9b_RemoverDelayed(t *testing.T) {
	for k := int64(1); ; k++ {
		name := shmtest.Name(t)
		c := shmtest.Start(t, "quitter", name, strconv.FormatInt(k, 10))
		old := number(t, c)
		c.Tell("go")
		if line, _ := c.Line(); line != "stopped" {
			require.Equal(t, "closed", line)
			t.Logf("%d ticks", k-1)
			return
		}
		c.Stopped()
		err := arena.Remove(name, nil)
		if errors.Is(err, arena.ErrBusy) {
			// It has the exclusive right to remove. Nobody can put a new one there.
			_, err = arena.Create(name, withLast())
			require.ErrorIs(t, err, os.ErrExist)
			c.Cont()
			c.Expect("closed")
			requireGone(t, name)
			continue
		}
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		a, err := arena.Create(name, withLast())
		require.NoError(t, err)
		require.NotEqual(t, old, nonce(a))
		c.Cont()
		c.Expect("closed")
		removed, err := a.Removed()
		require.NoError(t, err)
		require.False(t, removed, "tick %d: an old remover took the new arena's name", k)
		require.NoError(t, a.Close())
		requireGone(t, name)
	}
}

// Two last ones: one is stopped anywhere on its way out while the other leaves.
func TestCrash_B9c_TwoLast(t *testing.T) {
	for k := int64(1); ; k++ {
		name := shmtest.Name(t)
		a, err := arena.OpenOrCreate(name, withLast())
		require.NoError(t, err)
		c := shmtest.Start(t, "quitter", name, strconv.FormatInt(k, 10))
		require.Equal(t, nonce(a), number(t, c))
		c.Tell("go")
		if line, _ := c.Line(); line != "stopped" {
			require.Equal(t, "closed", line)
			require.NoError(t, a.Close())
			t.Logf("%d ticks", k-1)
			return
		}
		c.Stopped()
		start := time.Now()
		require.NoError(t, a.Close())
		waited := time.Since(start) >= time.Second
		c.Cont()
		c.Expect("closed")
		if waited {
			// The stopped one had the right to remove, and had seen the other
			// alive. That is left to the next opener.
			_, err := arena.Open(name, nil)
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		requireGone(t, name)
	}
}

// Somebody is stopped on its way in, while the name is removed: it must not move
// into what has lost its name. From the second tick on it has the shared lock,
// and the remover waits a second for it.
func TestCrash_B9_AttachRemoved(t *testing.T) {
	const enough = 4
	for k := int64(1); ; k++ {
		name := shmtest.Name(t)
		visit(t, name, "keep")
		a, err := arena.Open(name, nil)
		require.NoError(t, err)
		old := nonce(a)
		c := shmtest.Start(t, "stopper", name, strconv.FormatInt(k, 10))
		line, _ := c.Line()
		require.Equal(t, "stopped", line)
		c.Stopped()
		err = arena.Remove(name, nil)
		if err == nil {
			c.Cont()
			require.NotEqual(t, old, number(t, c), "tick %d: it lives in what was removed before it came", k)
		} else {
			require.ErrorIs(t, err, arena.ErrBusy, "it is coming in")
			c.Cont()
			require.Equal(t, old, number(t, c))
		}
		c.Tell("close")
		c.Expect("closed")
		require.NoError(t, a.Close())
		if k == enough {
			t.Logf("%d ticks", k)
			return
		}
	}
}

// Somebody is stopped anywhere on its way in, while the last process leaves. It
// gets an arena in the end that has its name, and leaves none behind.
func TestCrash_B9_AttacherStopped(t *testing.T) {
	const most = 40 // more than there are; all at a time, since the last one waits a second
	var ticks atomic.Int64
	t.Run("each", func(t *testing.T) {
		for k := int64(1); k <= most; k++ {
			t.Run(strconv.FormatInt(k, 10), func(t *testing.T) {
				t.Parallel()
				if attacherStopped(t, k) {
					ticks.Add(1)
				}
			})
		}
	})
	require.Less(t, ticks.Load(), int64(most))
	t.Logf("%d ticks", ticks.Load())
}

// attacherStopped returns false if there is no such tick.
func attacherStopped(t *testing.T, k int64) bool {
	name := shmtest.Name(t)
	a, err := arena.OpenOrCreate(name, withLast())
	require.NoError(t, err)
	c := shmtest.Start(t, "stopper", name, strconv.FormatInt(k, 10))
	line, ok := c.Line()
	require.True(t, ok)
	if line != "stopped" {
		require.NoError(t, a.Close())
		return false
	}
	c.Stopped()
	require.NoError(t, a.Close(), "it does not wait for the stopped one for ever")
	c.Cont()
	got := number(t, c)
	b, err := arena.Open(name, nil)
	require.NoError(t, err, "it lives in an arena without a name")
	require.Equal(t, got, nonce(b))
	require.NoError(t, b.Close())
	c.Tell("close")
	c.Expect("closed")
	requireGone(t, name)
	return true
}

// growing makes an arena larger until it is full.
func growing(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	shmtest.Arm()
	for err == nil {
		err = insides(a).Grow(insides(a).Pages.Pages() + 1)
	}
	if !errors.Is(err, arena.ErrFull) {
		shmtest.Must(err)
	}
	return 0
}

// Whoever grows the arena is killed at every tick; the next one grows it to its
// limit all the same, and all pages are there.
func TestCrash_GrowKilled(t *testing.T) {
	var a *arena.Arena
	shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
		o := small()
		o.MaxSize = 4 << 20
		a = shmtest.Named(t, o)
		return shmtest.ArmedAt(t, k, "growing", a.Name())
	}, func(bool) {
		_, err := a.Recover()
		require.NoError(t, err)
		f := insides(a)
		for err == nil {
			err = f.Grow(f.Pages.Pages() + 1)
		}
		require.ErrorIs(t, err, arena.ErrFull)
		f.Pages.Rescan()
		r := shmtest.Clean(t, a)
		require.Equal(t, f.Pages.Geometry().MaxPages, r.Pages.Free)
	})
}

// Somebody else grows the arena between any two steps of a grower: no byte that
// was committed is taken back.
func TestCrash_GrowBetween(t *testing.T) {
	for k := int64(1); ; k++ {
		o := small()
		o.MaxSize = 16 << 20
		a := shmtest.Named(t, o)
		c := shmtest.Start(t, "between", a.Name(), strconv.FormatInt(k, 10))
		if line, _ := c.Line(); line != "stopped" {
			require.Equal(t, "grown", line)
			t.Logf("%d ticks", k-1)
			return
		}
		c.Stopped()
		for range 3 {
			require.NoError(t, insides(a).Grow(insides(a).Pages.Pages()+1))
		}
		between := a.Size()
		c.Cont()
		c.Expect("grown")
		require.False(t, c.Wait())
		require.GreaterOrEqual(t, int64(headerWord(a, wordCommitted).Load()), between)
		shmtest.Clean(t, a)
	}
}

// between grows an arena once, and stops itself at a tick of that.
func between(args []string) int {
	k, err := strconv.ParseInt(args[1], 10, 64)
	shmtest.Must(err)
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	stopAt(k)
	shmtest.Must(insides(a).Grow(insides(a).Pages.Pages() + 1))
	fault.SetHook(nil)
	shmtest.Say("grown")
	shmtest.Must(a.Close())
	return 0
}

// Every page that a killed grower committed is found by a rescan.
func TestCrash_GrowFrozen(t *testing.T) {
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		seg := shmtest.Segment(t, small())
		a := shmtest.OnSegment(t, seg, nil)
		return &shmtest.Run{
			Segment: seg,
			Do:      func() { require.NoError(t, insides(a).Grow(a.Floor(nil).(*arena.Floor).Pages.Pages()+1)) },
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				f := insides(a)
				require.NotZero(t, f.Deaths.Load(), "somebody died")
				f.Pages.Rescan()
				_, ok := f.Pages.FindRun(f.Pages.Pages())
				require.True(t, ok, "a page is lost")
			},
		}
	})
}

// Two recover the same dead process at the same time.
func TestCrash_RecoverTogether(t *testing.T) {
	for k := int64(1); ; k++ {
		name := shmtest.Name(t)
		visit(t, name, "keep")
		killed := shmtest.KillAt(t, k, "visitor", name, "keep").Wait()
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				a, err := arena.Open(name, nil)
				if err != nil {
					if !errors.Is(err, arena.ErrBusy) { // two slots, one perhaps being recovered
						t.Error(err)
					}
					return
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		visit(t, name, "keep")
		if !killed {
			t.Logf("%d ticks", k-1)
			return
		}
	}
}
