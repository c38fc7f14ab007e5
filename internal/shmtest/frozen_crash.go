//go:build crash

package shmtest

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/shm"
)

// Run is an operation to be cut off at every tick.
type Run struct {
	// Segment is the heap segment that the operation changes.
	Segment *shm.Segment
	// Do is the operation.
	Do func()
	// Verify looks at the contents of a recovered frame; it has been checked
	// already: no problem, no leak, nobody dead. whole says that the operation
	// had returned.
	Verify func(t *testing.T, a *arena.Arena, whole bool)
	// Recover attaches and recovers a frame; nil: arena.Attach, which does.
	Recover func(t *testing.T, seg *shm.Segment) *arena.Arena
}

// EachTick runs the operation that setup returns, and freezes the segment at
// every tick of it. In a frame everybody is dead. Each one is recovered and
// verified; and each recovery is frozen at every tick in its turn, and those
// frames are recovered and verified too.
func EachTick(t *testing.T, setup func(t *testing.T) *Run) {
	t.Helper()
	run := setup(t)
	frames, ticks := Freeze(run.Segment, run.Do)
	var again, inRecovery int64
	for i, f := range frames {
		whole := i == len(frames)-1
		var second [][]byte
		run.recover(t, f, whole, func(seg *shm.Segment, attach func()) {
			var n int64
			second, n = Freeze(seg, attach)
			inRecovery += n
		})
		for _, g := range second {
			run.recover(t, g, whole, func(_ *shm.Segment, attach func()) { attach() })
			again++
		}
	}
	t.Logf("%d ticks, %d different frames; their recoveries %d ticks, %d different frames",
		ticks+inRecovery, len(frames), inRecovery, again)
}

// recover recovers a frame, by way of do, and verifies it.
func (r *Run) recover(t *testing.T, frame []byte, whole bool, do func(seg *shm.Segment, attach func())) {
	t.Helper()
	seg := Thaw(frame, r.Segment)
	var a *arena.Arena
	do(seg, func() {
		if r.Recover != nil {
			a = r.Recover(t, seg)
			return
		}
		var err error
		a, err = arena.Attach(seg, nil)
		require.NoError(t, err)
	})
	Clean(t, a)
	r.Verify(t, a, whole)
	Clean(t, a)
	require.NoError(t, a.Close())
}

// Freeze runs do and returns the different states of the segment before each
// tick and after the last one, and the number of ticks.
func Freeze(seg *shm.Segment, do func()) (frames [][]byte, ticks int64) {
	keep := func(last bool) {
		b := Frame(seg)
		if last || len(frames) == 0 || !bytes.Equal(b, frames[len(frames)-1]) {
			frames = append(frames, b)
		}
	}
	fault.Reset()
	defer fault.Reset()
	fault.SetHook(func(int64) { keep(false) })
	do()
	fault.SetHook(nil)
	ticks = fault.Count()
	keep(true)
	return frames, ticks
}

// Thaw makes a segment of a frame of another one. Nobody has it open.
func Thaw(frame []byte, of *shm.Segment) *shm.Segment {
	return shm.HeapBytes(frame, of.Reserved())
}

// Frame copies a heap segment with all that is allocated, whatever of it its
// view can see already: the rest holds zeros still.
func Frame(seg *shm.Segment) []byte {
	size, err := seg.Size()
	if err != nil {
		panic(err)
	}
	b := make([]byte, size)
	limit := min(seg.View().Limit(), uint64(size))
	src, err := seg.View().Slice(0, limit)
	if err != nil {
		panic(err)
	}
	mem.CopyOut(b[:limit], mem.PtrOf(src))
	return b
}
