//go:build crash

package hashmap

import (
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["striker"] = striker
	roles["halter"] = halter
}

// strokes are what a child does when it is killed; all keys of 16 bytes are in
// one chain.
var strokes = map[string]func(m *Map[string, []byte]) error{
	"insert":   storing(key16(99), "new"),
	"replace":  storing(hot, "new"),
	"delete":   deleting(hot),
	"large":    storing(hot, string(make([]byte, 5000))),
	"overflow": storing(key16(98), "new"),
}

// touched is the key that a stroke changes.
func touched(stroke string) string {
	switch stroke {
	case "insert":
		return key16(99)
	case "overflow":
		return key16(98)
	default:
		return hot
	}
}

func openStruck(name string) *Map[string, []byte] {
	a, err := arena.Open(name, nil)
	shmtest.Must(err)
	m, err := Open[string, []byte](a, "m", nil)
	shmtest.Must(err)
	m.secrets = colliding(16)
	return m
}

// striker opens the map and does one thing.
func striker(args []string) int {
	m := openStruck(args[0])
	shmtest.Arm()
	shmtest.Must(strokes[args[1]](m))
	return 0
}

// halter does the same, but halts at a tick until it is told to go on.
func halter(args []string) int {
	m := openStruck(args[0])
	k, _ := strconv.ParseInt(args[2], 10, 64)
	fault.Reset()
	fault.SetHook(func(tick int64) {
		if tick == k {
			shmtest.Say("halts")
			shmtest.Hear()
		}
	})
	shmtest.Must(strokes[args[1]](m))
	fault.Reset()
	shmtest.Say("done")
	shmtest.Hear()
	return 0
}

// ground is a map that children strike, and its parent's handle on it.
type ground struct {
	t      *testing.T
	a      *arena.Arena
	m      *Map[string, []byte]
	stalls atomic.Int64
}

func newGround(t *testing.T) *ground {
	g := &ground{t: t}
	g.a = shmtest.Named(t, &arena.Options{Size: 64 << 10, MaxSize: 512 << 10, Processes: 4, Objects: 8,
		OnStall: func(arena.Stall) { g.stalls.Add(1) }})
	g.m = create[string, []byte](t, g.a, "m", &Options{Capacity: 50})
	collide(t, 16, &g.m.table)
	return g
}

// reset puts the map in the state in which each child finds it: hot and a few
// others; for an overflow a full bucket.
func (g *ground) reset(stroke string) {
	for k := range g.m.All() {
		_, err := g.m.Delete(k)
		require.NoError(g.t, err)
	}
	n := 3
	if stroke == "overflow" {
		n = bucketSlots
	}
	for i := range n {
		require.NoError(g.t, g.m.Store(key16(i), []byte("old")))
	}
}

// survive uses the map at once after a child was killed, and returns how long
// the first Store took.
func (g *ground) survive(stroke string) time.Duration {
	k := touched(stroke)
	v, ok := g.m.Load(k)
	switch {
	case !ok:
		require.NotEqual(g.t, "replace", stroke)
		require.NotEqual(g.t, "large", stroke)
	case k == hot:
		require.Contains(g.t, []string{"old", "new", string(make([]byte, 5000))}, string(v))
	default:
		require.Equal(g.t, "new", string(v))
	}
	start := time.Now()
	require.NoError(g.t, g.m.Store(k, []byte("mine")))
	took := time.Since(start)
	g.settled(k, "mine")
	return took
}

// settled checks the map, then the whole arena when the dead are gone.
func (g *ground) settled(k, want string) {
	v, ok := g.m.Load(k)
	require.True(g.t, ok)
	require.Equal(g.t, want, string(v))
	require.NoError(g.t, g.m.Check())
	_, err := g.a.Recover()
	require.NoError(g.t, err)
	shmtest.Clean(g.t, g.a)
	textOfAll(g.t, g.m)
}

// TestCrash_Map_Killed: a child is killed at every tick of its operation, while
// we have the map open; then we use the same key at once, and take over from it
// what it left.
func TestCrash_Map_Killed(t *testing.T) {
	for stroke := range strokes {
		t.Run(stroke, func(t *testing.T) {
			g := newGround(t)
			var longest time.Duration
			shmtest.EachKill(t, 1, func(k int64) *shmtest.Child {
				g.reset(stroke)
				return shmtest.ArmedAt(t, k, "striker", g.a.Name(), stroke)
			}, func(bool) { longest = max(longest, g.survive(stroke)) })
			t.Logf("longest first Store: %s", longest)
		})
	}
}

// store stores in another goroutine, and returns when that has returned or waits
// for the lock.
func (g *ground) store(k, v string) (done chan error, waits bool) {
	done = make(chan error, 1)
	go func() { done <- g.m.Store(k, []byte(v)) }()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); runtime.Gosched() {
		if len(done) == 1 {
			return done, false
		}
		if waiting(&g.m.table) {
			return done, true
		}
	}
	require.FailNow(g.t, "a Store neither returns nor waits")
	return nil, false
}

// TestCrash_Map_KilledBeforeWaiter: a child halts at every tick of its
// operation; we store under the same lock; then the child is killed. Who waits
// gets the lock.
func TestCrash_Map_KilledBeforeWaiter(t *testing.T) {
	g := newGround(t)
	var waited int
	var longest time.Duration
	for k := 1; ; k++ {
		g.reset("overflow")
		child := shmtest.Start(t, "halter", g.a.Name(), "overflow", fmt.Sprint(k))
		if line, _ := child.Line(); line == "done" {
			child.Tell("end")
			require.False(t, child.Wait())
			t.Logf("%d ticks; at %d of them the lock was taken over, in at most %s", k-1, waited, longest)
			require.Greater(t, waited, 5)
			return
		}
		done, waits := g.store(hot, "mine")
		start := time.Now()
		child.Kill()
		require.NoError(t, <-done)
		if waits {
			waited++
			longest = max(longest, time.Since(start))
		}
		g.settled(hot, "mine")
		_, ok := g.m.Load(cold)
		require.True(t, ok)
	}
}

// TestCrash_Map_Stopped: a child is stopped at every tick of its operation.
// Readers go on; who waits for the lock waits, and does not take it.
func TestCrash_Map_Stopped(t *testing.T) {
	g := newGround(t)
	reader := open[string, []byte](t, shmtest.Again(t, g.a, &arena.Options{ReadOnly: true}), "m")
	reader.secrets = g.m.secrets
	reported := false
	for k := 1; ; k++ {
		g.reset("replace")
		child := shmtest.Start(t, "halter", g.a.Name(), "replace", fmt.Sprint(k))
		if line, _ := child.Line(); line == "done" {
			child.Tell("end")
			require.False(t, child.Wait())
			t.Logf("%d ticks", k-1)
			require.True(t, reported)
			return
		}
		child.Stop()
		done, waits := g.store(cold, "mine")
		for range 100 {
			v, ok := reader.Load(hot)
			require.True(t, ok)
			require.Contains(t, []string{"old", "new"}, string(v))
			require.GreaterOrEqual(t, len(textOfAll(t, reader)), 3)
		}
		if waits && !reported {
			for limit := time.Now().Add(time.Minute); g.stalls.Load() == 0; time.Sleep(time.Millisecond) {
				require.Empty(t, done, "a lock was taken from the living")
				require.True(t, time.Now().Before(limit), "no report; the first one comes after a second")
			}
			require.Empty(t, done, "a lock was taken from the living")
			_, err := g.a.Recover()
			require.NoError(t, err)
			reported = true
		}
		child.Cont()
		child.Tell("go")
		require.NoError(t, <-done)
		child.Expect("done")
		child.Tell("end")
		require.False(t, child.Wait())
		v, ok := g.m.Load(hot)
		require.True(t, ok)
		require.Equal(t, "new", string(v))
		g.settled(cold, "mine")
	}
}
