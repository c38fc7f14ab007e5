package psync_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestMain(m *testing.M) {
	shmtest.Main(m, roles)
}

var roles = map[string]func(args []string) int{
	"holder": holder,
	"parent": parent,
	"worker": worker,
}

// enter attaches the segment named by the first argument, in a child.
func enter(args []string) (*world, *psync.Owner) {
	w := newWorld(shmtest.OpenRaw(args[0]))
	locks, err := w.seg.Locks()
	shmtest.Must(err)
	o, err := w.table(locks).Attach(nothing)
	shmtest.Must(err)
	return w, o
}

// holder takes the lock and keeps it until it is told to give it back.
func holder(args []string) int {
	w, o := enter(args)
	shmtest.Must(w.lock.Lock(o, nothingMore))
	shmtest.Say("%d", uint64(o.ID()))
	shmtest.Hear()
	w.lock.Unlock()
	shmtest.Say("released")
	return 0
}

// parent is a holder that has started another program.
func parent(args []string) int {
	w, o := enter(args)
	cat := exec.Command("cat")
	cat.Stdin = os.Stdin // so it lives as long as the test says
	shmtest.Must(cat.Start())
	shmtest.Must(w.lock.Lock(o, nothingMore))
	shmtest.Say("%d", uint64(o.ID()))
	select {}
}

func holderID(t testing.TB, c *shmtest.Child) psync.ID {
	t.Helper()
	line, ok := c.Line()
	require.True(t, ok)
	id, err := strconv.ParseUint(line, 10, 64)
	require.NoError(t, err)
	return psync.ID(id)
}

// A stopped holder is alive: it is reported, and never robbed. When it goes on
// the lock is handed over; had it been killed, it would have been taken.
func TestProcess_StoppedHolder(t *testing.T) {
	seg := shmtest.RawNamed(t, worldSize)
	w := newWorld(seg)
	c := shmtest.Start(t, "holder", seg.Name())
	id := holderID(t, c)
	c.Stop()

	p := w.attach(t)
	alive, err := p.Alive(id)
	require.NoError(t, err)
	require.True(t, alive)
	stalls := make(chan psync.Stall, 10)
	p.Stalled = func(s psync.Stall) { stalls <- s }
	got := make(chan error)
	go func() { got <- w.lock.Lock(p.Owner, consistent(t)) }()
	stall := <-stalls
	require.Equal(t, id, stall.Holder)
	require.GreaterOrEqual(t, stall.Waited, time.Second)
	require.Equal(t, id, w.lock.Holder())
	n, err := p.table.Recover(p.Owner, nothing)
	require.NoError(t, err)
	require.Zero(t, n)

	c.Cont()
	c.Tell("go on")
	c.Expect("released")
	require.NoError(t, <-got)
	w.lock.Unlock()
	require.False(t, c.Wait())
}

// A holder that is killed, stopped or not, is dead at once and exactly.
func TestProcess_KilledHolder(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		seg := shmtest.RawNamed(t, worldSize)
		w := newWorld(seg)
		c := shmtest.Start(t, "holder", seg.Name())
		id := holderID(t, c)
		p := w.attach(t)
		if stopped {
			c.Stop()
		}
		c.Kill()
		alive, err := p.Alive(id)
		require.NoError(t, err)
		require.False(t, alive)
		var mended atomic.Int64
		p.acquire(t, mends(&mended))
		require.EqualValues(t, 1, mended.Load())
		w.lock.Unlock()
	}
}

// A program that the holder has started does not inherit its life.
func TestProcess_ExecKeepsNoLife(t *testing.T) {
	if _, err := exec.LookPath("cat"); err != nil {
		t.Skip("no program to start")
	}
	seg := shmtest.RawNamed(t, worldSize)
	w := newWorld(seg)
	c := shmtest.Start(t, "parent", seg.Name())
	id := holderID(t, c)
	p := w.attach(t)
	c.Kill()
	alive, err := p.Alive(id)
	require.NoError(t, err)
	require.False(t, alive)
	var mended atomic.Int64
	p.acquire(t, mends(&mended))
	w.lock.Unlock()
}

// worker changes the pair under the lock until it is killed or told to stop.
// Whoever finds it unequal inside the lock, mended or not, fails.
func worker(args []string) int {
	w, o := enter(args)
	stop := make(chan struct{})
	go func() {
		shmtest.Hear()
		close(stop)
	}()
	shmtest.Say("ready")
	for n := 0; ; n++ {
		select {
		case <-stop:
			return 0
		default:
		}
		shmtest.Must(w.lock.Lock(o, w.mend))
		left, right := w.left.Load(), w.right.Load()
		if left != right {
			shmtest.Fail("%s found %d and %d inside the lock", o.ID(), left, right)
		}
		w.left.Store(left + 1)
		for range rand.N(50) {
			w.left.Load()
		}
		w.right.Store(left + 1)
		w.lock.Unlock()
	}
}

// mend makes the pair whole: what was begun is finished.
func (w *world) mend() error {
	w.right.Store(w.left.Load())
	return nil
}

// Workers are killed at random and started again. Nobody is ever inside beside
// another, and nobody sees half a change.
func TestTorture_Mutex(t *testing.T) {
	length := time.Second
	if text := os.Getenv("SHMKIT_TORTURE"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	seg := shmtest.RawNamed(t, worldSize)
	w := newWorld(seg)
	p := w.attach(t)
	workers := make([]*shmtest.Child, worldSlots-1)
	start := func(i int) {
		_, err := p.table.Recover(p.Owner, nothing)
		require.NoError(t, err)
		workers[i] = shmtest.Start(t, "worker", seg.Name())
		workers[i].Expect("ready")
	}
	for i := range workers {
		start(i)
	}
	kills := 0
	for end := time.Now().Add(length); time.Now().Before(end); kills++ {
		time.Sleep(rand.N(5 * time.Millisecond))
		i := rand.IntN(len(workers))
		workers[i].Kill()
		start(i)
	}
	for _, c := range workers {
		c.Tell("stop")
		require.False(t, c.Wait())
	}
	p.acquire(t, w.mend)
	require.Equal(t, w.left.Load(), w.right.Load())
	t.Logf("%d kills, %d rounds", kills, w.left.Load())
	w.lock.Unlock()
}
