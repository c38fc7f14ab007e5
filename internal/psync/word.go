package psync

import (
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/fault"
)

// Word64 is a word of a segment: 8 bytes, 8-byte aligned, little-endian. Every
// method but Put and StoreRelease is sequentially consistent. Every store is one instruction and
// one tick of a crash test: a process killed there has stored all of it or
// nothing.
type Word64 struct{ v uint64 }

// Load returns the word.
func (w *Word64) Load() uint64 { return atomic.LoadUint64(&w.v) }

// Store replaces the word.
func (w *Word64) Store(x uint64) {
	fault.Tick()
	atomic.StoreUint64(&w.v, x)
}

// CompareAndSwap replaces the word if it still holds old.
func (w *Word64) CompareAndSwap(old, x uint64) bool {
	fault.Tick()
	return atomic.CompareAndSwapUint64(&w.v, old, x)
}

// Swap replaces the word and returns what it held.
func (w *Word64) Swap(x uint64) uint64 {
	fault.Tick()
	return atomic.SwapUint64(&w.v, x)
}

// Add adds d and returns the sum.
func (w *Word64) Add(d uint64) uint64 {
	fault.Tick()
	return atomic.AddUint64(&w.v, d)
}

// Or sets the bits of mask and returns what the word held before.
func (w *Word64) Or(mask uint64) uint64 {
	fault.Tick()
	return atomic.OrUint64(&w.v, mask)
}

// And keeps only the bits of mask and returns what the word held before.
func (w *Word64) And(mask uint64) uint64 {
	fault.Tick()
	return atomic.AndUint64(&w.v, mask)
}
