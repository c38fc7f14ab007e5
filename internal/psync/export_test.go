package psync

import "time"

// What the tests look at, and what a death leaves.

const (
	SlotFree      = slotFree
	SlotAttaching = slotAttaching
	SlotLive      = slotLive
	SlotRetired   = slotRetired

	Waiters      = waiters
	Inconsistent = inconsistent
)

// LifeByte returns the position of L(s).
func LifeByte(s int) uint64 { return lifeByte + uint64(s) }

// ClaimByte returns the position of C(s).
func ClaimByte(s int) uint64 { return claimByte + uint64(s) }

// SlotWord returns a slot word.
func SlotWord(incarnation uint32, state uint64) uint64 { return slotWord(incarnation, state) }

// Word returns the lock word.
func (m *Mutex) Word() *Word64 { return &m.w }

// Waiting returns how many goroutines are at the lock's gate.
func (o *Owner) Waiting(m *Mutex) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if g := o.gates[m]; g != nil {
		return g.refs
	}
	return 0
}

// LockIn is LockSoon with another limit; it reports whether it got the lock.
func (m *Mutex) LockIn(o *Owner, mend func() error, limit time.Duration) (bool, error) {
	return m.lockSlow(o, mend, limit)
}
