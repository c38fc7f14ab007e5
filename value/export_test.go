package value

import "runtime"

// LostStore stores x as a writer does that is killed before it raises the change
// word.
func LostStore(v *Value[uint64], x uint64) { v.root.word.Store(x) }

// Adder returns the rest of an Add that was stopped before its store.
func Adder(c *Counter) func(n uint64) {
	cell := c.cell.Load()
	return func(n uint64) {
		cell.Add(n)
		runtime.KeepAlive(c)
	}
}

// Asleep reports whether a goroutine of this handle sleeps on the change word, and
// whether others are parked behind it.
func Asleep(v *Value[uint64]) (asleep, parked bool) { return v.watch.turn.State() }

// Watched reports whether the value's watched flag is set.
func Watched(v *Value[uint64]) bool { return v.root.watched.Load() != 0 }

// SetChange sets the change word.
func SetChange(v *Value[uint64], change uint64) { v.root.change.Store(change) }

// Cells returns what the cells of a counter hold.
func Cells(c *Counter) (counts [cells]uint64) {
	for i := range counts {
		counts[i] = c.root.cells[i].count.Load()
	}
	return counts
}
