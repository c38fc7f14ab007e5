//go:build !amd64 || race

package psync

import (
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/fault"
)

// Put is an ordered store for a word that nobody relies on before a later
// Store, Swap or CompareAndSwap by the same thread publishes it. It is a plain
// store on amd64; here it is an atomic one, for the machine's weaker order or
// for the race detector.
func (w *Word64) Put(x uint64) {
	fault.Tick()
	atomic.StoreUint64(&w.v, x)
}
