package psync

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
)

// Flags of a lock word, beside the owner's id.
const (
	waiters      uint64 = 1 << 0 // somebody may sleep on the word
	inconsistent uint64 = 1 << 1 // what the lock guards was left half done
)

const (
	spins      = 100                    // polls before sleeping
	firstNap   = 200 * time.Microsecond // bound of the first sleep: then the holder is judged
	longestNap = 10 * time.Millisecond  // bound of every sleep: a wake-up may have died with its sender
	firstStall = time.Second

	settleLimit = 200 * time.Millisecond
)

var (
	// ErrClosed says that the attach was closed while waiting.
	ErrClosed = errors.New("attach is closed")
	// ErrBusy says that a living process kept a lock that was to be settled.
	ErrBusy = errors.New("lock is held by a living process")
)

// Mutex is a robust lock: one word of a segment. The zero word is unlocked.
//
// Taking it free costs one compare-and-swap and no system call. It excludes
// goroutines of one attach as well as processes. When the holder dies, the next
// one to want the lock takes it over and mends what it guards.
type Mutex struct{ w Word64 }

// Lock takes the lock. If its last holder died inside, mend runs before Lock
// returns; when mend fails the lock is given up, marked inconsistent, and the
// error is returned, to this caller and to every later one whose mend fails.
// Lock waits as long as the holder lives, and returns ErrClosed when o closes.
func (m *Mutex) Lock(o *Owner, mend func() error) error {
	if m.w.CompareAndSwap(0, uint64(o.id)) { // survivor: owner is dead, nothing was begun
		return nil
	}
	_, err := m.lockSlow(o, mend, 0)
	return err
}

// LockSoon is Lock that gives up with ErrBusy when a living process keeps the lock.
func (m *Mutex) LockSoon(o *Owner, mend func() error) error {
	if m.w.CompareAndSwap(0, uint64(o.id)) { // survivor: owner is dead, nothing was begun
		return nil
	}
	ok, err := m.lockSlow(o, mend, settleLimit)
	if err == nil && !ok {
		err = ErrBusy
	}
	return err
}

// TryLock takes the lock if nobody has it and nothing is to be mended.
func (m *Mutex) TryLock(o *Owner) bool { return m.w.CompareAndSwap(0, uint64(o.id)) }

// Settle has what a dead holder left mended: it takes the lock, runs mend in
// any case, and gives the lock back. It gives up with ErrBusy when a living
// process keeps the lock: that one has mended, or will.
func (m *Mutex) Settle(o *Owner, mend func() error) error {
	if !m.w.CompareAndSwap(0, uint64(o.id)) {
		if ok, err := m.lockSlow(o, mend, settleLimit); err != nil {
			return err
		} else if !ok {
			return ErrBusy
		}
	}
	err := m.mend(mend)
	if err == nil {
		m.Unlock()
	}
	return err
}

// Unlock gives the lock back. What it guards is whole.
func (m *Mutex) Unlock() {
	if m.w.Swap(0)&waiters != 0 { // survivor: the lock is free; a sleeper wakes by its bound
		futexWake(&m.w, 1)
	}
}

// Abandon gives the lock back with what it guards half done: the next holder
// mends. It is for a panic inside the guarded section.
func (m *Mutex) Abandon() {
	if m.w.Swap(inconsistent)&waiters != 0 {
		futexWake(&m.w, 1)
	}
}

// Holder returns the id in the lock word, zero if nobody holds it.
func (m *Mutex) Holder() ID { return IDOf(m.w.Load()) }

// Consistent reports whether nobody holds the lock or left it half done.
func (m *Mutex) Consistent() bool { return m.w.Load()&(IDMask|inconsistent) == 0 }

// lockSlow waits for the lock, at most limit if that is not 0, and reports
// whether it got it.
func (m *Mutex) lockSlow(o *Owner, mend func() error, limit time.Duration) (bool, error) {
	w := waiter{m: m, o: o, start: time.Now(), nap: firstNap, report: firstStall}
	g := o.enterGate(m, limit)
	if g == nil {
		return false, nil
	}
	defer o.leaveGate(m, g)
	for i := 0; ; i++ {
		if o.Closed() {
			return false, ErrClosed
		}
		word := m.w.Load()
		if IDOf(word) == 0 {
			flags := word & (waiters | inconsistent)                  // nothing else of a damaged word
			if m.w.CompareAndSwap(word, uint64(o.id)|flags|w.slept) { // survivor: owner is dead; the flags still say what is to mend
				return true, m.entered(word, mend)
			}
			continue
		}
		if i < spins {
			if i%16 == 15 {
				runtime.Gosched()
			}
			continue
		}
		taken, err := w.sleep(word)
		if err != nil {
			return false, err
		}
		if taken {
			return true, m.entered(word|inconsistent, mend)
		}
		// Only now: who has lost his processor for that long has not yet judged the holder.
		if limit != 0 && time.Since(w.start) >= limit {
			return false, nil
		}
	}
}

// entered completes an acquisition that found the word with these flags.
func (m *Mutex) entered(word uint64, mend func() error) error {
	if word&inconsistent == 0 {
		return nil
	}
	if err := m.mend(mend); err != nil {
		if errors.Is(err, mem.ErrCorrupt) {
			return err
		}
		return fmt.Errorf("mending what a dead process left: %w", err)
	}
	m.w.And(^inconsistent) // survivor before this: mends again; after: as any holder
	return nil
}

// mend runs f under the lock and abandons the lock if f fails, or panics.
func (m *Mutex) mend(f func() error) (err error) {
	whole := false
	defer func() {
		if !whole {
			m.Abandon()
		}
	}()
	err = f()
	whole = err == nil
	return err
}

// waiter is one goroutine on its way into a lock.
type waiter struct {
	m      *Mutex
	o      *Owner
	slept  uint64 // waiters once it has slept: others may sleep too
	start  time.Time
	nap    time.Duration // bound of the next sleep
	report time.Duration
}

// sleep waits for the word to change, a bounded time, and then judges the
// owner. taken says that the lock was taken over from the dead.
func (w *waiter) sleep(word uint64) (taken bool, err error) {
	if word&waiters == 0 {
		if !w.m.w.CompareAndSwap(word, word|waiters) { // survivor: one wake-up for nothing
			return false, nil
		}
		word |= waiters
	}
	w.slept = waiters
	futexWait(&w.m.w, uint32(word), w.nap)
	w.nap = min(2*w.nap, longestNap)
	if w.m.w.Load() != word {
		return false, nil
	}
	holder := IDOf(word)
	alive, err := w.o.Alive(holder)
	if err != nil {
		return false, fmt.Errorf("judging the lock's holder (%s): %w", holder, err)
	}
	if alive {
		w.complain(holder)
		return false, nil
	}
	// The exact word: whoever was faster, living or dead, has changed it.
	return w.m.w.CompareAndSwap(word, uint64(w.o.id)|waiters|inconsistent), nil
}

func (w *waiter) complain(holder ID) {
	if waited := time.Since(w.start); waited >= w.report && w.o.Stalled != nil {
		w.report *= 2
		w.o.Stalled(Stall{Holder: holder, Waited: waited})
	}
}
