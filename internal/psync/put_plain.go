//go:build amd64 && !race

package psync

import "github.com/shmkit/shmkit/internal/fault"

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
// It is one plain instruction. The compiler keeps the order of stores to
// different words, and merges only stores to words side by side; that it does
// so is what TestPut_Order looks at.
func (w *Word64) StoreRelease(x uint64) {
	fault.Tick()
	w.v = x
}

// Give gives the flag back. Whoever takes it next sees what was stored before.
func (f *Flag) Give() { f.v = 0 }
