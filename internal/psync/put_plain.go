//go:build amd64 && !race

package psync

import "github.com/shmkit/shmkit/internal/fault"

// Put is a plain store for a word that nobody relies on before a later Store,
// Swap or CompareAndSwap by the same thread publishes it: the fields of a
// record before its op, a tag before its slot. On amd64 stores retire in
// program order and the compiler moves none across an atomic operation, so
// whoever sees the publishing word sees this one.
func (w *Word64) Put(x uint64) {
	fault.Tick()
	w.v = x
}
