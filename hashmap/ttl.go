package hashmap

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// Entries with a deadline. From its deadline on an entry is not there, for every
// verb: it is not found, not compared with, not added to, not yielded. Its memory
// is another matter: it is freed when its key is written; when its bucket is full
// or its segment to be split; when the arena is full; or by PurgeExpired.
//
// The deadline is a word of the entry, the one that is changed in place: by one
// store, under the lock of the stripe. So a survivor finds the old one or the new.
//
// What has expired is found without a timer, and without an order of deadlines. The
// first line of a segment has seven words, each the earliest deadline of every seventh
// bucket, or one before it. A new deadline lowers it, before it is there; who has looked
// at those buckets, because it had passed, and has freed what there was, raises it. So
// where nothing has expired nobody looks further than that line; and who looks in vain,
// because the deadline was put off or its entry is gone, is the last one.

// StoreTTL is Store for an entry that is there for so long only; 0 is for ever. A
// duration below 0 is refused.
func (m *Map[K, V]) StoreTTL(k K, v V, ttl time.Duration) error {
	until, err := m.until(ttl)
	if err != nil {
		return err
	}
	return m.store(&k, &v, until)
}

// Expire gives the entry of a key so long to live, from now on; 0 is for ever. It
// reports whether the key is there. It blocks as Store does, and needs no room. If the
// old deadline passes in that moment, a reader may miss the key, and find it later.
func (m *Map[K, V]) Expire(k K, ttl time.Duration) (bool, error) {
	until, err := m.until(ttl)
	if err != nil {
		return false, err
	}
	key, n := m.key(&k)
	op, _, err := m.begin(key, n, nil)
	if err != nil {
		return false, err
	}
	defer op.End()
	return m.reset(key, n, hashKey(key, n, &m.secrets), until)
}

// Persist has the entry of a key live for ever, and reports whether it is there.
func (m *Map[K, V]) Persist(k K) (bool, error) { return m.Expire(k, 0) }

// TTL returns how long the entry of a key will live, 0 if for ever, and whether it
// is there. Like Load it takes no lock and stores nothing.
func (m *Map[K, V]) TTL(k K) (left time.Duration, ok bool) {
	key, n := m.key(&k)
	if n > m.maxKey {
		return 0, false
	}
	h := hashKey(key, n, &m.secrets)
	for try := 0; ; try++ {
		f := m.observe(key, n, h)
		if !f.hit {
			return 0, false
		}
		until := mem.Load64(f.entry.Sub(entryHeader + pad8(n) - deadlineOff))
		if m.stands(&f) {
			runtime.KeepAlive(m)
			if left, ok := m.left(until); ok {
				return left, true
			}
			// It has expired since it was found, or was replaced before it did.
		}
		m.again(try)
	}
}

// left returns how long it is until a deadline. When there was an entry a moment
// ago and it is over now, it is not there any more.
func (t *table) left(until uint64) (time.Duration, bool) {
	if until == 0 {
		return 0, true
	}
	now := t.clock.now()
	if until <= now {
		return 0, false
	}
	return time.Duration(min(until-now, math.MaxInt64)), true
}

// until returns the deadline of what is to live so long.
func (t *table) until(ttl time.Duration) (uint64, error) {
	if ttl < 0 {
		return 0, fmt.Errorf("hashmap %q: time to live %v: want 0 or more", t.object.Name(), ttl)
	}
	if ttl == 0 {
		return 0, nil
	}
	if t.floor.Pool != nil && t.head.expiring.Load() == 0 && t.stay() == nil {
		t.head.expiring.Store(1) // survivor: looks for deadlines in vain
		t.leave()
	}
	if now := t.clock.now(); uint64(ttl) < math.MaxUint64-now {
		return now + uint64(ttl), nil
	}
	return 0, nil
}

// usual is the deadline of what is stored without one.
func (t *table) usual() uint64 {
	if t.plan.ttl == 0 {
		return 0
	}
	return t.clock.now() + t.plan.ttl
}

// expired reports whether the deadline of an entry has passed.
func (t *table) expired(e mem.Ptr) bool {
	deadline := mem.Cast[psync.Word64](e.Add(deadlineOff))
	for until := deadline.Load(); until != 0 && t.hasPassed(until); {
		was := until
		if until = deadline.Load(); until == was { // and had not been put off before
			return true
		}
	}
	return false
}

func (t *table) hasPassed(until uint64) bool { return until <= t.clock.now() }

func (t *table) deadline(ref uint64) *psync.Word64 {
	return mem.Cast[psync.Word64](t.base.Add(ref + deadlineOff))
}

// reset changes the deadline of a key.
func (t *table) reset(key mem.Ptr, n, h, until uint64) (bool, error) {
	var g guard
	if err := t.lock(h, &g); err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil || !at.live {
		return false, err
	}
	lapses(t.earliest(&g.seg, at.index), until)
	g.begin(at)
	t.deadline(at.old & offsetMask).Store(until)          // survivor: the new deadline
	at.bucket.version.Store(at.bucket.version.Load() + 1) // who decided by the old one looks again
	g.stripe.end()
	return true, nil
}

// PurgeExpired frees up to n entries whose deadline has passed, and returns how
// many. It goes on where the last call of this handle has ended, once around at
// most, and looks at a line of each segment on its way; it locks a stripe only where a
// deadline has passed. Nobody has to call it: what is in the way is freed anyway.
func (m *Map[K, V]) PurgeExpired(n int) (int, error) {
	if m.floor.Pool == nil {
		return 0, ErrReadOnly
	}
	if err := m.err(); err != nil {
		return 0, err
	}
	return m.purge(n)
}

// purgeSome makes room when the arena is full.
func (t *table) purgeSome() bool {
	n, err := t.purge(purgeAtOnce)
	return n > 0 && err == nil
}

// purgeAtOnce is how many expired entries a write frees at most when there is no
// room for it.
const purgeAtOnce = 64

func (t *table) purge(n int) (freed int, err error) {
	if t.head.expiring.Load() == 0 {
		return 0, nil
	}
	t.purging.Lock()
	defer t.purging.Unlock()
	for start, around := t.purged, false; freed < n && !around; {
		s, err := t.purgeSegment(t.purged, n, &freed)
		if err != nil || s.Buckets == 0 {
			return freed, err
		}
		size := uint64(1) << (63 - s.Depth) << 1
		next := t.purged&-size + size
		around = next-start < next-t.purged // start lies between
		t.purged = next
	}
	return freed, nil
}

// purgeSegment frees expired entries of the segment of a hash, and returns it.
func (t *table) purgeSegment(h uint64, n int, freed *int) (tree.Segment, error) {
	d, s, err := t.peek(h)
	if err != nil || s.Buckets == 0 || !t.mayExpire(&s) {
		return s, err
	}
	op, err := t.slab.Begin()
	if err != nil {
		return s, err
	}
	defer op.End()
	var g guard
	if err := t.lock(h, &g); err != nil {
		return s, err
	}
	defer g.unlock()
	if g.seg.Word != s.Word || tree.SideOf(d.Version) != g.side {
		return g.seg, nil // it was replaced; the next call finds it
	}
	*freed += g.sweep(&op, n-*freed)
	return s, nil
}

// mayExpire reports, without a lock, whether a deadline in the segment has passed. It
// may read rubbish, and then be wrong.
func (t *table) mayExpire(s *tree.Segment) bool {
	for group := range uint64(lapseGroups) {
		if earliest := t.earliest(s, group).Load(); earliest != 0 && t.hasPassed(earliest) {
			return true
		}
	}
	return false
}

// earliest returns what the first line of a segment knows of the deadlines in bucket i,
// and in others.
func (t *table) earliest(s *tree.Segment, i uint64) *psync.Word64 {
	return &mem.Cast[first](t.base.Add(s.Off)).earliest[i%lapseGroups]
}

// lapses tells of a deadline, if it is not 0.
func lapses(earliest *psync.Word64, deadline uint64) {
	if old := earliest.Load(); deadline != 0 && (old == 0 || deadline < old) {
		earliest.Put(deadline) // survivor: looks for it perhaps in vain
	}
}

// eachLapsed calls f with each slot of the segment whose entry has expired by now, under
// the lock, until it returns false. f may unlink it.
func (g *guard) eachLapsed(now uint64, f func(b *bucket, i uint64, slot int, word uint64) bool) {
	for group := range uint64(lapseGroups) {
		w := g.t.earliest(&g.seg, group)
		if earliest := w.Load(); earliest == 0 || earliest > now {
			continue
		}
		next := uint64(0)
		for i := group; i < g.seg.Buckets; i += lapseGroups {
			b := g.t.bucket(&g.seg, i)
			for slot := range b.slots {
				word := b.slots[slot].Load()
				until := g.t.untilOf(word)
				switch {
				case until == 0:
				case until > now:
					if next == 0 || until < next {
						next = until
					}
				case !f(b, i, slot, word):
					return
				}
			}
		}
		w.Put(next) // survivor: no deadline is earlier
	}
}

// untilOf returns the deadline of the entry that a slot leads to, 0 if there is none.
func (t *table) untilOf(word uint64) uint64 {
	off := word & offsetMask
	if off == 0 || !t.within(off, entryHeader) {
		return 0
	}
	return t.deadline(off).Load()
}

func (t *table) wordExpired(word uint64) bool {
	off := word & offsetMask
	return t.within(off, entryHeader) && t.expired(t.base.Add(off))
}

// sweep frees up to n expired entries of the segment, under the lock.
func (g *guard) sweep(op *slab.Op, n int) (freed int) {
	g.eachLapsed(g.t.clock.now(), func(b *bucket, i uint64, slot int, word uint64) bool {
		if freed == n {
			return false
		}
		g.unlink(op, &place{bucket: b, index: i, slot: uint64(slot), old: word})
		freed++
		return true
	})
	return freed
}

// expiredIn finds a slot of a bucket whose entry has expired.
func (g *guard) expiredIn(b *bucket, i uint64, at *place) bool {
	if g.t.head.expiring.Load() == 0 {
		return false
	}
	for slot := range b.slots {
		if word := b.slots[slot].Load(); word != 0 && g.t.wordExpired(word) {
			at.set(b, i, uint64(slot), word, false)
			return true
		}
	}
	return false
}
