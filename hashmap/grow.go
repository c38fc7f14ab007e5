package hashmap

import (
	"errors"
	"fmt"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// How the map grows: one segment at a time, by the writer who has found it full,
// before his next write. A small segment is replaced by one of twice the size;
// one that has its full size by two of one depth more, each with the entries of a
// half of its range.
//
//	1  reserve the new segments, each under the name of a record
//	2  lock the stripe; fill them from the old one, whose entries stay where
//	   they are
//	3  lock the tree; record: split, with the old word and the new ones
//	4  store the words        readers find the new segments
//	5  raise the tree's version; unlock the tree
//	6  free the old segment
//	7  close the record, unlock
//
// A survivor finds the first word old: frees the new ones; new: 4 to 7. When the
// segment has but one word left, the directory is doubled first: copied, under
// the tree lock, and replaced as an entry is, by a record with the reference for
// its target.
//
// So what a write may have to do besides is bounded: a segment has at most 255
// buckets, and no bucket is looked at outside it. Nobody waits for the table.

// errCrowded says that the segment of a key has no free slot. It stays inside.
var errCrowded = errors.New("segment is full")

const (
	// longChain is how many buckets of a chain may be full before the segment is
	// looked at.
	longChain = 8
	// respite is how many times a segment may be found full after it could not
	// be split, before that is tried again.
	respite = 256
)

// full is how many entries a segment of n buckets may have before it is split: at
// load 0.8 a chain has 1.2 buckets.
func full(n uint64) uint64 { return n * bucketSlots * 4 / 5 }

// crowd has the segment of a hash split, when no lock is held.
func (t *table) crowd(h uint64) {
	if t.respite.Load() <= 0 { // several may have counted the last one down
		t.crowded.Store(h | 1) // the low bits of a hash choose nothing
	} else {
		t.respite.Add(-1)
	}
}

// tend does what earlier writes have left to do.
func (t *table) tend() {
	if (t.crowded.Load() != 0 || t.hasOld()) && t.floor.Pool != nil {
		t.tendNow()
	}
}

func (t *table) tendNow() {
	if t.stay() != nil {
		return // the write that is about to be made says why
	}
	defer t.leave()
	if h := t.crowded.Swap(0); h != 0 && t.growing.TryLock() {
		if t.split(h) != nil { // no room: then it stays as it is
			t.respite.Store(respite)
		}
		t.growing.Unlock()
	}
	t.helpOut()
}

// relieve makes room for a key whose segment has no free slot, or whose stripe has
// its share.
func (t *table) relieve(key mem.Ptr, n, h uint64) error {
	if t.plan.limit != 0 {
		return t.makeRoom(key, n, h, noBlock)
	}
	if err := t.stay(); err != nil {
		return err
	}
	defer t.leave()
	err := t.splitNow(h)
	for scraped := 0; (errors.Is(err, ErrFull) || errors.Is(err, ErrNoSpace)) && t.scrape(&scraped, 0, true); {
		err = t.splitNow(h)
	}
	return err
}

// splitNow is split, after those who are at it.
func (t *table) splitNow(h uint64) error {
	t.growing.Lock()
	defer t.growing.Unlock()
	return t.split(h)
}

// split splits the segment of a hash, if it is too full.
func (t *table) split(h uint64) error {
	d, s, err := t.peek(h)
	if err != nil || s.Buckets == 0 {
		return err
	}
	if freed := 0; t.head.expiring.Load() != 0 {
		if _, err := t.purgeSegment(h, purgeAtOnce, &freed); err != nil || freed > 0 {
			return err
		}
	}
	if s.Buckets < t.plan.most {
		return t.replaceSegment(h, s, min(buckets(2*tree.Size(s.Buckets), t.floor.Pages), t.plan.most), s.Depth)
	}
	if s.Depth == d.Bits {
		if err := t.double(d); err != nil {
			return err
		}
	}
	return t.replaceSegment(h, s, s.Buckets, s.Depth+1)
}

// peek finds the segment of a hash without a lock: it may be another one at once.
func (t *table) peek(h uint64) (*tree.Dir, tree.Segment, error) {
	for {
		d, err := t.look()
		if err != nil || d.Bits == 0 {
			return d, tree.Segment{}, err
		}
		s, ok := t.segment(d.Word(h).Load(), d)
		if ok {
			return d, s, nil
		}
		if t.version.Load() == d.Version {
			return d, s, fmt.Errorf("hashmap %q: %w: the directory's word for hash %#x is %#x", t.object.Name(), ErrCorrupt, h, s.Word)
		}
	}
}

// replaceSegment replaces segment s by one or two with so many buckets.
func (t *table) replaceSegment(h uint64, s tree.Segment, buckets uint64, depth uint) error {
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	low, err := op.ReserveZeroed(tree.Size(buckets))
	if err != nil {
		return t.cannotGrow(err)
	}
	high := low
	if depth != s.Depth {
		if high, err = op.ReserveSecond(tree.Size(buckets)); err != nil {
			return t.cannotGrow(err)
		}
	}
	var g guard
	if err := t.lock(h, &g); err != nil {
		return err
	}
	defer g.unlock()
	if g.seg.Word != s.Word {
		return nil // another one was faster
	}
	if tight, err := g.tight(); !tight || err != nil {
		return err
	}
	to := [2]tree.Segment{tree.Parse(tree.Word(low, depth, buckets)), tree.Parse(tree.Word(high, depth, buckets))}
	if err := g.deal(&to); err != nil {
		return err
	}
	g.half = true
	err = t.floor.Records.ApplySplit(op.Record, op.Second(), &intent.Split{
		Lock: g.off, Tree: t.tree.Off(), Side: g.side, Hash: h, Old: s.Word, Low: to[0].Word, High: to[1].Word,
	})
	g.half = op.Record.Open() && err != nil
	return err
}

func (t *table) cannotGrow(err error) error {
	return fmt.Errorf("hashmap %q: a full segment is to be split: %w", t.object.Name(), err)
}

// tight counts the entries of the segment and reports whether it is to be split.
// With keys that all have one hash, or nearly, splits do not help; therefore there
// are not many more of them than entries.
func (g *guard) tight() (bool, error) {
	var n, run, front, longest uint64 // run: of buckets that overflow; front: the one that begins with bucket 0
	for i := range g.seg.Buckets {
		b := g.t.bucket(&g.seg, i)
		for slot := range b.slots {
			if b.slots[slot].Load() != 0 {
				n++
			}
		}
		if b.tags.Load() >= overflowed {
			run++
			longest = max(longest, run)
			continue
		}
		if run == i {
			front = run
		}
		run = 0
	}
	longest = max(longest, run+front) // the last bucket goes on in bucket 0
	mem.Cast[first](g.t.base.Add(g.seg.Off)).count.Put(n)
	if n <= full(g.seg.Buckets) && (longest < longChain || n <= g.seg.Buckets*bucketSlots/2) {
		return false, nil
	}
	if deepest := g.seg.Depth == tree.MaxBits; deepest || g.seg.Buckets == g.t.plan.most && 1<<g.seg.Depth > 64+g.t.count() {
		return false, fmt.Errorf("hashmap %q: %w: %d entries have hashes that begin with the same %d bits", g.t.object.Name(), ErrFull, n, g.seg.Depth)
	}
	return true, nil
}

// deal enters what the slots of the segment hold into the new ones, to which
// nothing leads yet.
func (g *guard) deal(to *[2]tree.Segment) error {
	t := g.t
	same := to[0].Buckets == g.seg.Buckets
	var counts [2]uint64
	for i := range g.seg.Buckets {
		b := t.bucket(&g.seg, i)
		tags := b.tags.Load()
		for slot := range b.slots {
			word := b.slots[slot].Load()
			if word == 0 {
				continue
			}
			home, ok := homeFrom(&g.seg, i, distanceIn(tags, slot))
			if !ok || !same {
				h, err := t.hashOf(word & offsetMask)
				if err != nil {
					return err
				}
				home = homeOf(h, to[0].Buckets)
			}
			half := 0
			if to[0].Word != to[1].Word {
				half = int(word >> (64 - to[0].Depth) & 1)
			}
			t.place(&to[half], home, word, tags>>(8*slot)&0xff)
			counts[half]++
		}
	}
	soonest := g.soonest()
	for half := range to {
		line := mem.Cast[first](t.base.Add(to[half].Off))
		line.count.Put(counts[half])
		for group := range line.earliest {
			line.earliest[group].Put(soonest)
		}
		if to[0].Word == to[1].Word {
			break
		}
	}
	return nil
}

// soonest returns the earliest deadline in the segment, or one before it; 0: there is
// none.
func (g *guard) soonest() (until uint64) {
	for group := range uint64(lapseGroups) {
		if other := g.t.earliest(&g.seg, group).Load(); other != 0 && (until == 0 || other < until) {
			until = other
		}
	}
	return until
}

// place enters a slot's word into a segment to which nothing leads yet, and that
// has room: it gets no more than fitted into one of its size.
func (t *table) place(s *tree.Segment, home, word, tag uint64) {
	for i, distance := home, uint64(0); ; i, distance = next(s, i), distance+1 {
		b := t.bucket(s, i)
		for slot := range b.slots {
			if b.slots[slot].Load() == 0 {
				b.slots[slot].Put(word)
				b.tags.Put(marked(b.tags.Load(), uint64(slot), tag, distance))
				return
			}
		}
		b.tags.Put(b.tags.Load() | overflowed)
	}
}

// hashOf reads the key of an entry, under the lock, and hashes it.
func (t *table) hashOf(off uint64) (uint64, error) {
	if t.within(off, entryHeader) {
		e := t.base.Add(off)
		if n := mem.Load64(e) & 0xffffffff; n <= t.maxKey && t.within(off, entryHeader+pad8(n)) {
			return hashBytes(e.Add(entryHeader), n, &t.secrets), nil
		}
	}
	return 0, fmt.Errorf("hashmap %q: %w: a slot leads to %#x, where no entry can be", t.object.Name(), ErrCorrupt, off)
}

// double replaces the directory by one of twice the size, if it is still the one
// that is given.
func (t *table) double(d *tree.Dir) error {
	if d.Bits == tree.MaxBits {
		return nil
	}
	op, err := t.slab.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	ref, err := op.Reserve(tree.DirSize(d.Bits + 1))
	if err != nil {
		return t.cannotGrow(err)
	}
	bigger, err := t.tree.Open(tree.DirRef(ref, d.Bits+1))
	if err != nil {
		return err
	}
	return t.underTree(func() error {
		side := tree.SideOf(d.Version)
		if tree.SideOf(t.version.Load()) != side || t.tree.Dir(side).Load() != d.Ref {
			return nil // another one was faster; or it is another tree
		}
		for i := range bigger.Len() {
			bigger.At(i).Put(d.At(i / 2).Load())
		}
		t.floor.Records.Apply(op.Record, &intent.Change{
			Lock: t.tree.LockAt(), Target: t.tree.DirAt(side), Old: d.Ref, New: bigger.Ref, Version: t.tree.VersionAt(),
		})
		return nil
	})
}

// underTree runs f under the tree lock.
func (t *table) underTree(f func() error) error {
	return t.underLock(t.tree.Lock(), t.tree.LockAt(), f)
}

// underLock runs f under a lock of the map, and gives it back for mending if f
// panics.
func (t *table) underLock(m *psync.Mutex, off uint64, f func() error) error {
	if err := m.Lock(t.floor.Owner, func() error { return t.floor.Records.SettleLock(off) }); err != nil {
		return fmt.Errorf("hashmap %q: %w", t.object.Name(), slab.CloseError(err))
	}
	whole := false
	defer func() {
		if whole {
			m.Unlock()
		} else {
			m.Abandon()
		}
	}()
	err := f()
	whole = true
	return err
}
