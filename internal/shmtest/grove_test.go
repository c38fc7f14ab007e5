package shmtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	trees "github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// A grove is an object whose blocks are in a tree of package internal/tree: the
// plainest one, with one lock for all hashes.
//
//	0   lock
//	64  head
type grove struct {
	a    *arena.Arena
	s    *slab.Slab
	h    *arena.Object
	tree *trees.Tree
}

const groveHead = 64

var groveSpec = arena.Spec{
	Kind: arena.KindOwn, Fingerprint: 0x960e, Types: "test grove", Size: groveHead + trees.HeadSize,
	Trace: arena.Trace{Tree: true, First: groveHead},
}

// plant makes a grove without a trees.
func plant(t testing.TB, a *arena.Arena, name string) *grove {
	t.Helper()
	h, err := slab.Of(a).Create(name, groveSpec, func(root mem.Ptr) { mem.Zero(root, groveSpec.Size) })
	require.NoError(t, err)
	return groveOf(t, a, h)
}

func groveOf(t testing.TB, a *arena.Arena, h *arena.Object) *grove {
	t.Helper()
	s := slab.Of(a)
	tr, err := trees.At(s.View(), h.Ref()+groveHead)
	require.NoError(t, err)
	return &grove{a: a, s: s, h: h, tree: tr}
}

func (g *grove) word(off uint64) *psync.Word64 { return mem.Must[psync.Word64](g.s.View(), off) }

func (g *grove) under(lock uint64, f func() error) error {
	floor := g.s.Floor()
	m := mem.Must[psync.Mutex](g.s.View(), lock)
	if err := m.Lock(floor.Owner, func() error { return floor.Records.SettleLock(lock) }); err != nil {
		return err
	}
	defer m.Unlock()
	return f()
}

// graft puts a new block of zeros at a word that is 0, under the swap lock.
func (g *grove) graft(target, size uint64, word func(ref uint64) uint64) (uint64, error) {
	op, err := g.s.Begin()
	if err != nil {
		return 0, err
	}
	defer op.End()
	ref, err := op.ReserveZeroed(size)
	if err != nil {
		return 0, err
	}
	return word(ref), g.under(g.tree.SwapAt(), func() error {
		g.s.Floor().Records.Apply(op.Record, &intent.Change{Lock: g.tree.SwapAt(), Target: target, New: word(ref)})
		return nil
	})
}

// grow builds a tree of 4 words on a side: segments of 2, 1 and 1 of them, with so
// many buckets and entries.
func (g *grove) grow(side int, buckets, entries uint64) error {
	ref, err := g.graft(g.tree.DirAt(side), trees.DirSize(2), func(ref uint64) uint64 { return trees.DirRef(ref, 2) })
	if err != nil {
		return err
	}
	d, err := g.tree.Open(ref)
	if err != nil {
		return err
	}
	for _, at := range [][2]uint64{{1, 1}, {2, 2}, {3, 2}} {
		word, err := g.graft(d.WordAt(at[0]), trees.Size(buckets), func(ref uint64) uint64 { return trees.Word(ref, uint(at[1]), buckets) })
		if err != nil {
			return err
		}
		if at[0] == 1 {
			d.At(0).Store(word)
		}
		s := trees.Parse(word)
		for i := range entries {
			if _, err := g.graft(s.SlotAt(i/trees.Slots, i%trees.Slots), 24, func(ref uint64) uint64 { return i<<44 | ref }); err != nil {
				return err
			}
		}
	}
	return nil
}

// planted makes a grove with a tree that is current.
func planted(t testing.TB, a *arena.Arena, name string, buckets, entries uint64) *grove {
	t.Helper()
	g := plant(t, a, name)
	require.NoError(t, g.grow(1, buckets, entries))
	require.NoError(t, g.under(g.tree.LockAt(), func() error { g.tree.Exchange(); return nil }))
	return g
}

// split splits the segment of a hash in two.
func (g *grove) split(hash uint64) error {
	one, err := g.s.Begin()
	if err != nil {
		return err
	}
	defer one.End()
	other, err := g.s.Begin()
	if err != nil {
		return err
	}
	defer other.End()
	d, err := g.tree.Look()
	if err != nil {
		return err
	}
	old := trees.Parse(d.Word(hash).Load())
	var to [2]trees.Segment
	for i, op := range []*slab.Op{&one, &other} {
		ref, err := op.ReserveZeroed(trees.Size(old.Buckets))
		if err != nil {
			return err
		}
		to[i] = trees.Parse(trees.Word(ref, old.Depth+1, old.Buckets))
	}
	return g.under(g.h.Ref(), func() error {
		k := uint64(0)
		old.Slots(g.s.View(), func(_, word uint64) bool {
			g.word(to[k%2].SlotAt(k/trees.Slots, k%trees.Slots)).Store(word)
			k++
			return true
		})
		return g.s.Floor().Records.ApplySplit(one.Record, other.Record, &intent.Split{
			Lock: g.h.Ref(), Tree: g.tree.Off(), Side: trees.SideOf(d.Version), Hash: hash, Old: old.Word, Low: to[0].Word, High: to[1].Word,
		})
	})
}

// double doubles the directory.
func (g *grove) double() error {
	op, err := g.s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	d, err := g.tree.Look()
	if err != nil {
		return err
	}
	ref, err := op.Reserve(trees.DirSize(d.Bits + 1))
	if err != nil {
		return err
	}
	to, err := g.tree.Open(trees.DirRef(ref, d.Bits+1))
	if err != nil {
		return err
	}
	return g.under(g.tree.LockAt(), func() error {
		for i := range to.Len() {
			to.At(i).Store(d.At(i / 2).Load())
		}
		g.s.Floor().Records.Apply(op.Record, &intent.Change{
			Lock: g.tree.LockAt(), Target: g.tree.DirAt(trees.SideOf(d.Version)), Old: d.Ref, New: to.Ref, Version: g.tree.VersionAt(),
		})
		return nil
	})
}

// entries counts what the current side leads to, and wants it whole.
func (g *grove) entries(t testing.TB) (n int) {
	t.Helper()
	g.tree.Walk(trees.SideOf(g.tree.Version().Load()), &trees.Walk{
		Whole: true,
		Reach: func(p trees.Place) bool {
			if p.What == "entry" {
				n++
			}
			return true
		},
		Damage: func(err error) { require.NoError(t, err) },
	})
	return n
}

func TestGrove(t *testing.T) {
	a := Heap(t, little())
	g := plant(t, a, "g")
	require.Equal(t, 1, Clean(t, a).Blocks, "there is no tree yet")
	require.NoError(t, g.grow(1, 2, 7))
	require.Equal(t, 1+1+3+21, Clean(t, a).Blocks, "built, and not yet current")
	require.NoError(t, g.under(g.tree.LockAt(), func() error { g.tree.Exchange(); return nil }))
	require.Equal(t, 1+1+3+21, Clean(t, a).Blocks)
	require.NoError(t, g.double())
	require.NoError(t, g.split(0))
	require.NoError(t, g.split(0))
	require.NoError(t, g.split(1<<63))
	require.Equal(t, 1+1+6+21, Clean(t, a).Blocks)
	require.NoError(t, g.grow(0, 1, 2))
	require.Equal(t, 1+1+6+21+1+3+6, Clean(t, a).Blocks)
	require.Equal(t, 21, g.entries(t))
	require.NoError(t, a.Remove("g"))
	require.Equal(t, 1, Clean(t, a).Garbage)
	require.NoError(t, g.h.Close())
	require.Zero(t, Clean(t, a).Blocks)
}

// More than is freed under one lock, and two who free it.
func TestGrove_RemoveLarge(t *testing.T) {
	o := little()
	o.MaxSize = 4 << 20
	a := Heap(t, o)
	for _, half := range []bool{false, true} {
		g := planted(t, a, "g", 80, 470)
		require.NoError(t, g.grow(0, 40, 230))
		require.Greater(t, Clean(t, a).Blocks, 2000)
		if half {
			d, err := g.tree.Look()
			require.NoError(t, err)
			d.At(0).Store(0) // as one leaves it who was taking it down
		}
		require.NoError(t, g.h.Close())
		require.NoError(t, a.Remove("g"))
		require.Zero(t, Clean(t, a).Blocks)
	}
}

// Every word that is wrong is named by Check, and when the object is removed
// nothing is freed that belongs to somebody else.
func TestGrove_Damage(t *testing.T) {
	const far = 1 << 43
	for name, c := range map[string]struct {
		do   func(g *grove, d *trees.Dir)
		text string
		free bool // it can be freed all the same
	}{
		"no directory":         {func(g *grove, _ *trees.Dir) { g.tree.Dir(1).Store(0) }, "has no directory", true},
		"directory of 2^0":     {func(g *grove, d *trees.Dir) { g.tree.Dir(1).Store(d.Off) }, "a directory of 2^0 words", false},
		"directory outside":    {func(g *grove, _ *trees.Dir) { g.tree.Dir(1).Store(trees.DirRef(far, 2)) }, "the directory of the tree", false},
		"directory too large":  {func(g *grove, d *trees.Dir) { g.tree.Dir(1).Store(trees.DirRef(d.Off, 3)) }, "leads to a directory of 64 bytes", false},
		"directory too small":  {func(g *grove, d *trees.Dir) { g.tree.Dir(1).Store(trees.DirRef(d.Off, 1)) }, "which are all it should have", false},
		"directory no block":   {func(g *grove, d *trees.Dir) { g.tree.Dir(1).Store(trees.DirRef(d.Off+8, 2)) }, "is not a block in use", false},
		"directory twice":      {func(g *grove, d *trees.Dir) { g.tree.Dir(0).Store(d.Ref) }, "so does something else", false},
		"the other side":       {func(g *grove, _ *trees.Dir) { g.tree.Dir(0).Store(trees.DirRef(far, 2)) }, "the directory of the tree", false},
		"version":              {func(g *grove, _ *trees.Dir) { g.tree.Exchange() }, "has no directory", true},
		"lock of nobody":       {func(g *grove, _ *trees.Dir) { g.word(g.tree.LockAt()).Store(77 << 20) }, "the lock of a tree", true},
		"lock of all bits":     {func(g *grove, _ *trees.Dir) { g.word(g.tree.LockAt()).Store(^uint64(0)) }, "the lock of a tree", true},
		"swap lock":            {func(g *grove, _ *trees.Dir) { g.word(g.tree.SwapAt()).Store(8) }, "the lock of a tree", true},
		"spare":                {func(g *grove, _ *trees.Dir) { g.word(g.tree.Off() + 56).Store(1) }, "spare word 2 of the tree", true},
		"word 0 is 0":          {func(_ *grove, d *trees.Dir) { d.At(0).Store(0) }, "word 0 of the directory", true},
		"word 3 is 0":          {func(_ *grove, d *trees.Dir) { d.At(3).Store(0) }, "word 3 of the directory", true},
		"word outside":         {func(_ *grove, d *trees.Dir) { d.At(3).Store(trees.Word(far, 2, 1)) }, "word 3 of the directory", false},
		"word of no block":     {func(_ *grove, d *trees.Dir) { d.At(3).Store(d.At(3).Load() + 8) }, "is not a block in use", false},
		"no buckets":           {func(_ *grove, d *trees.Dir) { d.At(3).Store(d.At(3).Load() &^ (trees.MaxBuckets << 44)) }, "word 3 of the directory", false},
		"too many buckets":     {func(_ *grove, d *trees.Dir) { d.At(3).Store(d.At(3).Load() + 9<<44) }, "leads to a segment of", false},
		"too deep":             {func(_ *grove, d *trees.Dir) { d.At(3).Store(d.At(3).Load() + 1<<58) }, "word 3 of the directory", false},
		"not deep enough":      {func(_ *grove, d *trees.Dir) { d.At(2).Store(d.At(2).Load() - 1<<58) }, "of the same segment", false},
		"one of two too deep":  {func(_ *grove, d *trees.Dir) { d.At(0).Store(d.At(0).Load() + 1<<58) }, "leads to the segment", false},
		"segment twice":        {func(_ *grove, d *trees.Dir) { d.At(3).Store(d.At(2).Load()) }, "leads to the segment", false},
		"entry outside":        {func(g *grove, d *trees.Dir) { g.slot(d, 3, 1).Store(far) }, "the slot at", false},
		"entry misaligned":     {func(g *grove, d *trees.Dir) { g.slot(d, 3, 1).Store(g.slot(d, 3, 1).Load() + 4) }, "the slot at", false},
		"entry of no block":    {func(g *grove, d *trees.Dir) { g.slot(d, 3, 1).Store(g.slot(d, 3, 1).Load() + 8) }, "is not a block in use", false},
		"entry twice":          {func(g *grove, d *trees.Dir) { g.slot(d, 3, 1).Store(g.slot(d, 3, 0).Load()) }, "so does something else", false},
		"entry lost":           {func(g *grove, d *trees.Dir) { g.slot(d, 3, 1).Store(0) }, "leaked", true},
		"entry of a segment":   {func(g *grove, d *trees.Dir) { g.slot(d, 2, 1).Store(d.At(2).Load() & (1<<44 - 1)) }, "so does something else", false},
		"trace is not of tree": {func(g *grove, _ *trees.Dir) { g.trace(0, 0) }, "leaked", true},
		"trace with groups":    {func(g *grove, _ *trees.Dir) { g.trace(0, 1<<63|1) }, "object 0: 1 groups of 0", false},
		"trace with a shape":   {func(g *grove, _ *trees.Dir) { g.trace(-1, 1) }, "object 0: 0 groups of 1", false},
		"trace outside":        {func(g *grove, _ *trees.Dir) { g.trace(-2, 72) }, "object 0: a tree at", false},
		"trace far outside":    {func(g *grove, _ *trees.Dir) { g.trace(-2, 1<<63) }, "object 0: a tree at", false},
		"trace misaligned":     {func(g *grove, _ *trees.Dir) { g.trace(-2, 60) }, "object 0: a tree at", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := Heap(t, little(), Unchecked)
			g := planted(t, a, "g", 2, 3)
			keeps := bystander(t, a)
			d, err := g.tree.Look()
			require.NoError(t, err)
			Clean(t, a)
			c.do(g, &d)
			r, err := a.Check()
			require.ErrorIs(t, err, arena.ErrCorrupt)
			require.Contains(t, fmt.Sprint(r.Problems), c.text)
			require.NoError(t, g.h.Close())
			if err := a.Remove("g"); c.free {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, arena.ErrCorrupt)
			}
			keeps()
		})
	}
}

// slot is slot i of the segment of a word.
func (g *grove) slot(d *trees.Dir, word, i uint64) *psync.Word64 {
	s := trees.Parse(d.At(word).Load())
	return g.word(s.SlotAt(0, i))
}

// trace stores a word of the entry of object 0, counted from traceCount.
func (g *grove) trace(i int, word uint64) {
	g.word(uint64(int(g.word(7*8).Load()) + 56 + i*8)).Store(word)
}

// bystander makes another object, and returns what wants all its blocks to be
// there.
func bystander(t *testing.T, a *arena.Arena) func() {
	t.Helper()
	h := tree(t, a, "bystander", 6, 6)
	var refs []uint64
	for i := range 6 {
		refs = append(refs, linked(a, h, i))
	}
	return func() {
		t.Helper()
		for _, ref := range refs {
			_, err := slab.Of(a).Size(ref)
			require.NoError(t, err)
		}
	}
}

// Every word of a grove may be anything: no panic, no hang.
func TestGrove_Hostile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	o := &arena.Options{Size: 64 << 10, MaxSize: 64 << 10, Processes: 2, Objects: 2}
	var offs []uint64
	a := Heap(t, o, Unchecked)
	g := planted(t, a, "g", 1, 2)
	for off := g.h.Ref(); off < g.h.Ref()+groveSpec.Size; off += 8 {
		offs = append(offs, off)
	}
	g.tree.Walk(1, &trees.Walk{Damage: func(err error) { require.NoError(t, err) }, Reach: func(p trees.Place) bool {
		if p.What != "entry" {
			for off := p.Off; off < p.Off+p.Size; off += 8 {
				offs = append(offs, off)
			}
		}
		return true
	}})
	require.NoError(t, a.Close())
	frame, err := a.Freeze()
	require.NoError(t, err)
	for _, off := range offs {
		for _, v := range []uint64{0, 1, 1 << 43, 1<<44 | g.h.Ref(), 2<<44 | g.h.Ref(), 20<<44 | 64, 1<<58 | 1<<44 | g.h.Ref(), ^uint64(0), random.Uint64()} {
			prodGrove(t, frame, off, v)
		}
	}
}

// prodGrove does with an arena all that can be done with it when one word of it
// is wrong.
func prodGrove(t *testing.T, frame []byte, off, v uint64) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("word %#x = %#x: panic: %v", off, v, p)
		}
	}()
	b := append([]byte(nil), frame...)
	binary.LittleEndian.PutUint64(b[off:], v)
	a, err := arena.Attach(shm.HeapBytes(b, int64(len(b))), nil)
	require.NoError(t, err)
	_, _ = a.Check()
	_ = a.Remove("g")
	_, _ = a.Check()
	require.NoError(t, a.Close())
}
