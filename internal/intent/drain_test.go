package intent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

func TestDrain(t *testing.T) {
	for n := 1; n < 20; n++ {
		w, p := newGrove(t)
		p.split(hashAt(0), false)
		version := w.tree().Version().Load()
		p.drain(n)
		require.Zero(t, w.tree().Dir(0).Load())
		require.Equal(t, version, w.tree().Version().Load())
		require.Empty(t, w.inUse())
		w.settled()
		p.drain(n)
	}
}

// A batch is what it was said to be, and stands where it can be walked over.
func TestDrain_Batch(t *testing.T) {
	w, p := newGrove(t)
	d, r := w.dir(), p.Record(p.slot(), 0)
	have := len(w.inUse())
	for {
		left := 2
		done, err := p.DrainWords(r, lockAt, d, 0, d.Len(), &left)
		require.NoError(t, err)
		require.Len(t, w.inUse(), have-2+left)
		have -= 2 - left
		places := 0
		w.tree().Walk(0, &tree.Walk{
			Reach:  func(tree.Place) bool { places++; return true },
			Damage: func(err error) { require.NoError(t, err) },
		})
		require.Equal(t, have, places)
		if done {
			break
		}
		require.Zero(t, left)
		_, err = p.DrainWords(r, lockAt, d, 0, d.Len(), &left)
		require.NoError(t, err, "nothing is left to do with")
		require.Len(t, w.inUse(), have)
	}
	require.Equal(t, 1, have, "the directory")
	require.NoError(t, p.DrainDir(r, lockAt, w.tree(), 0))
	require.Empty(t, w.inUse())
	require.NoError(t, p.DrainDir(r, lockAt, w.tree(), 0))
}

// A tree that is half built, or half taken down.
func TestDrain_Half(t *testing.T) {
	for mask := range 15 {
		w, p := newGrove(t)
		d := w.dir()
		for i := range 4 {
			if mask>>i&1 != 0 {
				d.At(uint64(i)).Store(0)
			}
		}
		p.drain(3)
		require.Empty(t, w.inUse())
	}
}

// What is not the tree's is not freed, and what is wrong is said.
func TestDrain_Damage(t *testing.T) {
	const far = 1 << 43
	for name, c := range map[string]struct {
		do   func(w *world, d *tree.Dir, s *tree.Segment)
		text string
	}{
		"segment outside":   {func(_ *world, d *tree.Dir, s *tree.Segment) { d.At(7).Store(tree.Word(far, 3, 1)) }, "word 7 of the directory"},
		"segment is free":   {func(_ *world, d *tree.Dir, s *tree.Segment) { d.At(7).Store(s.Word + 128) }, "leads to a segment"},
		"inside a block":    {func(_ *world, d *tree.Dir, s *tree.Segment) { d.At(7).Store(s.Word + 8) }, "leads to a segment"},
		"too many buckets":  {func(_ *world, d *tree.Dir, s *tree.Segment) { d.At(7).Store(s.Word + 1<<44) }, "a segment of 192 bytes"},
		"not deep enough":   {func(_ *world, d *tree.Dir, _ *tree.Segment) { d.At(6).Store(d.At(6).Load() - 1<<58) }, "of the same segment"},
		"one word too deep": {func(_ *world, d *tree.Dir, s *tree.Segment) { d.At(4).Store(d.At(4).Load() + 1<<58) }, "leads to the segment at"},
		"entry outside":     {func(w *world, _ *tree.Dir, s *tree.Segment) { w.word(s.SlotAt(0, 5)).Store(far) }, "leads to a entry"},
		"entry is none":     {func(w *world, _ *tree.Dir, s *tree.Segment) { w.word(s.SlotAt(0, 5)).Store(1 << 44) }, "leads to a entry"},
		"entry twice": {func(w *world, _ *tree.Dir, s *tree.Segment) {
			w.word(s.SlotAt(0, 5)).Store(w.word(s.SlotAt(0, 0)).Load())
		}, "leads to a entry"},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newGrove(t)
			mine := p.store(0, p.page())
			d := w.dir()
			s := tree.Parse(d.At(7).Load())
			c.do(w, &d, &s)
			r, left := p.Record(p.slot(), 0), 1000
			for range 2 {
				done, err := p.DrainWords(r, lockAt, d, 0, d.Len(), &left)
				require.False(t, done)
				require.ErrorIs(t, err, mem.ErrCorrupt)
				require.ErrorContains(t, err, c.text)
				require.Contains(t, w.inUse(), mine)
				require.Contains(t, w.inUse(), d.Off)
				require.ErrorIs(t, p.DrainDir(r, lockAt, w.tree(), 0), mem.ErrCorrupt)
			}
			w.settled()
		})
	}
}

func TestDrainDir_Refused(t *testing.T) {
	w, p := newGrove(t)
	d, r := w.dir(), p.Record(p.slot(), 0)
	require.ErrorContains(t, p.DrainDir(r, lockAt, w.tree(), 0), "is to be freed, but its word 3")
	left := 1000
	done, err := p.DrainWords(r, lockAt, d, 0, d.Len(), &left)
	require.NoError(t, err)
	require.True(t, done)
	for _, ref := range []uint64{tree.DirRef(d.Off, 4), tree.DirRef(d.Off+8, 2), tree.DirRef(d.Off, 0), tree.DirRef(1<<43, 3)} {
		w.tree().Dir(0).Store(ref)
		require.ErrorIs(t, p.DrainDir(r, lockAt, w.tree(), 0), mem.ErrCorrupt)
		require.Equal(t, []uint64{d.Off}, w.inUse())
	}
}
