package psync

import "time"

// Wait sleeps while the low half of the word is that of seen, at most d, and
// may return early for any reason: the caller compares everything it waits for
// and comes again (B18). It blocks a thread: one waiter a process and word.
func Wait(w *Word64, seen uint64, d time.Duration) { futexWait(w, uint32(seen), d) }

// Wake wakes everybody who sleeps on the word.
func Wake(w *Word64) { futexWake(w, 1<<30) }
