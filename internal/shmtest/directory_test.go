package shmtest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// The tests of package arena that need objects: those need an allocator, which
// stands above it.

func little() *arena.Options {
	return &arena.Options{Size: 128 << 10, MaxSize: 1 << 20, Processes: 4, Objects: 8}
}

func TestObjects(t *testing.T) {
	Backings(t, func(t *testing.T, open Opener) {
		a, b := open(little())
		h := tree(t, a, "one", 3, 2)
		require.Equal(t, "one", h.Name())
		require.EqualValues(t, 32, h.Size())
		objects := b.Objects()
		require.Len(t, objects, 1)
		require.Equal(t, arena.ObjectInfo{Name: "one", Kind: arena.KindArray, Fingerprint: 0x7e57, Size: 32, Handles: 1}, objects[0])

		_, err := makeTree(b, "one", 1)
		require.ErrorIs(t, err, fs.ErrExist)
		_, err = openTree(b, "two")
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = b.OpenObject("one", arena.Spec{Kind: arena.KindMap})
		require.ErrorIs(t, err, arena.ErrTypeMismatch)
		require.ErrorContains(t, err, "it is a array, want a map")
		_, err = b.OpenObject("one", arena.Spec{Kind: arena.KindArray, Fingerprint: 1, Types: "Route"})
		require.ErrorIs(t, err, arena.ErrTypeMismatch)
		require.ErrorContains(t, err, "0000000000007e57, want 0000000000000001 for Route")

		g, err := openTree(b, "one")
		require.NoError(t, err)
		require.Equal(t, h.Ref(), g.Ref())
		require.NoError(t, h.Close())
		require.NoError(t, h.Close(), "twice")
		require.ErrorIs(t, h.Err(), arena.ErrClosed)
		require.NoError(t, g.Err())
		require.NoError(t, g.Close())
		require.Zero(t, b.Objects()[0].Handles)
	})
}

func TestObjects_Names(t *testing.T) {
	a := Heap(t, little())
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", arena.MaxName+1)} {
		_, err := makeTree(a, bad, 1)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorIs(t, a.Rename("x", bad), fs.ErrInvalid)
	}
	for _, good := range []string{"a", "12345678", "123456789", "ünïcödé/../x", strings.Repeat("x", arena.MaxName)} {
		h, err := makeTree(a, good, 1)
		require.NoError(t, err)
		require.NoError(t, h.Close())
		require.Equal(t, good, a.Objects()[0].Name)
		require.NoError(t, a.Remove(good))
	}
	Clean(t, a)
}

func TestObjects_Full(t *testing.T) {
	a := Heap(t, little())
	for i := range 8 {
		require.NoError(t, tree(t, a, fmt.Sprint(i), 1, 1).Close())
	}
	_, err := makeTree(a, "one too many", 1)
	require.ErrorIs(t, err, arena.ErrFull)
	require.ErrorContains(t, err, "8 objects")
	Clean(t, a)
	require.NoError(t, a.Remove("3"))
	require.NoError(t, tree(t, a, "fits", 1, 1).Close())
}

// Objects that were removed but are open in a process that was killed are no
// reason to be full.
func TestObjects_FullOfTheDead(t *testing.T) {
	seg := Segment(t, little())
	a := OnSegment(t, seg, nil)
	for i := range 8 {
		tree(t, a, fmt.Sprint(i), 1, 1) // handles stay open
	}
	for i := range 8 {
		require.NoError(t, a.Remove(fmt.Sprint(i)))
	}
	b := OnSegment(t, seg, nil)
	_, err := makeTree(b, "x", 1)
	require.ErrorIs(t, err, arena.ErrFull, "they are open in a living one")
	require.NoError(t, a.Close())
	h, err := makeTree(b, "x", 1)
	require.NoError(t, err)
	require.NoError(t, h.Close())
}

// A removed object stays whole as long as somebody has it open, and says that it
// was removed; its name is free at once.
func TestObjects_Remove(t *testing.T) {
	Backings(t, func(t *testing.T, open Opener) {
		a, b := open(little())
		h := tree(t, a, "x", 4, 4)
		g, err := openTree(b, "x")
		require.NoError(t, err)
		before := Clean(t, a).Blocks
		require.NoError(t, b.Remove("x"))
		require.ErrorIs(t, b.Remove("x"), fs.ErrNotExist)
		require.ErrorIs(t, h.Err(), arena.ErrRemoved)
		require.ErrorIs(t, g.Err(), arena.ErrRemoved)
		require.NotZero(t, linked(a, h, 3))
		require.Equal(t, before, Clean(t, a).Blocks)
		require.Equal(t, 1, Clean(t, a).Garbage)
		fresh := tree(t, b, "x", 1, 0)
		require.NotEqual(t, h.Ref(), fresh.Ref())
		require.NoError(t, h.Close())
		require.Equal(t, before+1, Clean(t, b).Blocks)
		require.NoError(t, g.Close())
		require.Equal(t, 1, Clean(t, b).Blocks)
		require.Zero(t, Clean(t, b).Garbage)
		require.NoError(t, fresh.Err())
		require.NoError(t, fresh.Close())
	})
}

// The handles that a process has open go with it; what only they held is freed
// by the next one.
func TestObjects_CloseWithGarbage(t *testing.T) {
	seg := Segment(t, little())
	a := OnSegment(t, seg, nil)
	tree(t, a, "x", 4, 4)
	require.NoError(t, a.Remove("x"))
	require.NoError(t, a.Close())
	b := OnSegment(t, seg, nil)
	r := Clean(t, b)
	require.Zero(t, r.Garbage)
	require.Zero(t, r.Blocks)
}

// More references than one locked batch frees.
func TestObjects_RemoveLarge(t *testing.T) {
	a := Heap(t, &arena.Options{Size: 1 << 20, MaxSize: 4 << 20, Processes: 4, Objects: 8})
	h, err := makeTree(a, "large", 2000)
	require.NoError(t, err)
	for i := range 2000 {
		require.NoError(t, link(a, h, i, 64))
	}
	require.NoError(t, h.Close())
	require.NoError(t, a.Remove("large"))
	require.Zero(t, Clean(t, a).Blocks)
}

func TestObjects_Rename(t *testing.T) {
	Backings(t, func(t *testing.T, open Opener) {
		a, b := open(little())
		require.ErrorIs(t, a.Rename("x", "y"), fs.ErrNotExist)
		x := tree(t, a, "x", 1, 1)
		require.NoError(t, b.Rename("x", "x"))
		require.NoError(t, b.Rename("x", "y"))
		require.NoError(t, x.Err(), "a handle follows its object")
		_, err := openTree(a, "x")
		require.ErrorIs(t, err, fs.ErrNotExist)
		y, err := openTree(a, "y")
		require.NoError(t, err)
		require.Equal(t, x.Ref(), y.Ref())

		z := tree(t, b, "z", 2, 2)
		require.NoError(t, a.Rename("z", "y"))
		require.ErrorIs(t, x.Err(), arena.ErrRemoved)
		require.NoError(t, z.Err())
		require.Len(t, a.Objects(), 1)
		for _, h := range []*arena.Object{x, y, z} {
			require.NoError(t, h.Close())
		}
		require.Equal(t, 3, Clean(t, a).Blocks)
	})
}

// A full directory can still rename: the name that is left is the one that is
// needed.
func TestObjects_RenameFull(t *testing.T) {
	a := Heap(t, little())
	for i := range 8 {
		require.NoError(t, tree(t, a, fmt.Sprint(i), 1, 0).Close())
	}
	require.NoError(t, a.Rename("5", "fresh"))
	require.Len(t, a.Objects(), 8)
	require.NoError(t, a.Rename("3", "4"))
	Clean(t, a)
}

// Whoever opens a name gets the object of that name, whatever is created,
// removed and renamed meanwhile. Each object's root says which name it has.
func TestObjects_OpenUnderFire(t *testing.T) {
	seg := Segment(t, little())
	a, b := OnSegment(t, seg, nil), OnSegment(t, seg, nil)
	const one, two = 1, 2
	spec := arena.Spec{Kind: arena.KindValue, Size: 16}
	create := func(name string, is uint64) {
		h, err := slab.Of(a).Create(name, spec, func(root mem.Ptr) {
			v := [2]uint64{is, is}
			mem.Write(root, &v)
		})
		if err != nil {
			t.Error(err)
			return
		}
		if err := errors.Join(h.Close(), a.Remove(name)); err != nil {
			t.Error(err)
		}
	}
	var stop atomic.Bool
	var opened atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for !stop.Load() {
				h, err := b.OpenObject("one", spec)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				opened.Add(1)
				// Pinned, so it stays what it was.
				got := mem.Read[[2]uint64](slab.Of(b).View().Base().Add(h.Ref()))
				if got != [2]uint64{one, one} {
					t.Errorf("opened %q, got %v", "one", got)
				}
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4000 {
		create("one", one)
		create("two", two)
	}
	stop.Store(true)
	all.Wait()
	t.Logf("opened %d times", opened.Load())
	require.Zero(t, Clean(t, a).Garbage)
}

// A process is killed in init with objects made and open: the next one starts
// with none, and can have as many as there is room for.
func TestB16_InitStartsAfresh(t *testing.T) {
	seg := Segment(t, &arena.Options{Size: 128 << 10, MaxSize: 1 << 20, Processes: 4, Objects: 8, Init: func(*arena.Arena) error { return nil }})
	fill := func(a *arena.Arena) error { return fillUpTo(a, 8) } // all there is room for
	for range 2 {
		_, err := arena.Attach(seg, &arena.Options{Init: func(a *arena.Arena) error {
			return errors.Join(fill(a), errors.New("no luck"))
		}})
		require.ErrorContains(t, err, "no luck")
		require.Panics(t, func() {
			_, _ = arena.Attach(seg, &arena.Options{Init: func(a *arena.Arena) error {
				_ = fill(a)
				panic("no luck at all")
			}})
		})
	}
	frames := [][]byte{}
	_, err := arena.Attach(seg, &arena.Options{Init: func(a *arena.Arena) error {
		err := fill(a)
		b, _ := a.Freeze()
		frames = append(frames, b) // it is killed here
		return err
	}})
	require.NoError(t, err)
	a := OnSegment(t, shm.HeapBytes(frames[0], 1<<20), &arena.Options{Init: fill})
	require.Len(t, a.Objects(), 8)
	r := Clean(t, a)
	require.Equal(t, 16, r.Blocks)
	require.Zero(t, r.Garbage)
}

// Any word of an arena with objects may be anything: an error or a right
// answer, no panic, no hang.
func TestHostile_Objects(t *testing.T) {
	a := Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 128 << 10, Processes: 2, Objects: 8})
	h := tree(t, a, "tree", 6, 4)
	require.NoError(t, a.Rename("tree", "wood"))
	tree(t, a, "open", 1, 1)
	require.NoError(t, link(a, h, 5, 9000))
	good, err := a.Freeze()
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	for i := 18 * 8; i < len(good); i += 8 {
		if i > 24<<10 && random.IntN(8) != 0 {
			continue // the pages themselves: some of them
		}
		if mem.Race && i%32 != 0 {
			continue // one goroutine
		}
		for range 3 {
			b := append([]byte(nil), good...)
			damage(b[i:i+8], random)
			poke(t, b, fmt.Sprintf("the word at %#x is % x", i, b[i:i+8]))
		}
	}
}

func damage(word []byte, random *rand.Rand) {
	switch random.IntN(3) {
	case 0:
		clear(word)
	case 1:
		word[random.IntN(8)] ^= 1 << random.IntN(8)
	default:
		for i := range word {
			word[i] = byte(random.Uint32())
		}
	}
}

// poke does with an arena of any bytes all that can be done with it.
func poke(t *testing.T, b []byte, what string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s: panic: %v", what, p)
		}
	}()
	a, err := arena.Attach(shm.HeapBytes(b, 128<<10), nil)
	if err != nil {
		return
	}
	_, _ = a.Check()
	for _, o := range a.Objects() {
		h, err := openTree(a, o.Name)
		if err != nil {
			continue
		}
		_ = link(a, h, 0, 100)
		_ = link(a, h, 0, 0)
		_ = h.Close()
	}
	_, _ = makeTree(a, "new", 3)
	_ = a.Rename("new", "wood")
	_ = a.Remove("wood")
	_ = a.Remove("open")
	_, _ = a.Recover()
	_, _ = a.Check()
	_ = a.Close()
}
