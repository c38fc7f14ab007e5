package intent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// A grove is a world with a tree in it: a directory of 8 words, and segments of 4,
// 2, 1 and 1 of them. A lock for each half of the hashes, lockAt and the word
// behind it.
const (
	headOff  = 320
	groveAll = 8
)

func newGrove(t testing.TB) (*world, *proc) {
	t.Helper()
	w := newWorld(t, 8)
	p := w.attach()
	tr := w.tree()
	ref := tree.DirRef(p.link(tr.DirAt(0), tree.DirSize(3), func(ref uint64) uint64 { return tree.DirRef(ref, 3) }), 3)
	d, err := tr.Open(ref)
	require.NoError(t, err)
	zero(w, d.Off, tree.DirSize(3))
	entries := 0
	for _, s := range [][2]uint64{{0, 4}, {4, 2}, {6, 1}, {7, 1}} {
		first, n := s[0], s[1]
		depth := map[uint64]uint{4: 1, 2: 2, 1: 3}[n]
		seg := p.segment(depth, 1)
		for i := range n {
			d.At(first + i).Store(seg.Word)
		}
		for slot := range uint64(3) {
			p.link(seg.SlotAt(0, 2*slot), 64, func(ref uint64) uint64 { return slot<<44 | ref })
			entries++
		}
	}
	tr.Raise()
	w.sound(nil)
	return w, p
}

func (w *world) tree() *tree.Tree {
	tr, err := tree.At(w.view, headOff)
	require.NoError(w.t, err)
	return tr
}

func (w *world) dir() tree.Dir {
	w.t.Helper()
	d, err := w.tree().Look()
	require.NoError(w.t, err)
	return d
}

func zero(w *world, off, n uint64) { mem.Zero(w.view.Base().Add(off), n) }

// block reserves a block under the record's name; 0: there is none.
func (p *proc) block(r *Record, size uint64) uint64 {
	p.w.t.Helper()
	class, ok := p.pages.ClassFor(size)
	require.True(p.w.t, ok)
	for {
		pg, _, ok := p.pages.Find(p.find.Begin(pages.HintClass+class, class))
		if !ok {
			if pg, ok = p.pages.TakeFree(&p.find, class); !ok {
				return 0
			}
		}
		p.pages.Collect(pg, class, func() []uint64 { return p.Named(nil) })
		rounds := p.pages.Rounds(pg, class, nil)
		p.pages.Leave(pg, class, p.at())
		for i := range rounds {
			if c := new(pages.Chamber); p.pages.Next(&rounds[i], p.owner.ID(), p.at(), c) {
				r.Alloc(c.Off)
				c.Mark()
				p.pages.LeaveRound(&rounds[i], p.at())
				if c := &p.pages.Classes()[class]; len(rounds) > 1 || p.pages.Page(pg).Used < c.Blocks {
					p.pages.Hint(pg)
				}
				return c.Off
			}
		}
	}
}

// link puts a new block at a word that is 0.
func (p *proc) link(target, size uint64, word func(ref uint64) uint64) uint64 {
	p.w.t.Helper()
	r, i := p.take()
	defer p.pool.Give(i)
	ref := p.block(r, size)
	require.NotZero(p.w.t, ref)
	p.Apply(r, &Change{Lock: lockAt, Target: target, New: word(ref)})
	return ref
}

// segment makes an empty segment that nothing leads to.
func (p *proc) segment(depth uint, buckets uint64) tree.Segment {
	p.w.t.Helper()
	r, i := p.take()
	defer p.pool.Give(i)
	s := p.fresh(r, depth, buckets)
	r.Close()
	return s
}

// fresh reserves a segment under the record's name.
func (p *proc) fresh(r *Record, depth uint, buckets uint64) tree.Segment {
	p.w.t.Helper()
	ref := p.block(r, tree.Size(buckets))
	require.NotZero(p.w.t, ref)
	zero(p.w, ref, tree.Size(buckets))
	return tree.Parse(tree.Word(ref, depth, buckets))
}

// under runs f under the lock at off.
func (p *proc) under(off uint64, f func()) {
	p.w.t.Helper()
	lock := mem.Must[psync.Mutex](p.view, off)
	require.NoError(p.w.t, lock.Lock(p.owner, func() error { return p.SettleLock(off) }))
	f()
	lock.Unlock()
}

// lockOf is the lock of the range of a hash.
func lockOf(h uint64) uint64 { return lockAt + h>>63*8 }

// hashAt is a hash whose word is i of 8.
func hashAt(i uint64) uint64 { return i<<61 + 12345 }

// split splits the segment of a hash in two, or makes it larger.
func (p *proc) split(h uint64, larger bool) {
	p.w.t.Helper()
	d := p.w.dir()
	old := tree.Parse(d.Word(h).Load())
	r, i := p.take()
	defer p.pool.Give(i)
	var second *Record
	var low, high tree.Segment
	if larger {
		low = p.fresh(r, old.Depth, 2*old.Buckets)
		high = low
	} else {
		var k int
		second, k = p.take()
		defer p.pool.Give(k)
		low, high = p.fresh(r, old.Depth+1, old.Buckets), p.fresh(second, old.Depth+1, old.Buckets)
	}
	p.under(lockOf(h), func() {
		k := uint64(0)
		old.Slots(p.view, func(_, word uint64) bool {
			to := [2]*tree.Segment{&low, &high}[k%2]
			mem.Must[psync.Word64](p.view, to.SlotAt(to.Buckets-1, k)).Store(word)
			k++
			return true
		})
		require.NoError(p.w.t, p.ApplySplit(r, second, &Split{Lock: lockOf(h), Tree: headOff, Hash: h, Old: old.Word, Low: low.Word, High: high.Word}))
	})
	require.False(p.w.t, r.Open() || second != nil && second.Open())
}

// double doubles the directory.
func (p *proc) double() {
	p.w.t.Helper()
	tr := p.w.tree()
	bits := p.w.dir().Bits + 1
	r, i := p.take()
	defer p.pool.Give(i)
	ref := p.block(r, tree.DirSize(bits))
	require.NotZero(p.w.t, ref)
	p.under(tr.LockAt(), func() {
		d := p.w.dir()
		to, err := tr.Open(tree.DirRef(ref, bits))
		require.NoError(p.w.t, err)
		for k := range to.Len() {
			to.At(k).Store(d.At(k / 2).Load())
		}
		p.Apply(r, &Change{Lock: tr.LockAt(), Target: tr.DirAt(0), Old: d.Ref, New: to.Ref, Version: tr.VersionAt()})
	})
}

// drain takes the tree down, n blocks at a time. A range in which nothing is left
// is passed by if its lock is free: then nobody has died in it with a record open,
// whose target would be in the directory that is freed at the end.
func (p *proc) drain(n int) {
	p.w.t.Helper()
	tr := p.w.tree()
	ref := tr.Dir(0).Load()
	if ref == 0 {
		return
	}
	d, err := tr.Open(ref)
	require.NoError(p.w.t, err)
	r, i := p.take()
	defer p.pool.Give(i)
	half := d.Len() / 2
	for k := range uint64(2) {
		if _, ok, _ := d.Next(p.view, k*half, (k+1)*half); !ok && mem.Must[psync.Mutex](p.view, lockAt+8*k).Consistent() {
			continue
		}
		for done := false; !done; {
			p.under(lockAt+8*k, func() {
				left := n
				done, err = p.DrainWords(r, lockAt+8*k, d, k*half, (k+1)*half, &left)
				require.NoError(p.w.t, err)
				require.GreaterOrEqual(p.w.t, left, 0)
				require.True(p.w.t, done || left == 0)
			})
		}
	}
	p.under(tr.LockAt(), func() { require.NoError(p.w.t, p.DrainDir(r, tr.LockAt(), tr, 0)) })
}

// sound wants a whole tree whose words lead to all blocks that are in use, but
// for those taken, each once. It returns the entries.
func (w *world) sound(taken []uint64) (entries []uint64) {
	w.t.Helper()
	return w.reached(taken, true)
}

// reached is sound, whole or not.
func (w *world) reached(taken []uint64, whole bool) (entries []uint64) {
	w.t.Helper()
	refs := slices.Clone(taken)
	w.tree().Walk(0, &tree.Walk{
		Whole: whole,
		Reach: func(p tree.Place) bool {
			refs = append(refs, p.Off)
			if p.What == "entry" {
				entries = append(entries, p.Word)
			}
			return true
		},
		Damage: func(err error) { require.NoError(w.t, err) },
	})
	require.ElementsMatch(w.t, w.inUse(), refs)
	slices.Sort(entries)
	return entries
}

// settled wants no record open.
func (w *world) settled() {
	w.t.Helper()
	table := w.table(w.locks.Holder())
	for s := range slots {
		for i := range PerSlot {
			require.False(w.t, table.record(s, i).Open(), "record %d of slot %d", i, s)
		}
	}
}
