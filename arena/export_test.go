package arena

// Enter begins an operation, as the methods do that store into the segment.
func (a *Arena) Enter() error { return a.enter() }

// Exit ends it.
func (a *Arena) Exit() { a.exit() }

// Raise raises the limit of the view to n.
func (a *Arena) Raise(n uint64) { a.raise(n) }
