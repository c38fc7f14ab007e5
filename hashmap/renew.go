package hashmap

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

// How the whole content is exchanged. There is room for two trees, one on each
// side of the head; the side that is not current is the business of whoever holds
// the swap lock.
//
//	1  lock; take down what a dead one may have left on the other side
//	2  build the new tree there: each block is linked by a record, under this
//	   lock, before the next one is reserved
//	3  lock the tree; raise the version by one exchange; unlock
//	                          the new content is there, the old one is not
//	4  keep the old tree for a moment, for iterations over it (iterate.go)
//	5  take the old tree down, a few entries at a time, under the lock of their
//	   stripe; unlock
//
// Step 3 is one store, so no record names it. A survivor finds the one content or
// the other, and a tree to take down: the next one to exchange does that, or any
// writer, a piece before each write.
//
// A write that was under way in step 3 may still go to the old tree; it was before
// the exchange then. It holds the lock of its stripe, so it is over when the
// stripe is taken down; and who takes the lock later finds the new tree.

// Clear removes all entries. Readers see all of them or none; they are not held
// up, and writers but for moments. An iteration that is under way goes on over the old
// entries, which Clear keeps for 1 to 100 ms before it frees them; see [Map.All]. It
// blocks while another process clears or replaces the content. With an error nothing
// has changed, unless the arena was closed meanwhile.
func (m *Map[K, V]) Clear() error {
	return m.renew(m.plan.bits, m.plan.buckets, false, func(*nursery) error { return nil })
}

// ReplaceAll exchanges the whole content for what seq yields, by one store: a
// reader finds the old value of a key or the new one, and once it has found a new
// one, no old one any more. An iteration that is under way goes on over the old
// content, which ReplaceAll keeps for 1 to 100 ms before it frees it; see [Map.All].
// Of a key that is yielded twice the last value stays. What other writers store
// meanwhile may be gone with the old content. A map with a limit takes all pairs, one
// after the other, and evicts as ever: of more than its limit some stay, and which is
// not said.
//
// seq is called before anything else happens, with no lock held, and its pairs
// are kept in Go's memory until it ends. The arena needs room for both contents.
// It blocks while another process clears or replaces the content. With an error
// the old content is there.
func (m *Map[K, V]) ReplaceAll(seq iter.Seq2[K, V]) error {
	if m.floor.Pool == nil {
		return ErrReadOnly
	}
	all := make(map[K]V)
	for k, v := range seq {
		all[k] = v
	}
	p, err := m.plan, error(nil)
	if p.limit == 0 {
		p, err = planWithin(m.plan.most, max(uint64(len(all)), m.plan.capacity), m.floor.Pages, uint64(m.slab.MaxSize()))
	}
	if err != nil {
		return fmt.Errorf("hashmap %q: %w", m.object.Name(), err)
	}
	for bits := max(p.bits, m.plan.stripeBits); ; bits++ {
		err := m.renew(bits, p.buckets, false, func(n *nursery) error {
			for k, v := range all {
				if err := m.enter(n, &k, &v); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errCrowded) || bits == tree.MaxBits {
			return err
		}
	}
}

// nursery is the side that is being built.
type nursery struct {
	dir  tree.Dir
	side int
}

// plant gives a map its first tree.
func (t *table) plant() error {
	return t.renew(t.plan.bits, t.plan.buckets, true, func(*nursery) error { return nil })
}

// renew builds a tree on the other side, has it filled, and makes it the current
// one; first: only if there is none yet.
func (t *table) renew(bits uint, buckets uint64, first bool, fill func(*nursery) error) error {
	if t.floor.Pool == nil {
		return ErrReadOnly
	}
	if err := t.err(); err != nil {
		return err
	}
	if err := t.stay(); err != nil {
		return err
	}
	defer t.leave()
	return t.underLock(t.tree.Swap(), t.tree.SwapAt(), func() error {
		old, entries := tree.SideOf(t.version.Load()), t.count()
		if first && t.tree.Dir(old).Load() != 0 {
			return nil
		}
		if err := t.takeDown(1 - old); err != nil {
			return err
		}
		n, err := t.build(1-old, bits, buckets)
		if err == nil {
			err = fill(n)
		}
		if err == nil {
			t.news.wanted.Store(0) // survivor: as it is usually. What is old by the exchange may be wanted at once
			err = t.underTree(func() error {
				beginChange(&t.news.changes)
				t.tree.Exchange()
				endChange(&t.news.changes)
				return nil
			})
			t.ring()
		}
		if err != nil {
			return errors.Join(err, t.takeDown(1-old))
		}
		late := t.floor.Closed.Load() // then the exchange may not have reached the segment: Close of the arena waits for records only
		t.keepOld(t.keepFor(entries))
		_ = t.takeDown(old) // it is done; what is left is for the next writer
		if late {
			return t.err()
		}
		return nil
	})
}

// keepTime is how long an old content of so many entries is kept for the iterations
// over it: they take a tenth of that, beside what is done in the loop.
func keepTime(entries uint64) time.Duration {
	if entries == 0 {
		return 0
	}
	return time.Duration(clamp(entries, 1000, 100_000)) * time.Microsecond
}

// keepOld waits so long, or until somebody wants the memory of the old content.
func (t *table) keepOld(d time.Duration) {
	for end := time.Now().Add(d); t.news.wanted.Load() == 0 && !t.dead(); {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, time.Millisecond))
	}
}

// build makes an empty tree on a side.
func (t *table) build(side int, bits uint, buckets uint64) (*nursery, error) {
	for i := range t.plan.stripes() {
		t.stripe(t.stripeOff + i*stripeSize).count[side].Store(0) // survivor: builds anew
	}
	ref, err := t.graft(tree.DirSize(bits), t.tree.DirAt(side), func(ref uint64) uint64 { return tree.DirRef(ref, bits) })
	if err != nil {
		return nil, err
	}
	n := &nursery{side: side}
	if n.dir, err = t.tree.Open(ref); err != nil {
		return nil, err
	}
	for i := range n.dir.Len() {
		if _, err := t.graft(t.plan.segmentSize(buckets, t.floor.Pages), n.dir.WordAt(i), func(ref uint64) uint64 { return tree.Word(ref, bits, buckets) }); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// graft links a block of zeros to the word at target, which is 0.
func (t *table) graft(size, target uint64, word func(ref uint64) uint64) (uint64, error) {
	op, err := t.slab.Begin()
	if err != nil {
		return 0, err
	}
	defer op.End()
	ref, err := op.ReserveZeroed(size)
	if err != nil {
		return 0, fmt.Errorf("hashmap %q: %w", t.object.Name(), err)
	}
	ref = word(ref)
	t.floor.Records.Apply(op.Record, &intent.Change{Lock: t.tree.SwapAt(), Target: target, New: ref})
	return ref, nil
}

// enter stores a pair in the tree that is being built.
func (m *Map[K, V]) enter(b *nursery, k *K, v *V) error {
	key, n := m.key(k)
	if err := m.checkSizes(n, m.sizeOf(v)); err != nil {
		return err
	}
	h := hashKey(key, n, &m.secrets)
	g := guard{t: &m.table, lock: m.tree.SwapAt(), off: m.stripeAt(h), dir: &b.dir, side: b.side}
	g.stripe, g.seg = m.stripe(g.off), tree.Parse(b.dir.Word(h).Load())
	err := m.adopt(&g, key, n, h, v)
	for err == errCrowded && m.plan.limit != 0 {
		if err = m.thin(&g, h); err == nil {
			err = m.adopt(&g, key, n, h, v)
		}
	}
	return err
}

// adopt stores a new key in the tree that is being built.
func (m *Map[K, V]) adopt(g *guard, key mem.Ptr, n, h uint64, v *V) error {
	op, ref, err := m.reserve(key, n, v, false)
	if err != nil {
		return err
	}
	defer op.End()
	return g.link(&op, &place{}, h, ref)
}

// thin evicts an entry of the tree that is being built.
func (t *table) thin(g *guard, h uint64) error {
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	evicted, err := g.evict(&op, h, &eviction{near: !g.hasSlot(h)})
	if err == nil && !evicted {
		err = fmt.Errorf("hashmap %q: %w: a stripe that was built has no entry, and no room", t.object.Name(), ErrCorrupt)
	}
	return err
}

// takeDown frees the tree of a side. The caller holds the swap lock.
func (t *table) takeDown(side int) error {
	for {
		left := freeAtOnce
		if done, err := t.takeSome(side, &left); done || err != nil {
			return err
		}
	}
}

// freeAtOnce is how many blocks are freed under one lock.
const freeAtOnce = 256

// takeSome frees some blocks of the tree of a side, and reports whether that was
// all. It has no more than one stripe locked.
func (t *table) takeSome(side int, left *int) (done bool, err error) {
	ref := t.tree.Dir(side).Load()
	if ref == 0 {
		return true, nil
	}
	if gone := tree.EpochOf(t.version.Load() - tree.OneExchange); t.news.gone.Load() != gone {
		t.news.gone.Store(gone) // survivor: a tree to take down; nobody walks over it any more
	}
	t.floor.Refresh() // it may lie where one who is dead has grown the arena
	d, err := t.tree.Open(ref)
	if err != nil || d.Bits < t.plan.stripeBits {
		return false, errors.Join(err, fmt.Errorf("hashmap %q: %w: a directory of 2^%d words", t.object.Name(), ErrCorrupt, d.Bits))
	}
	op, err := t.slab.Begin()
	if err != nil {
		return false, err
	}
	defer op.End()
	per := d.Len() >> t.plan.stripeBits
	for i := range t.plan.stripes() {
		off := t.stripeOff + i*stripeSize
		if empty(&d, i*per, (i+1)*per) && t.stripe(off).lock.Consistent() {
			continue // and no record of the dead is about one of the words
		}
		err := t.underLock(&t.stripe(off).lock, off, func() error {
			done, err = t.floor.Records.DrainWords(op.Record, off, d, i*per, (i+1)*per, left)
			return err
		})
		if !done || err != nil {
			return false, err
		}
	}
	// Under the swap lock: what is built here next is, too, so a record of the dead
	// is settled before. Nobody doubles a directory that is not current.
	return true, t.floor.Records.DrainDir(op.Record, t.tree.SwapAt(), t.tree, side)
}

func empty(d *tree.Dir, from, to uint64) bool {
	for i := from; i < to; i++ {
		if d.At(i).Load() != 0 {
			return false
		}
	}
	return true
}

// helpOut frees some blocks of the side that is not current, if nobody does. Now
// and then it looks whether the one who does is alive.
func (t *table) helpOut() {
	swap := t.tree.Swap()
	if !swap.TryLock(t.floor.Owner) {
		if t.helps.Add(1)%64 != 0 {
			return
		}
		if alive, err := t.floor.Owner.Alive(swap.Holder()); alive || err != nil {
			return
		}
		_ = t.underLock(swap, t.tree.SwapAt(), t.freeSome)
		return
	}
	_ = t.freeSome()
	swap.Unlock()
}

func (t *table) freeSome() error {
	left := freeAtOnce / 4
	_, err := t.takeSome(1-tree.SideOf(t.version.Load()), &left)
	return err
}

// clearOut frees the side that is not current, when there is no room, and reports
// whether there was something to free. Who keeps it for iterations is told, and waited
// for, 200 ms at most.
func (t *table) clearOut() bool {
	if !t.hasOld() || t.stay() != nil {
		return false
	}
	defer t.leave()
	takeDown := func() error { return t.takeDown(1 - tree.SideOf(t.version.Load())) }
	swap := t.tree.Swap()
	if swap.TryLock(t.floor.Owner) {
		err := takeDown()
		swap.Unlock()
		return err == nil
	}
	gone := t.news.gone.Load()
	if gone == tree.EpochOf(t.version.Load()-tree.OneExchange) { // it is being built, or taken down
		alive, err := t.floor.Owner.Alive(swap.Holder())
		return !alive && err == nil && t.underLock(swap, t.tree.SwapAt(), takeDown) == nil
	}
	t.news.wanted.Store(1) // survivor: one content less is kept
	err := swap.Settle(t.floor.Owner, func() error { return t.floor.Records.SettleLock(t.tree.SwapAt()) })
	return err == nil || t.news.gone.Load() != gone // or he is stopped
}

// hasOld reports whether there is a tree on the side that is not current.
func (t *table) hasOld() bool { return t.tree.Dir(1-tree.SideOf(t.version.Load())).Load() != 0 }
