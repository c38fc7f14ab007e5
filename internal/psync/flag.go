package psync

import "sync/atomic"

// Flag is a flag between goroutines of this process: a lock that nobody waits
// for. It is not for segments.
type Flag struct{ v uint32 }

// Taken reports whether somebody has the flag.
func (f *Flag) Taken() bool { return atomic.LoadUint32(&f.v) != 0 }

// TryTake takes the flag if nobody has it.
func (f *Flag) TryTake() bool {
	return atomic.LoadUint32(&f.v) == 0 && atomic.CompareAndSwapUint32(&f.v, 0, 1)
}
