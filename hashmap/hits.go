package hashmap

import (
	"math/bits"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// How a map with a limit learns what is used, though a read stores nothing shared.
// A handle that may write gathers the hashes of what it has found, in memory of
// this process: a ring of sixteen for each stripe. The stripe is told under its
// lock: by the next write of the handle to it, before anything else; or by the
// read that finds the ring full, if the lock is free that moment, and else the
// read is forgotten. Nobody waits, and what is lost are hits.
//
// Goroutines are spread over several rings of a stripe, so that they do not meet.
// Two that do may lose a hash, or tell an old one twice.

// ringSize is how many hashes a ring has room for.
const ringSize = 16

// ring is private to this process, on cache lines of its own.
type ring struct {
	n      atomic.Uint64 // hits since it was told; those after ringSize were forgotten
	hashes [ringSize]atomic.Uint64
	_      [56]byte
}

// rings are those of a handle: lanes of them for each stripe.
type rings struct {
	lanes uint64 // a power of two
	of    []ring
	tight []atomic.Int32 // by class: how many writes are not to ask for a block; see evict.go
}

// mostLanes is how many rings of a stripe goroutines are spread over at most.
const mostLanes = 4

func newRings(stripes uint64, classes int) *rings {
	lanes := uint64(1) << bits.Len(uint(min(runtime.GOMAXPROCS(0), mostLanes)-1))
	return &rings{lanes: lanes, of: make([]ring, stripes*lanes), tight: make([]atomic.Int32, classes)}
}

// at returns the rings of a stripe.
func (r *rings) at(stripe uint64) []ring { return r.of[stripe*r.lanes:][:r.lanes] }

// hit tells that a key was found. It returns true: so a read ends
// with it, and keeps nothing for afterwards.
//
//go:noinline
func (t *table) hit(h uint64) bool {
	t.countHit()
	if t.rings != nil {
		t.gather(h)
	}
	return true
}

// countHit counts a read that has found its key, if reads are counted.
func (t *table) countHit() {
	if t.cell != nil {
		t.countRead(&t.cell.hits, &t.late.hits)
	}
}

// miss counts a read that has found nothing.
func (t *table) miss() {
	if t.cell != nil {
		t.countRead(&t.cell.misses, &t.late.misses)
	}
}

// arrears is what was read while all records of the process were in use, by writers who
// wait for a stripe: a read does not wait with them. The next one counts it, or Stats,
// or Close.
type arrears struct{ hits, misses atomic.Uint64 }

// countRead counts a read. It holds a record: Close waits for it.
func (t *table) countRead(count *psync.Word64, late *atomic.Uint64) {
	pool := t.floor.Pool
	i, ok := pool.TakeFree()
	if !ok {
		late.Add(1)
		return
	}
	defer pool.Give(i)
	n := uint64(1)
	if late.Load() != 0 {
		n += late.Swap(0)
	}
	if !t.dead() {
		count.Add(n) // survivor: that many more
	}
}

// countLate counts what is late; wait: also if all records are in use.
func (t *table) countLate(wait bool) {
	if t.cell == nil || t.late.hits.Load()|t.late.misses.Load() == 0 {
		return
	}
	pool := t.floor.Pool
	i, ok := pool.TakeFree()
	if !ok && wait {
		_, i, ok = pool.Take()
	}
	if !ok {
		return
	}
	defer pool.Give(i)
	if hits, misses := t.late.hits.Swap(0), t.late.misses.Swap(0); !t.dead() {
		t.cell.hits.Add(hits)     // survivor: that many more
		t.cell.misses.Add(misses) // survivor: that many more
	}
}

func (t *table) gather(h uint64) {
	all := t.rings.at(t.plan.stripeOf(h))
	r := &all[mem.Spread()&uint64(len(all)-1)]
	switch i := r.n.Add(1) - 1; {
	case i < ringSize:
		r.hashes[i].Store(h)
	case i%ringSize == 0:
		t.tell(h)
	}
}

// tell tells the stripe of a hash what was gathered, and the hash, if its lock is
// free. It holds a record, though it changes nothing that needs one: as with any
// write, Close waits for it.
func (t *table) tell(h uint64) {
	pool := t.floor.Pool
	i := pool.Prefer()
	if !pool.TryTake(i) {
		return
	}
	defer pool.Give(i)
	off := t.stripeAt(h)
	g := guard{t: t, lock: off, off: off, stripe: t.stripe(off)}
	if t.dead() || !g.stripe.lock.TryLock(t.floor.Owner) {
		return
	}
	defer g.unlock()
	if g.enter(h) == nil {
		g.hear()
		g.used(h)
	}
}

// hear tells the stripe what this handle has gathered for it.
func (g *guard) hear() {
	all := g.t.rings.at((g.off - g.t.stripeOff) / stripeSize)
	for i := range all {
		r := &all[i]
		n := min(r.n.Load(), ringSize)
		if n == 0 {
			continue
		}
		for j := range n {
			g.used(r.hashes[j].Load())
		}
		r.n.Store(0)
	}
}

// used raises the hint of an entry, if there still is one with the hash. Its key
// is not looked at: a wrong one of the same tag and bits is no harm.
func (g *guard) used(h uint64) {
	if g.t.stripeAt(h) != g.off { // a ring that was taken before it was filled
		return
	}
	in := *g
	if in.enter(h) != nil {
		return
	}
	i := homeOf(h, in.seg.Buckets)
	for range min(in.seg.Buckets, window) {
		b := g.t.bucket(&in.seg, i)
		tags := b.tags.Load()
		for match := matches(tags, h); match != 0; match &= match - 1 {
			slot := slotIn(match)
			if word := b.slots[slot].Load(); word != 0 && word>>offsetBits == slotBits(h) {
				r := in.row(i)
				r.setHint(slot, g.stripe.hint(r.hint(slot)&useMask+1))
				return
			}
		}
		if tags < overflowed {
			return
		}
		i = in.next(i)
	}
}
