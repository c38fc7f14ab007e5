package psync

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
)

// Positions of the byte locks, far beyond any file.
const (
	// SegmentByte is A: shared by who attaches, exclusive to who removes.
	SegmentByte uint64 = 1 << 62

	lifeByte  uint64 = SegmentByte + 1<<16
	claimByte uint64 = SegmentByte + 2<<16
)

// States of a slot.
const (
	slotFree      = 0 // nothing of the last attach is left
	slotAttaching = 1 // incarnation raised, life byte not yet known to be held
	slotLive      = 2
	slotRetired   = 3 // incarnations used up; never claimed again
)

// ErrNoSlot says that every slot of the table is in use.
var ErrNoSlot = errors.New("no free process slot")

// Table is the slot table of a segment as one attach sees it, with the byte
// locks of that attach.
type Table struct {
	view   *mem.View
	off    uint64 // of the first slot word
	stride uint64
	n      int
	high   *Word64 // one more than the highest slot ever claimed
	locks  Bytes

	mu   sync.Mutex // one attach or recovery at a time in this process (B6)
	self int        // the slot that locks itself holds, or -1: never probed, never recovered
}

// NewTable returns the table of n slots whose words begin at off, stride bytes
// apart. The words must lie within the view.
func NewTable(v *mem.View, off, stride uint64, n int, high *Word64, locks Bytes) *Table {
	return &Table{view: v, off: off, stride: stride, n: n, high: high, locks: locks, self: -1}
}

// Len returns the number of slots.
func (t *Table) Len() int { return t.n }

// High returns a bound on the slots that were ever claimed.
func (t *Table) High() int { return int(min(t.high.Load(), uint64(t.n))) }

func (t *Table) word(s int) *Word64 {
	return mem.Must[Word64](t.view, t.off+uint64(s)*t.stride)
}

func slotWord(incarnation uint32, state uint64) uint64 {
	return uint64(incarnation)<<32 | state
}

// Current returns the id that a slot holds now or held last, and whether the
// slot is in use (alive or not).
func (t *Table) Current(s int) (ID, bool) {
	w := t.word(s).Load()
	state := w & 0xff
	return MakeID(s, uint32(w>>32)), state == slotAttaching || state == slotLive
}

// Alive reports whether the attach that id names lives. Dead is final; alive
// may be outdated at once, so ask again. An attach must not ask about itself:
// open-file-description locks never conflict with themselves, so its own byte
// reads as free (B6); [Owner.Alive] knows that.
func (t *Table) Alive(id ID) (bool, error) {
	s := id.Slot()
	if s < 0 || s >= t.n {
		return false, nil
	}
	if uint32(t.word(s).Load()>>32) != id.Incarnation() {
		return false, nil
	}
	return t.locks.Held(lifeByte+uint64(s), 1)
}

// AnyAlive reports whether any attach but the caller's holds a slot.
func (t *Table) AnyAlive() (bool, error) {
	return t.locks.Held(lifeByte, uint64(t.n))
}

// Attach claims a slot: one that is free if there is one, otherwise one whose
// attach is dead. settle mends what the dead attach left in the slot, under the
// identity of the new one; it may refuse, then another slot is tried. Whoever
// is stopped while claiming is skipped, not awaited.
func (t *Table) Attach(settle func(me *Owner, dead ID) error) (*Owner, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for round := 1; ; round++ {
		before := t.changes()
		o, refused := t.attachOnce(settle)
		switch {
		case o != nil:
			return o, nil
		case refused != nil:
			return nil, fmt.Errorf("%w: all %d are in use or wait for recovery (%w)", ErrNoSlot, t.n, refused)
		case round == attachRounds || t.changes() == before && !t.moving(): // otherwise a free slot may have moved past us
			return nil, fmt.Errorf("%w: all %d are in use", ErrNoSlot, t.n)
		}
		time.Sleep(time.Duration(round) * 50 * time.Microsecond)
	}
}

// attachRounds bounds how often Attach looks for a slot while others come and
// go: 10 ms, since one of them may be stopped.
const attachRounds = 20

// moving reports whether anybody is coming, leaving or mending: he may hold a
// byte of a slot that is about to be free.
func (t *Table) moving() bool {
	for s := range t.n {
		if state := t.state(s); state != slotLive && state != slotRetired {
			return true
		}
		if held, err := t.locks.Held(claimByte+uint64(s), 1); held && err == nil {
			return true
		}
	}
	return false
}

// changes returns a number that is another one after anybody came or went.
func (t *Table) changes() (sum uint64) {
	for s := range t.n {
		sum += t.word(s).Load()
	}
	return sum
}

// attachOnce tries the free slots, then all of them, and returns the last reason
// why one that nobody lives in was refused.
func (t *Table) attachOnce(settle func(*Owner, ID) error) (_ *Owner, refused error) {
	for _, onlyFree := range []bool{true, false} {
		for s := range t.n {
			if onlyFree && t.state(s) != slotFree {
				continue
			}
			o, err := t.try(s, settle)
			if o != nil {
				return o, nil
			}
			if err != nil {
				refused = err
			}
		}
	}
	return nil, refused
}

func (t *Table) state(s int) uint64 { return t.word(s).Load() & 0xff }

// try claims slot s and enters it. Nil and no error: it is not to be had.
func (t *Table) try(s int, settle func(*Owner, ID) error) (*Owner, error) {
	claimed, err := t.claim(s)
	if !claimed || err != nil {
		return nil, err
	}
	o, err := t.enter(s, settle)
	return o, errors.Join(err, t.locks.Unlock(claimByte+uint64(s)))
}

// claim takes C(s) unless L(s) or C(s) is held. Who only finds somebody alive
// leaves C(s) alone: others would think the slot is being claimed.
func (t *Table) claim(s int) (bool, error) {
	if held, err := t.locks.Held(lifeByte+uint64(s), 1); held || err != nil {
		return false, err
	}
	c := claimByte + uint64(s)
	ok, err := t.locks.TryLock(c)
	if !ok || err != nil {
		return false, err
	}
	held, err := t.locks.Held(lifeByte+uint64(s), 1)
	if held || err != nil {
		return false, errors.Join(err, t.locks.Unlock(c))
	}
	return true, nil
}

// enter makes a claimed slot ours. The incarnation rises before the life byte
// is taken (B7), and only then is settled what the dead left: their id is dead
// for everybody by then, and ours can take their locks over.
func (t *Table) enter(s int, settle func(*Owner, ID) error) (*Owner, error) {
	w := t.word(s)
	before := w.Load()
	inc := uint32(before >> 32)
	if before&0xff == slotRetired {
		return nil, nil
	}
	if inc == math.MaxUint32 {
		return nil, t.retire(s, before)
	}
	t.raise(uint64(s) + 1)
	w.Store(slotWord(inc+1, slotAttaching)) // survivor: the old id is dead for good, the new one owns nothing
	if ok, err := t.locks.TryLock(lifeByte + uint64(s)); !ok || err != nil {
		return nil, errors.Join(err, fmt.Errorf("slot %d: a foreign process holds its life byte", s))
	}
	o := newOwner(t, MakeID(s, inc+1))
	if before&0xff != slotFree {
		if err := settle(o, MakeID(s, inc)); err != nil {
			return nil, errors.Join(err, t.locks.Unlock(lifeByte+uint64(s)))
		}
	}
	w.Store(slotWord(inc+1, slotLive)) // survivor: state says nothing, the life byte does
	t.self = s
	return o, nil
}

// retire ends a slot whose incarnations are used up: never again may an id be
// the same as one that somebody may still have stored.
func (t *Table) retire(s int, word uint64) error {
	if word&0xff != slotFree {
		return fmt.Errorf("slot %d: incarnations used up, and not settled", s)
	}
	t.word(s).Store(slotWord(math.MaxUint32, slotRetired))
	return nil
}

// raise lifts the high-water mark of claimed slots to at least n. It is raised
// before the slot's first record is written, so scans up to it miss nothing.
func (t *Table) raise(n uint64) {
	for h := t.high.Load(); h < n; h = t.high.Load() {
		t.high.CompareAndSwap(h, n)
	}
}

// Recover settles every slot whose attach is dead, under the identity of me,
// and returns how many it freed. Slots that settle refuses stay as they are,
// for the next one.
func (t *Table) Recover(me *Owner, settle func(me *Owner, dead ID) error) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	var errs []error
	for s := range t.High() {
		if state := t.state(s); s == t.self || state == slotFree || state == slotRetired {
			continue
		}
		freed, err := t.recoverSlot(s, me, settle)
		if freed {
			n++
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}

func (t *Table) recoverSlot(s int, me *Owner, settle func(*Owner, ID) error) (freed bool, err error) {
	claimed, err := t.claim(s)
	if !claimed || err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.locks.Unlock(claimByte+uint64(s))) }()
	word := t.word(s).Load()
	if state := word & 0xff; state == slotFree || state == slotRetired {
		return false, nil
	}
	inc := uint32(word >> 32)
	if err := settle(me, MakeID(s, inc)); err != nil {
		return false, err
	}
	t.word(s).Store(slotWord(inc, slotFree)) // survivor: nothing left to do
	return true, nil
}

// Detach frees the slot of a living attach that has let go of everything: its
// operations have ended and nothing of the slot is left open. The table may be
// another one than the slot was claimed through, with the same locks.
func (t *Table) Detach(id ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.word(id.Slot()).Store(slotWord(id.Incarnation(), slotFree)) // survivor: a dead slot with nothing in it
	t.self = -1
	return t.locks.Unlock(lifeByte + uint64(id.Slot()))
}
