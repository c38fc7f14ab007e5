package hashmap

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// How changes are noticed.
//
// Each stripe counts its changes in a word that is raised twice for each, under the
// stripe's lock: before, to an odd number, and after. The exchange of the whole
// content has such a word too. The version of the map is the sum of their halves: who
// reads it and then the map, and finds something old there, finds a higher version
// later; and when the version is higher, the change can be read.
//
//	1  changes: odd           a survivor finds out that something may have happened
//	2  the change itself, as store.go has it
//	3  changes: even
//	4  unlock; is anybody waiting? wake him
//
// If the writer is killed between 1 and 3 nobody makes up for 3 at once: whoever
// mends the stripe may know nothing of the word. The next change goes on from the
// odd number; and who waits, and finds a number that stays odd, settles the stripe
// and makes it even.
//
// Who waits says so in one word of the map, looks once more, and sleeps on the bell.
// The unlock is a barrier: a writer that does not see that he is awaited has made
// his change before the other one looked. A writer that sees it clears the word,
// raises the bell and wakes all. So while nobody waits a write costs one load more,
// and while somebody does one system call for each time that he comes again. Should
// a writer be killed between 3 and 4, or the word be lost with who has set it, the
// one who waits looks again after 10 ms.
//
// A key has no version of its own: what Encoded's cache goes by does, the place of
// its entry at one version of the bucket and of the tree (cache.go).

// Version returns a number that rises with each change of the map: of an entry, by
// whatever process, of its deadline, and of the whole content. It rises when entries
// are evicted, and when the memory of expired ones is freed, but not at the moment
// when they expire. It is never 0, but if Err is not nil. Take the version first
// and read the map then: [Map.WaitChange] for this version misses nothing. A change by
// a process that was killed in it is counted by whoever waits, or with the next one
// nearby; who only asks again and again may not see it until then.
//
// It takes no lock and stores nothing, but reads a cache line for each stripe, 256
// of them in a large map.
func (m *Map[K, V]) Version() uint64 { return m.changes() }

// WaitChange waits until the version is not since, and returns it; with since 0 at
// once. It ends with the error of the context, and with ErrClosed or ErrRemoved; the
// latter two, a cancelled context, and a change by a process that was killed in it
// are noticed within some 10 ms.
//
//	for version := uint64(0); ; {
//		if version, err = m.WaitChange(ctx, version); err != nil {
//			return err
//		}
//		… // read the map
//	}
//
// On a read-only arena nobody wakes the one who waits: he looks after 0.1 ms, then
// less and less often, every 10 ms in the end.
func (m *Map[K, V]) WaitChange(ctx context.Context, since uint64) (version uint64, err error) {
	err = m.wait(ctx, func() bool {
		version = m.changes()
		return version != since
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// KeyVersion says when a key was written. It can be compared, by ==, with others of
// the same key and the same handle; the zero KeyVersion is that of no key.
type KeyVersion struct {
	at     found
	looked bool
}

// LoadVersion is Load together with the version of the key. If the key is written
// after that, deleted, or expires, [Map.WaitKey] returns. A version may also change
// when another key of the same bucket is written, or when the map grows.
func (m *Map[K, V]) LoadVersion(k K) (v V, version KeyVersion, ok bool) {
	key, n := m.key(&k)
	if n > m.maxKey {
		return v, KeyVersion{looked: true}, false
	}
	h := hashKey(key, n, &m.secrets)
	for {
		f := m.observe(key, n, h)
		if f.hit {
			m.copyValue(f.entry, f.value, &v)
		}
		if m.stands(&f) {
			runtime.KeepAlive(m)
			return v, KeyVersion{f, true}, f.hit
		}
		if v = *new(V); m.dead() {
			return v, KeyVersion{}, false
		}
	}
}

// KeyVersion returns the version of a key without its value.
func (m *Map[K, V]) KeyVersion(k K) KeyVersion {
	key, n := m.key(&k)
	if n > m.maxKey {
		return KeyVersion{looked: true}
	}
	return KeyVersion{m.observe(key, n, hashKey(key, n, &m.secrets)), true}
}

// WaitKey waits until the version of a key is not since, as WaitChange does for the
// map; the zero KeyVersion is none of its versions.
//
//	for {
//		v, version, ok := m.LoadVersion(k)
//		…
//		if err := m.WaitKey(ctx, k, version); err != nil {
//			return err
//		}
//	}
//
// Every write to the map wakes who waits for a key. While others are written all the
// time he looks more and more seldom, every 10 ms in the end.
func (m *Map[K, V]) WaitKey(ctx context.Context, k K, since KeyVersion) error {
	return m.wait(ctx, func() bool { return m.KeyVersion(k) != since })
}

// waits is how the goroutines of this process wait for a map.
type waits struct {
	turn psync.Turn
	odd  []uint64      // by stripe, and the last one of the map: a change that was odd when somebody got up; his who has the turn
	done []uint64      // likewise, on a read-only arena: one that was counted though it was never completed
	late atomic.Uint64 // how many those are
}

// firstSleep is how long one sleeps first whom nobody wakes, or everybody.
const firstSleep = 100 * time.Microsecond

// changes sums up the changes that were completed.
func (t *table) changes() uint64 {
	sum := 1 + t.news.changes.Load()/2 + t.waits.late.Load()
	for i := range t.plan.stripes() {
		sum += t.stripe(t.stripeOff+i*stripeSize).changes.Load() / 2
	}
	if t.dead() {
		return 0
	}
	runtime.KeepAlive(t)
	return sum
}

// wait returns nil as soon as changed says so. It is asked again and again.
func (t *table) wait(ctx context.Context, changed func() bool) error {
	for nap := time.Duration(0); ; nap = min(max(2*nap, firstSleep), longestSleep) {
		if changed() && !t.dead() {
			return nil
		}
		if err := t.err(); err != nil {
			return err
		}
		time.Sleep(nap) // others than the awaited have changed
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.waits.turn.Take(ctx) {
			t.sleep(ctx, changed)
			t.waits.turn.Give()
		}
	}
}

// sleep returns when the bell was rung, or there is something to see.
func (t *table) sleep(ctx context.Context, changed func() bool) {
	pause := longestSleep
	if t.floor.Pool == nil {
		pause = firstSleep
	}
	for ; ; pause = min(2*pause, longestSleep) {
		bell := t.news.bell.Load()
		t.announce()
		if changed() || t.dead() || ctx.Err() != nil {
			return
		}
		psync.Wait(&t.news.bell, bell, pause)
		if t.news.bell.Load() != bell {
			return
		}
		t.complete()
	}
}

// announce says that somebody waits.
func (t *table) announce() {
	if t.floor.Pool == nil || t.stay() != nil {
		return
	}
	if t.news.awaited.Load() == 0 {
		t.news.awaited.Store(1) // survivor: wakes nobody
	}
	t.leave()
}

// ring wakes who waits. The caller has given the lock back, and Close still waits for
// him.
func (t *table) ring() {
	if t.news.awaited.Load() != 0 {
		t.wake()
	}
}

// wake clears the word first: who sets it after that sleeps on a bell that was rung
// before, or is woken.
//
//go:noinline
func (t *table) wake() {
	t.news.awaited.Store(0) // survivor: who waits looks again within 10 ms
	t.news.bell.Add(1)
	psync.Wake(&t.news.bell)
}

// begin says that a change of the stripe is under way.
func (g *guard) begin(at *place) {
	g.news = true
	beginChange(&g.stripe.changes)
	if at.old != 0 && !at.live {
		g.stripe.lapsed.Put(g.stripe.lapsed.Load() + 1) // survivor: one more or less
	}
}

func (s *stripe) end() { endChange(&s.changes) }

func beginChange(changes *psync.Word64) {
	changes.StoreRelease((changes.Load() + 1) | 1) // survivor: odd until the next change, or until somebody waits
}

func endChange(changes *psync.Word64) {
	changes.StoreRelease(changes.Load() + 1) // survivor: a change, and nobody was woken
}

// complete completes the changes that have been odd for a while: those of the dead.
func (t *table) complete() {
	n := t.plan.stripes()
	if t.waits.odd == nil {
		t.waits.odd, t.waits.done = make([]uint64, n+1), make([]uint64, n+1)
	}
	for i := range n {
		off := t.stripeOff + i*stripeSize
		t.completeAt(i, &t.stripe(off).changes, &t.stripe(off).lock, off)
	}
	t.completeAt(n, &t.news.changes, t.tree.Swap(), t.tree.SwapAt())
}

func (t *table) completeAt(i uint64, changes *psync.Word64, lock *psync.Mutex, off uint64) {
	now := changes.Load()
	switch before := t.waits.odd[i]; {
	case now&1 == 0:
		return
	case now != before:
		t.waits.odd[i] = now
	case t.floor.Pool != nil:
		t.finishChange(changes, lock, off)
	case t.waits.done[i] != now:
		t.waits.done[i] = now
		t.waits.late.Add(1)
	}
}

// finishChange makes changes even, unless somebody alive has the lock.
func (t *table) finishChange(changes *psync.Word64, lock *psync.Mutex, off uint64) {
	if t.stay() != nil {
		return
	}
	defer t.leave()
	_ = lock.Settle(t.floor.Owner, func() error { // who is alive completes his change; an error comes back at the next write
		err := t.floor.Records.SettleLockSoon(off)
		if err == nil && changes.Load()&1 != 0 {
			endChange(changes)
		}
		return err
	})
}

// writes sums the changes of entries, lapsed what had expired and was freed.
func (t *table) writes() (writes, lapsed uint64) {
	for i := range t.plan.stripes() {
		s := t.stripe(t.stripeOff + i*stripeSize)
		writes, lapsed = writes+s.changes.Load()/2, lapsed+s.lapsed.Load()
	}
	return writes, lapsed
}

// reads sums what was counted by all processes.
func (t *table) reads() (hits, misses uint64) {
	for i := range t.plan.cells {
		c := mem.Cast[cell](t.base.Add(t.object.Ref() + t.plan.cellsOff() + i*cellSize))
		hits, misses = hits+c.hits.Load(), misses+c.misses.Load()
	}
	return hits, misses
}
