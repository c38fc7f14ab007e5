package hashmap

import (
	"errors"
	"fmt"
	"math"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// How a map with a limit makes room. Each stripe has a share of the limit; a
// stripe that has its share evicts an entry before a new key is stored. Whom, is
// said by a hint for each entry, {worth, count of uses}, in the rows behind the
// buckets of its segment:
//
//   - stored, or used again: count + 1, worth = floor of the stripe + bonus of the
//     count. A use is a Load that was told (see hits.go), or another Store.
//   - evicted: one that has expired, of the whole stripe; or else the one with the
//     least worth in the six buckets from the new key's home on. The floor rises to
//     what it was worth, so entries that nobody uses are overtaken by new ones. Its
//     count is remembered in its home's row, as one of four ghosts, for the case that
//     it comes back.
//
// A new entry goes into one of the same six buckets: no chain is longer, and a
// segment never splits.
//
//	1  the stripe has its share, and the key is not there: begin an operation
//	2  lock the stripe; look again; choose
//	3  floor, ghost; delete as Delete does; clear the hint
//	4  unlock, end
//	5  store as ever; if the stripe has its share again by now, from 1 on
//
// Evicting is an operation of its own, before the new block is reserved: a record
// that names a block can't name another one. So one who is killed between 4 and 5
// has evicted for nothing.
//
// What has expired is found by the first line of each segment; see ttl.go.
//
// A survivor repairs nothing of what guides the choice: each change of it is one
// store of one word, and any value is a legal one. A hint over a free slot means
// nothing; a worth nobody can have written is the least of all.
//
// This is LFU with dynamic aging (Arlitt, Cherkasova, Dilley, Friedrich and Jin,
// 2000) without its queue. What it is measured against is in
// docs/decisions/0013-eviction.md.

const (
	// window is how many buckets a victim is looked for in, and how many a chain
	// has at most.
	window = 6

	useBits   = 4
	useMask   = 1<<useBits - 1
	worthMask = 1<<28 - 1
	laneBits  = 16
	laneMask  = 1<<laneBits - 1
	printMask = laneMask &^ useMask
)

// bonuses are those of the counts from 0 on, in units of 256: ten times the root
// of the uses after the first.
var bonuses = [useMask + 1]uint32{0, 1, 10, 14, 17, 20, 22, 24, 26, 28, 30, 32, 33, 35, 36, 37}

const (
	unit      = 256
	mostBonus = 37 * unit
)

// hint returns the hint of an entry that was used so many times.
func (s *stripe) hint(uses uint32) uint32 {
	uses = min(uses, useMask)
	return (uint32(s.floor.Load())+bonuses[uses]*unit)<<useBits | uses
}

// rank returns how far the worth of a hint lies above the floor; both wrap.
func (s *stripe) rank(hint uint32) int32 {
	above := int32((hint>>useBits-uint32(s.floor.Load()))<<useBits) >> useBits
	if above > mostBonus {
		return math.MinInt32 // nobody has written it so
	}
	return above
}

// row returns what is remembered of bucket i of the segment.
func (g *guard) row(i uint64) *row {
	return mem.Cast[row](g.t.base.Add(g.seg.Off + tree.Size(g.seg.Buckets) + i*rowSize))
}

func (r *row) hint(slot uint64) uint32 { return uint32(r.hints[slot/2].Load() >> (slot % 2 * 32)) }

func (r *row) setHint(slot uint64, hint uint32) {
	w, shift := &r.hints[slot/2], slot%2*32
	w.Put(w.Load()&^(math.MaxUint32<<shift) | uint64(hint)<<shift) // survivor: a hint for what the slot holds then
}

// fingerprint is what a ghost has of its hash: bits that choose neither its stripe
// nor, in all but the largest segments, its bucket.
func fingerprint(h uint64) uint64 { return h >> 24 << useBits & printMask }

// value gives the entry that is about to be stored its hint; again: it replaces
// one of the same key.
func (g *guard) value(at *place, h uint64, again bool) {
	if g.t.plan.limit == 0 {
		return
	}
	r := g.row(at.index)
	uses := r.hint(at.slot) & useMask
	if !again {
		uses = g.recall(h)
	}
	r.setHint(at.slot, g.stripe.hint(uses+1))
}

// recall returns how many times a key that was evicted had been used, and
// forgets it.
func (g *guard) recall(h uint64) uint32 {
	w := &g.row(homeOf(h, g.seg.Buckets)).ghosts
	ghosts := w.Load()
	for at := 0; at < 64; at += laneBits {
		if lane := ghosts >> at & laneMask; lane&printMask == fingerprint(h) && lane&useMask != 0 {
			w.Put(ghosts &^ (laneMask << at)) // survivor: a ghost less
			return uint32(lane & useMask)
		}
	}
	return 0
}

// forget clears the hint of a slot that is free by now.
func (g *guard) forget(at *place) {
	if g.t.plan.limit != 0 {
		g.row(at.index).setHint(at.slot, 0)
	}
}

// hasShare reports whether the stripe has as many entries as it may have.
func (g *guard) hasShare() bool {
	return g.t.plan.limit != 0 && g.count().Load() >= g.t.plan.shareOf(g.number())
}

// number returns which stripe it is.
func (g *guard) number() uint64 { return (g.off - g.t.stripeOff) / stripeSize }

// prepare makes room for a key, if it seems that there is none, before a block of need
// bytes is reserved for it; not for one that can't be.
func (t *table) prepare(key mem.Ptr, n, need uint64) error {
	if t.plan.limit == 0 {
		return nil
	}
	h := hashKey(key, n, &t.secrets)
	count := &t.stripe(t.stripeAt(h)).count[tree.SideOf(t.version.Load())]
	if full := count.Load() >= t.plan.shareOf(t.plan.stripeOf(h)); !full && !t.isTight(need) || !t.couldFit(need) || t.observe(key, n, h).hit {
		return nil
	}
	return t.makeRoom(key, n, h, need)
}

// makeRoom evicts until the stripe of a key may have one more entry, and there
// is a slot for it; one at least, if memory is tight. A key that is there by now needs
// neither.
func (t *table) makeRoom(key mem.Ptr, n, h, need uint64) error {
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	var g guard
	if err := t.lock(h, &g); err != nil {
		return err
	}
	defer g.unlock()
	tight := t.isTight(need)
	for range window * bucketSlots { // once, but for damage
		near := !g.hasSlot(h)
		if !tight && !near && !g.hasShare() {
			return nil
		}
		if at, err := g.locate(key, n, h); err != nil || at.old != 0 {
			return err
		}
		v := eviction{near: near}
		evicted, err := g.evict(&op, h, &v)
		if err != nil {
			return err
		}
		if !evicted && g.hasShare() {
			return fmt.Errorf("hashmap %q: %w: the stripe of hash %#x counts %d entries and has none", t.object.Name(), ErrCorrupt, h, g.count().Load())
		}
		if tight {
			t.eased(need, v.size)
		}
		tight = false
	}
	return nil
}

// When the arena was full, more writes will find it full, and finding it out takes a
// hundred times as long as evicting an entry. So the next ones of that size evict one
// without asking, as long as what they evict has the size: then its block is theirs.
const (
	tightFor = 64
	// noBlock is the need of who has his block.
	noBlock = math.MaxUint64
)

// isTight reports whether a block of n bytes is better evicted than asked for.
func (t *table) isTight(n uint64) bool {
	class, ok := t.floor.Pages.ClassFor(n)
	return ok && t.rings.tight[class].Load() > 0
}

// tightened tells that there was no block of n bytes, and one of them was evicted.
func (t *table) tightened(n uint64) {
	if class, ok := t.floor.Pages.ClassFor(n); ok {
		t.rings.tight[class].Store(tightFor)
	}
}

// eased tells that for a block of n bytes one of other bytes was evicted.
func (t *table) eased(n, other uint64) {
	if class, _ := t.floor.Pages.ClassFor(n); t.floor.Pages.BlockSize(n) == t.floor.Pages.BlockSize(other) {
		t.rings.tight[class].Add(-1)
	} else {
		t.rings.tight[class].Store(0)
	}
}

// hasSlot reports whether there is a free slot for a hash.
func (g *guard) hasSlot(h uint64) bool {
	i := homeOf(h, g.seg.Buckets)
	for range min(g.seg.Buckets, window) {
		b := g.t.bucket(&g.seg, i)
		for slot := range b.slots {
			if b.slots[slot].Load() == 0 {
				return true
			}
		}
		i = g.next(i)
	}
	return false
}

// A full arena: what a write without room evicts. Mostly one entry is enough: that of
// another key, whose block has the size. If none has, whole pages have to be free.
const (
	// singles is how many entries a write evicts one by one.
	singles = 15
	// emptyings is how many times it then empties the pages of one.
	emptyings = 3
	// mostPages is how many pages are emptied at once: for a value that takes more of
	// them that is not tried.
	mostPages = 16
)

// without is a write that finds no room: one of need bytes, for a key. The entry of
// that is never evicted: if the write fails after all, the old value is there.
type without struct {
	*table
	key       mem.Ptr
	n, h      uint64
	need      uint64
	at        uint64 // a hash where the next one is evicted; h at first
	evicted   uint64 // offset of the last one that was
	singly    int    // how many were, one by one
	emptyings int    // how many times pages were
}

// evictSome makes room when the arena is full, and reports whether it is worth
// another try. The entries are those that other new keys would drive out, first
// one in the stripe of the key.
func (w *without) evictSome(why error) bool {
	if w.plan.limit == 0 || w.emptyings == emptyings || !errors.Is(why, ErrFull) && !errors.Is(why, ErrNoSpace) {
		return false
	}
	for w.singly < singles {
		w.singly++
		size, err := w.evictNext()
		if err != nil {
			return false
		}
		if size != 0 && w.floor.Pages.BlockSize(size) == w.floor.Pages.BlockSize(w.need) {
			w.tightened(w.need)
			return true
		}
	}
	w.emptyings++
	_, err := w.evictNext()
	return err == nil && w.evictPages() == nil
}

// evictNext evicts an entry of one stripe after another, if it has one, and returns its
// size.
func (w *without) evictNext() (size uint64, err error) {
	h := w.at
	w.at += 0x9e3779b97f4a7c15
	err = w.underStripe(h, func(op *slab.Op, g *guard) error {
		var v eviction
		if w.stripeAt(w.h) == g.off {
			in := *g
			if err := in.enter(w.h); err != nil {
				return err
			}
			at, err := in.locate(w.key, w.n, w.h)
			if err != nil {
				return err
			}
			v.kept = *at
		}
		evicted, err := g.evict(op, h, &v)
		if evicted {
			w.evicted, size = v.old&offsetMask, v.size
		}
		return err
	})
	return size, err
}

// evictPages evicts what lies in as many pages as are needed, from that of the last
// one on.
func (w *without) evictPages() error {
	pt, n := w.floor.Pages, uint64(1)
	if _, ok := pt.ClassFor(w.need); !ok {
		n = pt.RunPages(w.need)
	}
	all := pt.Pages()
	if n > min(all, mostPages) {
		return nil
	}
	var blocks []uint64
	first := min(pt.PageAt(w.evicted), all-n) // if none was: behind the end
	for p := first; p < first+n; p++ {
		pt.Blocks(p, func(b pages.Block) { blocks = append(blocks, b.Off) })
	}
	for _, off := range blocks {
		if err := w.evictBlock(off); err != nil {
			return err
		}
	}
	return nil
}

// evictBlock evicts the entry at off, if there is one.
func (w *without) evictBlock(off uint64) error {
	h, err := w.hashOf(off)
	if err != nil {
		return nil // it is none
	}
	return w.underStripe(h, func(op *slab.Op, g *guard) error {
		var at place
		if !g.leadsTo(off, h, &at) {
			return nil
		}
		if own, err := w.same(off, w.key, w.n); own || err != nil {
			return err
		}
		return g.drop(op, &at)
	})
}

// leadsTo finds the slot that leads to the entry at off, whose hash is h.
func (g *guard) leadsTo(off, h uint64, at *place) bool {
	i := homeOf(h, g.seg.Buckets)
	for range min(g.seg.Buckets, window) {
		b := g.t.bucket(&g.seg, i)
		for slot := range b.slots {
			if word := b.slots[slot].Load(); word&offsetMask == off {
				at.set(b, i, uint64(slot), word, false)
				return true
			}
		}
		i = g.next(i)
	}
	return false
}

// underStripe runs f with an operation, under the lock of the stripe of a hash.
func (t *table) underStripe(h uint64, f func(op *slab.Op, g *guard) error) error {
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	var g guard
	if err := t.lock(h, &g); err != nil {
		return err
	}
	defer g.unlock()
	return f(&op, &g)
}

// eviction is an entry that is evicted.
type eviction struct {
	place
	size uint64 // bytes of the entry
	kept place  // what is none, if it lives
	near bool   // a slot is wanted that the hash can have
}

// evict removes the entry that is worth least, of those in the way of a hash, and
// reports whether there was one.
func (g *guard) evict(op *slab.Op, h uint64, v *eviction) (bool, error) {
	defer func(s tree.Segment) { g.seg = s }(g.seg)
	if !g.choose(h, v) {
		return false, nil
	}
	if off := v.old & offsetMask; g.t.within(off, entryHeader) {
		lengths := mem.Load64(g.t.base.Add(off))
		v.size = entryHeader + pad8(lengths&0xffffffff) + lengths>>32
	}
	return true, g.drop(op, &v.place)
}

// choose chooses it: one that has expired, or else the one that is worth least.
func (g *guard) choose(h uint64, v *eviction) bool {
	if g.t.head.expiring.Load() != 0 {
		if v.near && g.nearby(h, &v.place) || !v.near && g.lapsed(&v.place) {
			return true
		}
	}
	return g.victim(h, &v.kept, &v.place) || g.elsewhere(h, &v.kept, &v.place)
}

// drop removes an entry for others.
func (g *guard) drop(op *slab.Op, at *place) error {
	if at.live = !g.t.wordExpired(at.old); at.live {
		if err := g.remember(at); err != nil {
			return err
		}
	}
	g.unlink(op, at)
	return nil
}

// remember has the floor rise to what an entry is worth, and makes it a ghost.
func (g *guard) remember(at *place) error {
	h, err := g.t.hashOf(at.old & offsetMask)
	if err != nil {
		return err
	}
	hint := g.row(at.index).hint(at.slot)
	if above := g.stripe.rank(hint); above > 0 && g.lock == g.off {
		g.stripe.floor.Put((g.stripe.floor.Load() + uint64(above)) & worthMask) // survivor: the others are worth a little less
	}
	w := &g.row(homeOf(h, g.seg.Buckets)).ghosts
	w.Put(w.Load()<<laneBits | fingerprint(h) | uint64(hint&useMask)) // survivor: a ghost of what is there
	if g.lock == g.off {
		g.stripe.gone.Put(g.stripe.gone.Load() + 1) // survivor: one more or less
	}
	return nil
}

// victim chooses an entry of the segment: in the window from the home of a hash
// on, or behind it if that is empty. None of them has expired.
func (g *guard) victim(h uint64, kept, at *place) bool {
	for g.least(h, kept, at) {
		at.bucket = g.t.bucket(&g.seg, at.index)
		if at.old = at.bucket.slots[at.slot].Load(); at.old != 0 {
			return true
		}
		g.forget(at) // it was left by one who was killed
	}
	return g.unhinted(h, kept, at)
}

// nearby finds an expired entry in the window from the home of a hash on.
func (g *guard) nearby(h uint64, at *place) bool {
	i := homeOf(h, g.seg.Buckets)
	for range min(g.seg.Buckets, window) {
		if g.expiredIn(g.t.bucket(&g.seg, i), i, at) {
			return true
		}
		i = g.next(i)
	}
	return false
}

// lapsed finds an expired entry of the stripe, in the segment of g or another one,
// which is that of g then. Of the stripe it reads a line of each segment; and the
// entries of a seventh of one, where a deadline has passed. If none of them has expired,
// the line knows by then.
func (g *guard) lapsed(at *place) bool {
	now := g.t.clock.now()
	if g.lapsedIn(now, at) {
		return true
	}
	return g.others(func() bool { return g.lapsedIn(now, at) })
}

// lapsedIn finds an expired entry of the segment.
func (g *guard) lapsedIn(now uint64, at *place) (found bool) {
	g.eachLapsed(now, func(b *bucket, i uint64, slot int, word uint64) bool {
		at.set(b, i, uint64(slot), word, false)
		found = true
		return false
	})
	return found
}

// least finds the least hint, without a look at the buckets.
func (g *guard) least(h uint64, kept, at *place) (ok bool) {
	i, lowest := homeOf(h, g.seg.Buckets), int32(0)
	for far := uint64(0); far < g.seg.Buckets && (far < window || !ok); far++ {
		r := g.row(i)
		for slot := range uint64(bucketSlots) {
			hint := r.hint(slot)
			if hint == 0 || kept.is(g.t.bucket(&g.seg, i), slot) {
				continue
			}
			if rank := g.stripe.rank(hint); !ok || rank < lowest {
				at.index, at.slot, lowest, ok = i, slot, rank, true
			}
		}
		i = g.next(i)
	}
	return ok
}

// unhinted finds an entry without a hint: somebody else has written to the rows.
func (g *guard) unhinted(h uint64, kept, at *place) bool {
	i := homeOf(h, g.seg.Buckets)
	for range g.seg.Buckets {
		b := g.t.bucket(&g.seg, i)
		for slot := range b.slots {
			if word := b.slots[slot].Load(); word != 0 && !kept.is(b, uint64(slot)) {
				at.set(b, i, uint64(slot), word, false)
				return true
			}
		}
		i = g.next(i)
	}
	return false
}

// is reports whether a slot is that of the place, and what lives there is to stay.
func (p *place) is(b *bucket, slot uint64) bool { return p.live && p.bucket == b && p.slot == slot }

// elsewhere finds an entry in another segment of the stripe, which is that of g
// then.
func (g *guard) elsewhere(h uint64, kept, at *place) bool {
	return g.others(func() bool { return g.victim(h, kept, at) })
}

// others has g be at one segment of the stripe after the other, until f returns true.
func (g *guard) others(f func() bool) bool {
	d := g.dir
	if d.Bits < g.t.plan.stripeBits {
		return false
	}
	n := d.Len() >> g.t.plan.stripeBits
	for i := range n {
		s, ok := g.t.segment(d.At(g.number()*n+i).Load(), d)
		if !ok {
			continue
		}
		if g.seg = s; f() {
			return true
		}
	}
	return false
}

// evictions sums what the stripes have evicted.
func (t *table) evictions() (n uint64) {
	for i := range t.plan.stripes() {
		n += t.stripe(t.stripeOff + i*stripeSize).gone.Load()
	}
	if t.dead() {
		return 0
	}
	return n
}
