//go:build !amd64 || race

package psync

import (
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/fault"
)

// Put is an ordered store for a word that nobody relies on before a later store
// by the same thread publishes it. It is a plain store on amd64; here it is an
// atomic one, for the machine's weaker order or for the race detector.
func (w *Word64) Put(x uint64) {
	fault.Tick()
	atomic.StoreUint64(&w.v, x)
}

// StoreRelease is a store that publishes: whoever sees it, also after the death
// of this process, sees every store before it. It is not for a word by which two
// wait for each other ("I store mine, then I look at yours"), though here, where
// it is an atomic store, it would do.
func (w *Word64) StoreRelease(x uint64) {
	fault.Tick()
	atomic.StoreUint64(&w.v, x)
}

// Give gives the flag back. Whoever takes it next sees what was stored before.
func (f *Flag) Give() { atomic.StoreUint32(&f.v, 0) }
