package hashmap

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/slab"
)

// How a value that is not there is loaded by one, of all goroutines of all
// processes that want it.
//
//	1  look for it, as Load does
//	2  join the goroutines of this process that want it (flight.go): one goes on,
//	   the others wait for him
//	3  lock the stripe of the key; look again; claim the key's lease (lease.go),
//	   which raises its ticket; unlock
//	4  load, with nothing locked, no record open
//	5  reserve a block and fill it
//	6  lock the stripe; is the lease still ours, by holder and ticket?
//	7  store the entry, as Store does        the value is there
//	8  give the lease back, wake who sleeps on it; unlock
//
// Who finds the lease taken sleeps on its holder word, 10 ms at most, and looks
// again: is the value there, has the word changed, is its holder alive, is the
// lease's time over? Steps 3 and 6 to 8 are under the same lock. So who claims a
// lease finds it held, or the value that its holder has stored: a load is not
// repeated because somebody has looked at the wrong moment. And a loader whose
// lease was taken over does not store: his value is older than what the other one
// will store, or has stored.
//
// A survivor finds a lease whose holder is dead, with a value in the map (after 7)
// or without one. In both cases he looks at the map first and takes the lease over
// if he has to, by a compare-and-swap of the word that he has judged; nothing is
// to be mended. Whoever is short of a place in the table does the same. A loader
// that is stopped, or stuck, loses his lease when its time is over; the word is
// another one then, and his ticket is not the last one.
//
// A load that fails leaves its message in the lease, for those who wait, and, if
// errors are to be remembered, for those who come. Who waits knows by the ticket
// that it is the answer to the load that he has waited for.
//
// The lease with a ticket is that of Nishtala et al., Scaling Memcache at
// Facebook; that a lease needs a fencing token is Kleppmann's point.

// FetchOptions say how [Map.Fetch] loads. All who fetch from a map should use the
// same ones.
type FetchOptions struct {
	// TTL is how long a loaded value is fresh; 0 is the map's TTL.
	TTL time.Duration
	// Stale is how long after that it is still there: it is returned to
	// everybody but one, who loads it anew meanwhile. It takes a TTL.
	Stale time.Duration
	// ErrorTTL is how long an error of load is remembered: it is returned instead
	// of loading again, as a [LoadError]. 0: who waits for the load gets it, who
	// comes later loads.
	ErrorTTL time.Duration
	// Lease is how long a load may take before another process, or goroutine, may
	// load as well; 0 is 30 s.
	Lease time.Duration
}

const (
	usualLease   = 30 * time.Second
	longestSleep = 10 * time.Millisecond // until a lease's holder is judged again
)

// terms are options that were looked at.
type terms struct {
	ttl      time.Duration // of an entry, stale time included; 0: for ever
	stale    uint64
	errorTTL uint64
	lease    uint64
}

// Fetch returns the value of a key. If it is not there, load is called, with the
// context, by one goroutine of one process, and its value is stored; everybody
// else who fetches the key meanwhile waits for it and returns the same. A key that
// is there costs no more than a Load, if there is no Stale.
//
// No lock is held while load runs. It may panic: then, and when its process is
// killed, one of the others calls his own. So does one of them when the lease of
// the load is over; what the first one comes to then is returned to him, unless
// there is a newer one, and not stored. Nor is it if somebody has stored a value
// meanwhile: then that is returned. load must not fetch the same key.
//
// An error of load is returned to its caller and to all who wait, in other
// processes as a [LoadError]; but when the context of the caller has ended, the
// error is his alone, and another one loads. The error of the context is returned
// to who has waited. If there is no room for the value, or the handle was closed,
// it is returned together with the error: whoever can do without it being stored
// looks at the value.
//
// With Stale, a value that is not fresh any more is loaded anew by one of those who
// fetch it. He waits for load, all others get the old value. So does he if it
// fails; with an ErrorTTL the next try is after that.
//
// No more than 8 to 128 loads are under way as one, depending on the capacity of
// the map; when there is no lease left, load is called at once, perhaps
// by several. A remembered error takes a lease as well, but gives way. On an arena
// opened read-only Fetch returns ErrReadOnly.
func (m *Map[K, V]) Fetch(ctx context.Context, k K, load func(context.Context, K) (V, error), o *FetchOptions) (v V, err error) {
	if m.floor.Pool == nil {
		return v, ErrReadOnly
	}
	if (o == nil || o.Stale == 0) && m.LoadInto(k, &v) {
		return v, nil
	}
	p, err := m.terms(o)
	if err != nil {
		return v, err
	}
	for {
		v, fresh, ok, err := m.freshness(&k, &p)
		if err != nil || fresh {
			return v, err
		}
		if err := ctx.Err(); err != nil && !ok {
			return v, err
		}
		f, first := m.flights.join(k)
		got, said, err := v, false, error(nil)
		switch {
		case first:
			got, said, err = m.lead(ctx, k, f, load, &p, ok)
		case !ok:
			got, said, err = m.follow(ctx, k, f)
		}
		switch {
		case ok && (!said || err != nil): // stale, and nothing better
			return v, nil
		case said || err != nil:
			return got, err
		}
	}
}

// terms looks at options.
func (t *table) terms(o *FetchOptions) (p terms, err error) {
	if o == nil {
		o = new(FetchOptions)
	}
	if o.TTL < 0 || o.Stale < 0 || o.ErrorTTL < 0 || o.Lease < 0 {
		return p, fmt.Errorf("hashmap %q: fetch: %+v: want 0 or more", t.object.Name(), *o)
	}
	p = terms{ttl: o.TTL, stale: uint64(o.Stale), errorTTL: uint64(o.ErrorTTL), lease: uint64(o.Lease)}
	if p.ttl == 0 {
		p.ttl = time.Duration(t.plan.ttl)
	}
	if p.ttl != 0 {
		p.ttl = max(p.ttl, p.ttl+o.Stale) // the sum may be too large
	}
	if p.lease == 0 {
		p.lease = uint64(usualLease)
	}
	return p, nil
}

// freshness is Load that says, besides, whether the value is fresh.
func (m *Map[K, V]) freshness(k *K, p *terms) (v V, fresh, ok bool, err error) {
	key, n := m.key(k)
	if err := m.checkSizes(n, 0); err != nil {
		return v, false, false, err
	}
	h := hashKey(key, n, &m.secrets)
	for try := 0; ; try++ {
		f := m.observe(key, n, h)
		if !f.hit {
			return *new(V), false, false, m.err()
		}
		until := mem.Load64(f.entry.Sub(entryHeader + pad8(n) - deadlineOff))
		m.copyValue(f.entry, f.value, &v)
		if m.stands(&f) {
			runtime.KeepAlive(m)
			return v, m.isFresh(until, p), true, nil
		}
		m.again(try)
	}
}

func (t *table) isFresh(until uint64, p *terms) bool {
	if until == 0 || p.stale == 0 {
		return true
	}
	now := t.clock.now()
	return until > now && until-now > p.stale // it may be more than an int64 holds
}

// lead goes for the value, for all goroutines of this process that want it. stale:
// there is one, so that it does not wait for others. said: v and err are the answer.
func (m *Map[K, V]) lead(ctx context.Context, k K, f *flight[V], load func(context.Context, K) (V, error), p *terms, stale bool) (v V, said bool, err error) {
	defer m.flights.leave(k, f)
	for dead := psync.ID(0); ; {
		c, err := m.claim(&k, p, f, dead)
		if stale && c.verdict == held && m.isDead(psync.IDOf(c.word)) {
			dead = psync.IDOf(c.word)
			continue
		}
		switch {
		case err != nil:
			return v, false, err
		case c.verdict == granted:
			return m.carry(ctx, k, f, load, p, &c)
		case c.verdict == there || stale && c.verdict != crowded:
			return v, false, nil
		case c.verdict == held:
			c.verdict, dead, err = m.await(ctx, &c)
		case c.verdict == crowded && dead == 0:
			if dead = m.deadHolder(m.idOf(&k)); dead != 0 {
				continue
			}
		}
		switch {
		case err != nil:
			return v, false, err
		case c.verdict == there:
			return v, false, nil
		case c.verdict == failed:
			if err := m.told(&c); err != nil && m.err() == nil {
				return m.say(f, v, err)
			}
			dead = 0 // it was forgotten just now
		case c.verdict == crowded && stale:
			return v, false, nil
		case c.verdict == crowded:
			c = claim{until: m.clock.now() + p.lease}
			m.flights.loads(f, &c)
			return m.carry(ctx, k, f, load, p, &c)
		}
	}
}

func (m *Map[K, V]) idOf(k *K) keyID {
	key, n := m.key(k)
	return m.identify(key, n)
}

// say makes v and err the answer for all who wait for the flight.
func (m *Map[K, V]) say(f *flight[V], v V, err error) (V, bool, error) {
	f.said, f.v, f.err = true, m.private(v), err
	return v, true, err
}

// private returns a value that the caller may change.
func (m *Map[K, V]) private(v V) V {
	if m.bytesValue {
		mem.SetBytes(&v, bytes.Clone(mem.AsBytes(&v)))
	}
	return v
}

// claim goes for the lease of a key: step 3.
func (m *Map[K, V]) claim(k *K, p *terms, f *flight[V], dead psync.ID) (c claim, err error) {
	key, n := m.key(k)
	id := m.identify(key, n)
	op, _, err := m.begin(key, n, nil)
	if err != nil {
		return c, err
	}
	defer op.End()
	var g guard
	if err := m.lock(id.h, &g); err != nil {
		return c, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, id.h)
	if err != nil {
		return c, err
	}
	expires, print := uint64(0), uint64(0)
	if at.live {
		if expires = m.deadline(at.old & offsetMask).Load(); m.isFresh(expires, p) {
			return claim{verdict: there}, nil
		}
		if print, err = m.printOf(at, n); err != nil {
			return c, err
		}
	}
	c = m.lend(id, p.lease, dead)
	if at.live {
		c.old, c.expires, c.print = at.old, expires, print
	}
	if c.verdict == granted {
		m.flights.loads(f, &c) // with the record in hand: a Close that comes now gives the lease back
	}
	return c, nil
}

// await waits for a lease that another process holds. It returns what has become
// of it: there says that one should look; granted, that it is to be claimed again.
func (t *table) await(ctx context.Context, c *claim) (_ verdict, dead psync.ID, err error) {
	defer runtime.KeepAlive(t)
	l, holder := t.lease(c.off), psync.IDOf(c.word)
	for {
		word, ticket := l.holder.Load(), l.ticket.Load()
		if t.dead() {
			return 0, 0, t.ended()
		}
		switch state := word & leaseState; {
		case ticket != c.ticket || c.isOthers(word) || state == leaseDone || state == leaseIdle:
			return there, 0, nil
		case state == leaseFailed:
			return failed, 0, nil
		case state == leaseUnstored:
			return crowded, 0, nil
		case c.until <= t.clock.now():
			return granted, 0, nil
		case t.isDead(holder):
			return granted, holder, nil
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		psync.Wait(&l.holder, word, longestSleep)
	}
}

// carry loads, and stores what was loaded: steps 4 to 8.
func (m *Map[K, V]) carry(ctx context.Context, k K, f *flight[V], load func(context.Context, K) (V, error), p *terms, c *claim) (v V, said bool, err error) {
	given := false
	defer func() {
		if !given { // a panic, or the context has ended
			_ = m.under(func() { m.yield(c, leaseIdle) })
		}
	}()
	v, err = load(ctx, k)
	if err != nil {
		if ctx.Err() != nil {
			return *new(V), false, err
		}
		given = true
		message := err.Error()
		_ = m.under(func() { m.tellFailure(c, message, m.errorUntil(p)) })
		return m.say(f, *new(V), err)
	}
	kept, err := m.keep(&k, &v, p, c)
	given = true
	if err != nil {
		_ = m.under(func() { m.yield(c, leaseUnstored) })
		return m.say(f, v, fmt.Errorf("the value was loaded, but not stored: %w", err))
	}
	if !kept {
		m.replaced(&k, &v)
	}
	return m.say(f, v, nil)
}

// replaced sets *v to the value that is there, if one is.
func (m *Map[K, V]) replaced(k *K, v *V) {
	var other V
	if m.LoadInto(*k, &other) {
		*v = other
	}
}

// errorUntil returns until when an error is remembered.
func (t *table) errorUntil(p *terms) uint64 {
	if p.errorTTL == 0 {
		return 0
	}
	now := t.clock.now()
	return now + min(p.errorTTL, ^now)
}

// under runs f with a record: while it is out, the memory of the map stays what
// it is.
func (t *table) under(f func()) error {
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	if t.dead() {
		return t.ended()
	}
	f()
	return nil
}

// keep stores what was loaded, unless it comes too late, and reports whether it
// did: steps 5 to 8.
func (m *Map[K, V]) keep(k *K, v *V, p *terms, c *claim) (kept bool, err error) {
	key, n := m.key(k)
	h := hashKey(key, n, &m.secrets)
	until, err := m.until(p.ttl)
	if err != nil {
		return false, err
	}
	for {
		op, ref, err := m.begin(key, n, v)
		if err != nil {
			return false, err
		}
		m.deadline(ref).Put(until)
		kept, err = m.land(&op, key, n, h, ref, c)
		op.End()
		if err != errCrowded {
			return kept, err
		}
		if err := m.relieve(key, n, h); err != nil {
			return false, err
		}
	}
}

// printOf returns a hash of the value of the entry that locate has found.
func (t *table) printOf(at *place, n uint64) (uint64, error) {
	p, size, err := t.valueOf(at, n)
	if err != nil {
		return 0, err
	}
	return hashBytes(p, size, &t.secrets), nil
}

// land stores a filled entry, if the lease is still ours and the key is as it was
// when that was claimed, and gives the lease back. Its slot and its deadline may be
// those of then though it was changed, twice: a block comes back, and Compute leaves the
// deadline. Then the value is compared.
func (t *table) land(op *slab.Op, key mem.Ptr, n, h, ref uint64, c *claim) (kept bool, err error) {
	var g guard
	if err := t.lock(h, &g); err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil || !t.owns(c) {
		return false, err
	}
	same := at.live && at.old == c.old && t.deadline(at.old&offsetMask).Load() == c.expires
	if same {
		print, err := t.printOf(at, n)
		if err != nil {
			return false, err
		}
		same = print == c.print
	}
	if !at.live || same {
		if err := g.link(op, at, h, ref); err != nil {
			return false, err
		}
		kept = true
	}
	t.yield(c, leaseDone)
	return kept, nil
}
