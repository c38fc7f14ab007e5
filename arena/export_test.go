package arena

import "github.com/shmkit/shmkit/internal/intent"

// Enter begins an operation, as the methods do that store into the segment.
func (a *Arena) Enter() error { return a.enter() }

// Exit ends it.
func (a *Arena) Exit() { a.exit() }

// Raise raises the limit of the view to n.
func (a *Arena) Raise(n uint64) { a.raise(n) }

// Die drops the locks of an attach, as the kernel does at its death.
func Die(a *Arena) { _ = a.locks.Close() }

// StopInRemove does what Remove does, up to the store of the name, and stays there.
func StopInRemove(a *Arena, object string) {
	_ = a.head.dirLock.Lock(a.owner, nil)
	a.entry(a.find(object)).word.And(^intent.NameMask)
}
