package psync_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// The smallest segment that psync can live in: slots, a lock, and a pair of
// words that the lock guards. They are equal whenever nobody is inside.
const (
	worldSlots = 4
	worldSize  = 8192

	highAt  = 0
	lockAt  = 64
	leftAt  = 128
	rightAt = 192
	slotsAt = 1024
	stride  = 128
)

// segment is what a world needs of a segment of shmtest.
type segment interface {
	View() *mem.View
	Locks() (psync.Bytes, error)
}

// world is a segment as one process sees it.
type world struct {
	seg   segment
	view  *mem.View
	lock  *psync.Mutex
	left  *psync.Word64
	right *psync.Word64
}

func newWorld(seg segment) *world {
	v := seg.View()
	return &world{
		seg: seg, view: v, lock: mem.Must[psync.Mutex](v, lockAt),
		left: mem.Must[psync.Word64](v, leftAt), right: mem.Must[psync.Word64](v, rightAt),
	}
}

func heapWorld(t testing.TB) *world { return newWorld(shmtest.RawHeap(t, worldSize)) }

func (w *world) word(s int) *psync.Word64 {
	return mem.Must[psync.Word64](w.view, slotsAt+uint64(s)*stride)
}

func (w *world) table(locks psync.Bytes) *psync.Table {
	return psync.NewTable(w.view, slotsAt, stride, worldSlots, mem.Must[psync.Word64](w.view, highAt), locks)
}

// process is one attach, which stands for a process of its own.
type process struct {
	*psync.Owner
	w     *world
	locks psync.Bytes
	table *psync.Table
}

// nothing settles a slot that holds nothing.
func nothing(*psync.Owner, psync.ID) error { return nil }

func (w *world) attach(t testing.TB) *process {
	t.Helper()
	return w.attachWith(t, nil, nothing)
}

// attachWith attaches through locks that wrap may watch, with a settle function.
func (w *world) attachWith(t testing.TB, wrap func(psync.Bytes) psync.Bytes, settle func(*psync.Owner, psync.ID) error) *process {
	t.Helper()
	p, err := w.tryAttach(t, wrap, settle)
	require.NoError(t, err)
	return p
}

func (w *world) tryAttach(t testing.TB, wrap func(psync.Bytes) psync.Bytes, settle func(*psync.Owner, psync.ID) error) (*process, error) {
	t.Helper()
	locks, err := w.seg.Locks()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, locks.Close()) })
	if wrap != nil {
		locks = wrap(locks)
	}
	p := &process{w: w, locks: locks, table: w.table(locks)}
	p.Owner, err = p.table.Attach(settle)
	return p, err
}

// die drops every byte lock, as the kernel does for a killed process.
func (p *process) die(t testing.TB) {
	t.Helper()
	require.NoError(t, p.locks.Close())
}

func (p *process) detach(t testing.TB) {
	t.Helper()
	require.NoError(t, p.table.Detach(p.ID()))
	require.NoError(t, p.locks.Close())
}

// acquire takes the world's lock.
func (p *process) acquire(t testing.TB, mend func() error) {
	t.Helper()
	require.NoError(t, p.w.lock.Lock(p.Owner, mend))
	require.Equal(t, p.ID(), p.w.lock.Holder())
}

func consistent(t testing.TB) func() error {
	return func() error {
		t.Error("mended what nobody left half done")
		return nil
	}
}

// mends counts how often it mended.
func mends(n *atomic.Int64) func() error {
	return func() error {
		n.Add(1)
		return nil
	}
}

// watched is byte locks that tell a test what is done with them.
type watched struct {
	psync.Bytes
	before func(op string, b uint64)
	after  func(op string, b uint64)
}

func (w *watched) TryLock(b uint64) (bool, error) {
	return watch(w, "lock", b, func() (bool, error) { return w.Bytes.TryLock(b) })
}

func (w *watched) Unlock(b uint64) error {
	_, err := watch(w, "unlock", b, func() (bool, error) { return true, w.Bytes.Unlock(b) })
	return err
}

func (w *watched) Held(b, n uint64) (bool, error) {
	return watch(w, "probe", b, func() (bool, error) { return w.Bytes.Held(b, n) })
}

func watch(w *watched, op string, b uint64, do func() (bool, error)) (bool, error) {
	if w.before != nil {
		w.before(op, b)
	}
	ok, err := do()
	if w.after != nil {
		w.after(op, b)
	}
	return ok, err
}

// reached waits for a state that is bound to come.
func reached(t testing.TB, what string, state func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !state(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("never reached: %s", what)
		}
	}
}
