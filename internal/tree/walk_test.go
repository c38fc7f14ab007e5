package tree_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// A plot is memory with a tree in it, made by hand: two sides, the first one
// current.
type plot struct {
	view *mem.View
	tree *tree.Tree
	end  uint64
}

const headAt = 64

func newPlot(t testing.TB) *plot {
	t.Helper()
	p := &plot{view: mem.NewView(make([]byte, 1<<16), 1<<16), end: 1024}
	var err error
	p.tree, err = tree.At(p.view, headAt)
	require.NoError(t, err)
	return p
}

func (p *plot) word(off uint64) *psync.Word64 { return mem.Must[psync.Word64](p.view, off) }

func (p *plot) alloc(n uint64) uint64 {
	at := p.end
	p.end += (n + 63) &^ 63
	return at
}

// segment makes one of so many buckets, with an entry in each of these slots,
// counted over all buckets.
func (p *plot) segment(depth uint, buckets uint64, slots ...uint64) uint64 {
	s := tree.Parse(tree.Word(p.alloc(tree.Size(buckets)), depth, buckets))
	for _, i := range slots {
		p.word(s.SlotAt(i/tree.Slots, i%tree.Slots)).Store(i<<44 | p.alloc(16))
	}
	return s.Word
}

// dir makes a directory of these words and puts it on a side.
func (p *plot) dir(side int, bits uint, words ...uint64) tree.Dir {
	ref := tree.DirRef(p.alloc(tree.DirSize(bits)), bits)
	p.tree.Dir(side).Store(ref)
	d, err := p.tree.Open(ref)
	if err != nil {
		panic(err)
	}
	for i, w := range words {
		d.At(uint64(i)).Store(w)
	}
	return d
}

// seen is what a walk came to, in words, and the damage that it met.
func (p *plot) seen(side int, whole bool) (places, damage []string) {
	p.tree.Walk(side, &tree.Walk{
		Whole: whole,
		Reach: func(l tree.Place) bool {
			places = append(places, fmt.Sprintf("%s %#x by %#x", l.What, l.Off, l.At))
			return true
		},
		Damage: func(err error) { damage = append(damage, err.Error()) },
	})
	return places, damage
}

// at is a place as seen has it.
func at(what string, word, by uint64) string {
	return fmt.Sprintf("%s %#x by %#x", what, word&(1<<44-1), by)
}

// mixed has segments of depths 1, 2 and 3 in a directory of 8 words.
func mixed(t testing.TB) (*plot, tree.Dir, [4]uint64) {
	p := newPlot(t)
	segments := [4]uint64{p.segment(1, 3, 0, 7, 17), p.segment(2, 1), p.segment(3, 2, 11), p.segment(3, 1, 2)}
	a, b, c, d := segments[0], segments[1], segments[2], segments[3]
	return p, p.dir(0, 3, a, a, a, a, b, b, c, d), segments
}

func TestWalk(t *testing.T) {
	p, d, s := mixed(t)
	places, damage := p.seen(0, true)
	require.Empty(t, damage)
	a, c, e := tree.Parse(s[0]), tree.Parse(s[2]), tree.Parse(s[3])
	slot := func(g *tree.Segment, bucket, i uint64) string {
		off := g.SlotAt(bucket, i)
		return at("entry", p.word(off).Load(), off)
	}
	require.Equal(t, []string{
		at("directory", d.Off, p.tree.DirAt(0)),
		at("segment", s[0], d.WordAt(3)), slot(&a, 0, 0), slot(&a, 1, 1), slot(&a, 2, 5),
		at("segment", s[1], d.WordAt(5)),
		at("segment", s[2], d.WordAt(6)), slot(&c, 1, 5),
		at("segment", s[3], d.WordAt(7)), slot(&e, 0, 2),
	}, places)
}

// Sizes are what the blocks must have at least.
func TestWalk_Sizes(t *testing.T) {
	p, _, _ := mixed(t)
	var sizes []uint64
	p.tree.Walk(0, &tree.Walk{Reach: func(l tree.Place) bool {
		sizes = append(sizes, l.Size)
		return l.What == "directory" // and not into the segments
	}})
	require.Equal(t, []uint64{64, 4 * 64, 2 * 64, 3 * 64, 2 * 64}, sizes)
}

func TestWalk_Empty(t *testing.T) {
	p := newPlot(t)
	places, damage := p.seen(1, false)
	require.Empty(t, places)
	require.Empty(t, damage)
	_, damage = p.seen(1, true)
	require.Len(t, damage, 1)
	require.Contains(t, damage[0], "the tree at 0x40 has no directory")
}

// Any of the words of a segment may be 0 where the side is not current, but not
// where it is.
func TestWalk_Half(t *testing.T) {
	for mask := range 16 {
		p, d, s := mixed(t)
		last := -1
		for i := range 4 {
			if mask>>i&1 != 0 {
				d.At(uint64(i)).Store(0)
			} else {
				last = i
			}
		}
		places, damage := p.seen(0, false)
		require.Empty(t, damage)
		if last >= 0 {
			require.Contains(t, places, at("segment", s[0], d.WordAt(uint64(last))))
			require.Len(t, places, 10)
		} else {
			require.Len(t, places, 6)
		}
		_, damage = p.seen(0, true)
		if mask == 0 {
			require.Empty(t, damage)
		} else {
			require.Len(t, damage, 1)
			require.Contains(t, damage[0], "is 0")
		}
	}
}

// What is wrong is said, with its place, and the rest is walked over.
func TestWalk_Damage(t *testing.T) {
	const far = 1 << 43
	for name, c := range map[string]struct {
		do   func(p *plot, d *tree.Dir, s [4]uint64)
		text string
		rest int // places found all the same
	}{
		"directory of 2^0 words":   {func(p *plot, d *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(d.Off) }, "a directory of 2^0 words", 0},
		"directory too large":      {func(p *plot, d *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(d.Off | 21<<44) }, "a directory of 2^21 words", 0},
		"directory of all bits":    {func(p *plot, _ *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(^uint64(0)) }, "directory", 0},
		"directory beyond the end": {func(p *plot, d *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(d.Off | 20<<44) }, "directory of the tree at 0x40", 0},
		"directory outside":        {func(p *plot, _ *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(3<<44 | far) }, "directory of the tree at 0x40", 0},
		"directory misaligned":     {func(p *plot, d *tree.Dir, _ [4]uint64) { p.tree.Dir(0).Store(3<<44 | d.Off + 4) }, "directory of the tree at 0x40", 0},
		"word is 0":                {func(_ *plot, d *tree.Dir, _ [4]uint64) { d.At(2).Store(0) }, "word 2 of the directory", 10},
		"last word is 0":           {func(_ *plot, d *tree.Dir, _ [4]uint64) { d.At(7).Store(0) }, "word 7 of the directory", 8},
		"segment outside":          {func(_ *plot, d *tree.Dir, _ [4]uint64) { d.At(7).Store(tree.Word(far, 3, 1)) }, "word 7 of the directory", 8},
		"segment beyond the end":   {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(7).Store(s[3] | tree.Word(0, 0, tree.MaxBuckets)) }, "word 7 of the directory", 8},
		"segment misaligned":       {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(6).Store(s[2] + 4) }, "word 6 of the directory", 8},
		"no buckets":               {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(6).Store(tree.Word(s[2]&(1<<44-1), 3, 0)) }, "word 6 of the directory", 8},
		"too deep":                 {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(6).Store(s[2] + 1<<58) }, "depth 4", 8},
		"deepest":                  {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(6).Store(s[2] | 63<<58) }, "depth 63", 8},
		"not deep enough":          {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(6).Store(s[2] - 1<<58) }, "but word 6 of the same segment", 8},
		"one word of two too deep": {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(4).Store(s[1] + 1<<58) }, "word 5 of the directory", 9},
		"the second one too deep":  {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(5).Store(s[1] + 1<<58) }, "but word 4 of the same segment", 9},
		"one word of four":         {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(1).Store(s[3]) }, "but word 0 of the same segment", 8},
		"other buckets":            {func(_ *plot, d *tree.Dir, s [4]uint64) { d.At(1).Store(s[0] + 1<<44) }, "but word 0 of the same segment", 6},
		"slot outside":             {func(p *plot, _ *tree.Dir, s [4]uint64) { g := tree.Parse(s[2]); p.word(g.SlotAt(0, 0)).Store(far) }, "the slot at", 10},
		"slot misaligned":          {func(p *plot, _ *tree.Dir, s [4]uint64) { g := tree.Parse(s[2]); p.word(g.SlotAt(0, 0)).Store(1) }, "the slot at", 10},
		"slot of all bits": {func(p *plot, _ *tree.Dir, s [4]uint64) {
			g := tree.Parse(s[2])
			p.word(g.SlotAt(0, 0)).Store(^uint64(0))
		}, "the slot at", 10},
	} {
		t.Run(name, func(t *testing.T) {
			p, d, s := mixed(t)
			c.do(p, &d, s)
			places, damage := p.seen(0, true)
			require.NotEmpty(t, damage)
			require.Contains(t, fmt.Sprint(damage), c.text)
			require.Len(t, places, c.rest)
		})
	}
}

func TestNext_Range(t *testing.T) {
	p, d, s := mixed(t)
	_, _, err := d.Next(p.view, 0, 2)
	require.ErrorIs(t, err, mem.ErrCorrupt)
	require.ErrorContains(t, err, "has the words up to 4, but they end at 2")
	part, ok, err := d.Next(p.view, 4, 6)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, tree.Part{Segment: tree.Parse(s[1]), First: 4, N: 2, Last: 5}, part)
	_, ok, err = d.Next(p.view, 8, 99)
	require.NoError(t, err)
	require.False(t, ok)
}

// Any word may be anything: no panic, no endless walk.
func TestWalk_Hostile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	end := func() uint64 { p, _, _ := mixed(t); return p.end }()
	for off := uint64(headAt); off < end; off += 8 {
		for _, v := range []uint64{0, 1, 64, 1 << 43, 1<<44 | 1024, 20<<44 | 64, 1<<58 | 1<<44 | 1024, 1 << 63, ^uint64(0), random.Uint64(), random.Uint64()} {
			p, _, _ := mixed(t)
			p.word(off).Store(v)
			p.seen(0, true)
			p.seen(1, true)
			_, _ = p.tree.Look()
			_ = p.tree.Check()
		}
	}
}

func TestCheck(t *testing.T) {
	p, _, _ := mixed(t)
	require.NoError(t, p.tree.Check())
	p.word(headAt + 40 + 8).Store(7)
	require.ErrorContains(t, p.tree.Check(), "spare word 1 of the tree at 0x40 is 0x7")
	require.ErrorIs(t, p.tree.Check(), mem.ErrCorrupt)
}

func TestDir_Copy(t *testing.T) {
	p, d, s := mixed(t)
	c := d.Copy()
	c.At(0).Store(0)
	require.Equal(t, s[0], d.At(0).Load())
	require.Equal(t, s[3], c.At(7).Load())
	require.Equal(t, d.WordAt(7), c.WordAt(7))
	_, damage := p.seen(0, true)
	require.Empty(t, damage)
}

// The offsets that records name are those of the fields.
func TestHead(t *testing.T) {
	p := newPlot(t)
	p.tree.Version().Store(5)
	p.tree.Dir(0).Store(11)
	p.tree.Dir(1).Store(12)
	require.EqualValues(t, 5, p.word(p.tree.VersionAt()).Load())
	require.EqualValues(t, 11, p.word(p.tree.DirAt(0)).Load())
	require.EqualValues(t, 12, p.word(p.tree.DirAt(1)).Load())
	require.Equal(t, p.tree.LockAt(), tree.LockIn(headAt))
	require.Same(t, mem.Must[psync.Mutex](p.view, p.tree.LockAt()), p.tree.Lock())
	require.Same(t, mem.Must[psync.Mutex](p.view, p.tree.SwapAt()), p.tree.Swap())
	for i := range uint64(5) {
		v := p.tree.Version().Load()
		require.Equal(t, int(i%2), tree.SideOf(v))
		require.Equal(t, i, tree.EpochOf(v))
		p.tree.Raise()
		require.Equal(t, v+1, p.tree.Version().Load())
		p.tree.Exchange()
		require.NotEqual(t, v, p.tree.Version().Load())
	}
}

func TestRange(t *testing.T) {
	_, d, s := mixed(t)
	for h, want := range map[uint64][3]uint64{
		0: {s[0], 0, 4}, 1<<63 - 1: {s[0], 0, 4}, 1 << 63: {s[1], 4, 2}, 6 << 61: {s[2], 6, 1}, ^uint64(0): {s[3], 7, 1},
	} {
		word := d.Word(h).Load()
		first, n := d.Range(h, tree.Parse(word).Depth)
		require.Equal(t, want, [3]uint64{word, first, n})
	}
}
