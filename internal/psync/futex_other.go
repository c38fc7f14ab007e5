//go:build !linux

package psync

import "time"

const poll = time.Millisecond

// futexWait polls where there is no futex that works between processes.
func futexWait(w *Word64, low uint32, d time.Duration) {
	for end := time.Now().Add(d); uint32(w.Load()) == low && time.Now().Before(end); {
		time.Sleep(poll)
	}
}

func futexWake(*Word64, int) {}
