//go:build linux

package psync

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	futexOpWait = 0 // not PRIVATE: the word is shared between processes
	futexOpWake = 1
)

// futexWait sleeps while the low half of the word holds low, at most d. It may
// return early for any reason; the caller looks again. It blocks a thread.
func futexWait(w *Word64, low uint32, d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	// The low half comes first: segments are little-endian.
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.v)), futexOpWait,
		uintptr(low), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// futexWake wakes up to n sleepers of the word.
func futexWake(w *Word64, n int) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.v)), futexOpWake,
		uintptr(n), 0, 0, 0)
}
