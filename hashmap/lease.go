package hashmap

import (
	"fmt"
	"unicode/utf8"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// The table of leases, behind the stripes. A key has eight places in it, one after
// another in cyclic order, and at most one of them holds its lease: who claims one
// has the stripe of the key locked, and has looked at all eight. Keys of other
// stripes want the same places, therefore a place is taken by a compare-and-swap.
//
// A lease is taken from who holds it if he is dead, or if its time is over; by the
// key's next loader if that one wants the same key, by any other if no place is
// free. An error that is remembered goes last.

// leaseProbes is how many places a key has.
const leaseProbes = 8

// keyID is what a lease stores of a key: two hashes, so that not even keys of one
// hash are taken for each other.
type keyID struct{ h, print uint64 }

func (t *table) identify(key mem.Ptr, n uint64) keyID {
	s := &t.secrets
	turned := secrets{s[1], s[3], s[0] | 1, s[2]}
	return keyID{hashKey(key, n, s), hashKey(key, n, &turned)}
}

// verdict is what came of a claim.
type verdict int

const (
	granted verdict = iota // it is ours: load
	there                  // the value is in the map
	held                   // somebody loads
	failed                 // somebody has loaded, and the error is remembered
	crowded                // no place
)

// claim is a lease, as granted or as found.
type claim struct {
	verdict verdict
	off     uint64 // of the lease; 0: none
	word    uint64 // of its holder
	ticket  uint64
	until   uint64
	old     uint64 // what the slot of the key held, with an entry that is there
	expires uint64 // deadline of that entry
	print   uint64 // hash of its value
}

// isOthers reports whether a word of the holder is of another claim. The ticket is
// raised a moment after the word is stored.
func (c *claim) isOthers(word uint64) bool { return (word^c.word)&leaseTicket != 0 }

// leaseOff returns where a place of a key is.
func (t *table) leaseOff(id keyID, probe uint64) uint64 {
	i := (id.h>>24 + probe) & (t.plan.leases - 1)
	return t.object.Ref() + t.plan.leasesOff() + i*leaseSize
}

func (t *table) lease(off uint64) *lease { return mem.Cast[lease](t.base.Add(off)) }

// lend claims the lease of a key, under the lock of its stripe. What the dead one
// holds is free.
func (t *table) lend(id keyID, length uint64, dead psync.ID) claim {
	for {
		now := t.clock.now()
		c := t.choose(id, now, dead)
		if c.verdict != granted || t.seize(&c, id, now, length) {
			return c
		}
	}
}

// seize makes the chosen place ours, if it is still as it was.
func (t *table) seize(c *claim, id keyID, now, length uint64) bool {
	l := t.lease(c.off)
	c.ticket++
	mine := uint64(t.floor.Owner.ID()) | c.ticket<<ticketShift&leaseTicket
	if !l.holder.CompareAndSwap(c.word, mine|leaseClaimed) { // survivor: a place of the dead, for no key
		return false
	}
	c.word, c.until = mine|leaseLoading, now+min(length, ^now)
	l.ticket.Store(c.ticket)
	l.hash.Store(id.h)
	l.print.Store(id.print)
	l.until.Store(c.until)
	l.holder.Store(c.word) // survivor: the lease of a dead one, who has stored nothing
	return true
}

// choose finds the lease of a key, or the best place for one.
func (t *table) choose(id keyID, now uint64, dead psync.ID) claim {
	best, rank := claim{verdict: crowded}, 0
	for i := range uint64(leaseProbes) {
		off := t.leaseOff(id, i)
		l := t.lease(off)
		c := claim{off: off, word: l.holder.Load(), ticket: l.ticket.Load(), until: l.until.Load()}
		state, holder := c.word&leaseState, psync.IDOf(c.word)
		free := holder == 0 || holder == dead || state == leaseIdle || state >= leaseDone
		late := c.until <= now
		known := state == leaseFailed && l.forget.Load() > now
		score := 0
		switch same := state >= leaseLoading && l.hash.Load() == id.h && l.print.Load() == id.print; {
		case same && !free && !late:
			c.verdict = held
			return c
		case same && !free && state == leaseTelling: // stopped there: it is not taken from him, and not waited for
			c.verdict = crowded
			return c
		case same && known:
			c.verdict = failed
			return c
		case same:
			return c
		case free && !known:
			score = 3
		case state == leaseLoading && late:
			score = 2
		case known:
			score = 1
		}
		if score > rank {
			best, rank = c, score
		}
	}
	return best
}

// deadHolder returns one who is dead and in the way of a key.
func (t *table) deadHolder(id keyID) psync.ID {
	for i := range uint64(leaseProbes) {
		holder := psync.IDOf(t.lease(t.leaseOff(id, i)).holder.Load())
		if holder != 0 && t.isDead(holder) {
			return holder
		}
	}
	return 0
}

func (t *table) isDead(id psync.ID) bool {
	alive, err := t.floor.Owner.Alive(id)
	return !alive && err == nil
}

// owns reports whether nobody has taken the lease over. Who has none, for want of
// a place, is not in anybody's way.
func (t *table) owns(c *claim) bool {
	return c.off == 0 || t.lease(c.off).holder.Load() == c.word && t.lease(c.off).ticket.Load() == c.ticket
}

// yield gives a lease back that is still ours, and wakes who waits for it.
func (t *table) yield(c *claim, state uint64) {
	if c.off == 0 || !t.owns(c) {
		return
	}
	l := t.lease(c.off)
	l.holder.CompareAndSwap(c.word, c.word&leaseTicket|state) // survivor: a lease that nobody holds
	psync.Wake(&l.holder)
}

// tellFailure gives a lease back with the reason why the load failed, which is
// remembered until then.
func (t *table) tellFailure(c *claim, message string, forget uint64) {
	if c.off == 0 || !t.owns(c) {
		return
	}
	l := t.lease(c.off)
	if !l.holder.CompareAndSwap(c.word, c.word&^leaseState|leaseTelling) { // survivor: the lease of a dead one
		return
	}
	message = cut(message)
	l.forget.Store(forget) // survivor: the same, and a part of a message that nobody reads
	l.length.Store(uint64(len(message)))
	mem.CopyInString(t.base.Add(c.off+messageOff), message)
	l.holder.Store(c.word&leaseTicket | leaseFailed) // survivor: the error, as long as it is remembered
	psync.Wake(&l.holder)
}

// told returns the error of a lease that was found to have failed; nil if that
// is over.
func (t *table) told(c *claim) error {
	l := t.lease(c.off)
	text := make([]byte, min(l.length.Load(), messageSize))
	mem.CopyOut(text, t.base.Add(c.off+messageOff))
	if word := l.holder.Load(); l.ticket.Load() != c.ticket || c.isOthers(word) || word&leaseState != leaseFailed {
		return nil
	}
	return &LoadError{Message: string(text)}
}

// cut shortens a message to what a lease has room for.
func cut(s string) string {
	if len(s) <= messageSize {
		return s
	}
	n := messageSize
	for n > messageSize-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// checkLeases looks for what no lease can say.
func (t *table) checkLeases() error {
	for i := range t.plan.leases {
		l := t.lease(t.leaseOff(keyID{}, i))
		word, length := l.holder.Load(), l.length.Load()
		if state := word & leaseState; state > leaseUnstored || length > messageSize {
			return fmt.Errorf("lease %d is in state %d, its message has %d bytes", i, state, length)
		}
	}
	return nil
}
