// Package fault counts the steps of a shared operation, so that a test can end
// the process between any two of them.
//
// A survivor of a crash sees a prefix of what the dead process stored. To try
// every prefix, each shared store a survivor relies on, and each system call it
// relies on, is preceded by [Tick]. Without the build tag "crash" a tick
// compiles to nothing. With it, ticks are numbered from one, and a test chooses
// one of two deaths:
//
//	real    SetKill(k) or SHMKIT_KILL_AT=k: the k-th tick from now sends SIGKILL
//	        to this very process and never returns. Nothing is flushed, no
//	        deferred call runs: this is the death the library promises to survive.
//	frozen  SetHook(f): f runs at each tick, before the store it announces, and
//	        may copy the segment. The copy is what a survivor would have found.
//
// Both look at the same moment: after store k-1 and before store k. A run that
// ends with Count() == n has n such moments, and one more after its last store.
//
// A reader stores nothing, so it has no ticks, and its death harms nobody; but what it
// has read may be out of date when it goes on. Where a path has no other place for a
// test to hold it, a [Pause] stands between its reads: SetPause(f) has f run there.
//
// The state is a handful of globals. Concurrent ticks are counted exactly, yet a
// numbered tick means something only when one goroutine does the work, so tests
// that arm this package run one after another. Ticks made by the hook itself are
// neither counted nor hooked: a hook may run a recovery on its copy.
package fault
