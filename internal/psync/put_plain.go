//go:build amd64 && !race

package psync

import (
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/fault"
)

// Put is a plain store for a word that nobody relies on before a later store by
// the same thread publishes it: the fields of a record before its op, a tag
// before its slot. On amd64 stores retire in program order and the compiler
// moves none across an atomic operation, so whoever sees the publishing word
// sees this one.
func (w *Word64) Put(x uint64) {
	fault.Tick()
	w.v = x
}

// StoreRelease is a store that publishes: whoever sees it, also after the death
// of this process, sees every store before it. Unlike Store it may pass later
// loads of other words, so it is not for a word by which two wait for each other
// ("I store mine, then I look at yours").
//
// It is a plain store behind an atomic load, which costs next to nothing, and
// which the compiler leaves where it is. Without it, a store to a word is left
// out if another one to the same word follows with nothing but stores between
// them. TestPut_Order looks at the machine code.
func (w *Word64) StoreRelease(x uint64) {
	fault.Tick()
	_ = atomic.LoadUint64(&w.v)
	w.v = x
}

// Give gives the flag back. Whoever takes it next sees what was stored before.
func (f *Flag) Give() { f.v = 0 }
