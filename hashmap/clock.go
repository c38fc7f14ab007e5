package hashmap

import (
	"time"

	"github.com/shmkit/shmkit/internal/psync"
)

// The time of a map. Deadlines are nanoseconds of a clock that runs as the
// machine's monotonic one, so setting the wall clock changes none of them; while
// the machine sleeps it stands still. It is the same one in all time namespaces. A map in a file outlives the machine's run:
// whoever opens it first after a restart moves its clock on, by what the wall
// clock has moved on since the map was made.

// origin is where the clock of a map begins, so that no deadline is 0.
const origin = uint64(time.Hour)

// clock turns the machine's time into that of a map.
type clock struct {
	shift uint64        // added to the machine's time
	fake  func() uint64 // for tests: instead of both
}

func (c *clock) now() uint64 {
	if c.fake != nil {
		return c.fake()
	}
	return machineTime() + c.shift
}

// watch is what a map stores of its clock.
type watch struct {
	shift psync.Word64 // of the clock; by the holder of the tree's swap lock
	wall  psync.Word64 // wall clock at the clock's origin, nanoseconds since 1970
	boot  psync.Word64 // the run of the machine that shift is for; after shift
}

// wind starts the clock of a new map.
func (w *watch) wind(boot uint64) {
	w.shift.Store(origin - machineTime())
	w.wall.Store(uint64(time.Now().UnixNano()) - origin)
	w.boot.Store(boot)
}

// read returns the clock, and whether it must be moved on first, since the machine
// was started again.
func (w *watch) read(boot uint64) (c clock, behind bool) {
	if w.boot.Load() == boot {
		return clock{shift: w.shift.Load()}, false
	}
	return clock{shift: w.moved()}, true
}

// moveOn moves the clock on, if nobody has done so.
func (w *watch) moveOn(boot uint64) clock {
	if w.boot.Load() != boot {
		w.shift.Store(w.moved()) // survivor: a clock of a run that is over; moves it on again
		w.boot.Store(boot)
	}
	return clock{shift: w.shift.Load()}
}

// moved returns what shift must be now. A wall clock that was set back far
// leaves the map at its origin.
func (w *watch) moved() uint64 {
	passed := int64(uint64(time.Now().UnixNano()) - w.wall.Load())
	return max(uint64(max(passed, 0)), origin) - machineTime()
}

// setClock starts the clock of a handle.
func (t *table) setClock() (err error) {
	boot, behind := bootID(), false
	t.clock, behind = t.head.watch.read(boot)
	if behind && t.floor.Pool != nil {
		err = t.underLock(t.tree.Swap(), t.tree.SwapAt(), func() error {
			t.clock = t.head.watch.moveOn(boot)
			return nil
		})
	}
	return err
}
