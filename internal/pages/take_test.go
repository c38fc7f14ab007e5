package pages

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/psync"
)

// One at a time is in a page, and its word says who; whoever comes to collect
// raises the epoch.
func TestTake_Hands(t *testing.T) {
	a := newTable(t, 12, 4, 4)
	b := a.other(1)
	p := a.page(t, of64)
	require.Zero(t, a.at.Load())
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	require.EqualValues(t, p+1, a.at.Load(), "the slot names the page")
	require.False(t, b.Enter(p, of64, b.me, &b.at), "somebody is inside")
	require.False(t, b.Take(p, of64, b.me, &b.at))
	a.Leave(p, of64, &a.at)
	require.False(t, b.Take(p, 5, b.me, &b.at), "of another class")
	before := a.entry(p).epoch.Load()
	require.True(t, b.Take(p, of64, b.me, &b.at))
	require.Equal(t, before>>12+1, a.entry(p).epoch.Load()>>12)
	require.Equal(t, b.me.Slot(), a.entry(p).keeper())
	a.Pass(p, a.me.Slot())
	require.Equal(t, b.me, psync.IDOf(a.entry(p).word.Load()), "nobody leaves for somebody else")
	b.Pass(p, b.me.Slot())
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	a.Leave(p, of64, &a.at)
}

// Somebody inside a page is seen, whatever he is about to leave there.
func TestTake_Inside(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, of64)
	_, ok := a.Inside(None-1, 4)
	require.False(t, ok, "no such page")
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	_, ok = a.Inside(p, 7)
	require.True(t, ok, "it is empty, and could become one of any class")
	a.Leave(p, of64, &a.at)
	a.alloc(t, p, of64)
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	_, ok = a.Inside(p, 7)
	require.False(t, ok)
	one, ok := a.Inside(p, of64)
	require.True(t, ok)
	rounds := a.Rounds(p, of64, nil)
	a.Leave(p, of64, &a.at)
	a.next(&rounds[0])
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	two, _ := a.Inside(p, of64)
	require.NotEqual(t, one, two)
}

// A page goes from class to class, keeping nothing but its epoch, which only
// rises.
func TestTake_Recut(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 1, 1)
		p := a.page(t, 0)
		for class := range a.Classes() {
			if class > 0 {
				epoch := a.entry(p).epoch.Load()
				got, was, ok := a.takeBy(HintEmpty, 0)
				require.True(t, ok)
				require.Equal(t, p, got)
				require.Equal(t, class-1, was)
				free, used := a.Collect(p, was, func() []uint64 { return nil })
				require.EqualValues(t, a.Classes()[was].All, free)
				require.Zero(t, used)
				a.Recut(p, class, a.me)
				a.Leave(p, class, &a.at)
				require.Greater(t, a.entry(p).epoch.Load(), epoch)
			}
			var offs []uint64
			for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
				offs = append(offs, off)
			}
			require.Len(t, offs, int(a.Classes()[class].All))
			for _, off := range offs {
				require.NoError(t, a.Free(off))
			}
		}
	})
}

// A freed block that a record names stays out of reach; the others come back.
func TestCollect_Named(t *testing.T) {
	for _, n := range []uint64{16, 64} { // bits in the page, bits in the table
		a := newTable(t, 12, 1, 1)
		class, _ := a.ClassFor(n)
		p := a.page(t, class)
		var offs []uint64
		for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
			offs = append(offs, off)
		}
		for _, off := range offs {
			require.NoError(t, a.Free(off))
		}
		named := []uint64{offs[0], offs[len(offs)-1], offs[len(offs)/2], 0, 8, a.g.DataOff, a.g.End(1), 1 << 43}
		free, used := a.collect(t, p, class, named...)
		require.Equal(t, 3, used)
		require.Equal(t, len(offs)-3, free)
		for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
			require.NotContains(t, named, off)
		}
		free, used = a.collect(t, p, class)
		require.Equal(t, 3, free, "named no longer")
		require.Equal(t, len(offs)-3, used)
	}
}

// A collector that died between its two stores leaves freed without used: not
// in use, not handed out, cleaned by the next one.
func TestCollect_HalfDone(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, of64)
	off := a.alloc(t, p, of64)
	require.NoError(t, a.Free(off))
	a.entry(p).used.Store(0)
	require.False(t, a.InUse(off))
	require.ErrorIs(t, a.Free(off), ErrNotAllocated)
	require.NotEqual(t, off, a.alloc(t, p, of64))
	free, used := a.collect(t, p, of64)
	require.EqualValues(t, 63, free)
	require.Equal(t, 1, used)
	require.Equal(t, off, a.alloc(t, p, of64))
}

func TestDiscard(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, 0)
	require.NoError(t, a.Free(a.alloc(t, p, 0)))
	got, class, ok := a.takeBy(HintEmpty, 0)
	require.True(t, ok)
	require.Equal(t, p, got)
	_, used := a.Collect(p, class, func() []uint64 { return nil })
	require.Zero(t, used)
	a.Discard(p, a.me, &a.at)
	require.Zero(t, a.at.Load())
	c, _ := a.census(t)
	require.EqualValues(t, 1, c.Free)
	require.Equal(t, 1, a.drain(HintFree))
}

// A page that was full is found again when a block of it is freed by anybody; by
// one who keeps the block for himself, only by those who find nothing else.
func TestFree_Hints(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	b := a.other(1)
	p := a.page(t, of64)
	first, second := a.alloc(t, p, of64), a.alloc(t, p, of64)
	for a.alloc(t, p, of64) != 0 {
	}
	_, _, ok := a.takeBy(HintClass+of64, of64)
	require.False(t, ok, "it is full")
	require.NoError(t, b.Free(first))
	got, _, ok := a.takeBy(HintClass+of64, of64)
	require.True(t, ok)
	require.Equal(t, p, got)
	a.Collect(p, of64, func() []uint64 { return nil })
	a.Leave(p, of64, &a.at)
	require.Equal(t, first, a.alloc(t, p, of64))

	err := b.FreeRound(second, new(Round))
	require.NoError(t, err)
	_, _, ok = a.takeBy(HintClass+of64, of64)
	require.False(t, ok)
	got, class, ok := a.takeBy(HintHeld, of64)
	require.True(t, ok)
	require.Equal(t, [2]uint64{p, of64}, [2]uint64{got, uint64(class)})
}

// Held pages of other classes are passed by unless they are empty.
func TestTakeHeld_Other(t *testing.T) {
	a := newTable(t, 12, 2, 2)
	p, q := a.page(t, of64), a.page(t, 5)
	a.alloc(t, p, of64)
	a.Hold(p)
	a.Hold(q)
	got, class, ok := a.takeBy(HintHeld, 7)
	require.True(t, ok)
	require.Equal(t, q, got, "nothing is in use there")
	require.Equal(t, 5, class)
	_, _, ok = a.takeBy(HintHeld, 7)
	require.False(t, ok)
	require.Equal(t, 1, a.drain(HintHeld), "the page that was passed by")
}

// A page that somebody is in while it is looked at is found later: he may be
// taking one block of many.
func TestTake_Busy(t *testing.T) {
	takes := map[string]func(a *attach) bool{
		"class": func(a *attach) bool { _, _, ok := a.takeBy(HintClass+of64, of64); return ok },
		"empty": func(a *attach) bool { _, _, ok := a.takeBy(HintEmpty, 0); return ok },
		"held":  func(a *attach) bool { _, _, ok := a.takeBy(HintHeld, of64); return ok },
	}
	for what, take := range takes {
		a := newTable(t, 12, 1, 1)
		b := a.other(1)
		p := a.page(t, of64)
		a.Hint(p)
		a.Hold(p)
		require.True(t, b.Enter(p, of64, b.me, &b.at))
		require.False(t, take(a), what)
		b.Leave(p, of64, &b.at)
		require.True(t, take(a), what)
	}
}

// Of many who free the same block one succeeds.
func TestFree_OneWins(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	p := a.page(t, of64)
	for i := range 200 {
		off := a.alloc(t, p, of64)
		var wins atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				var err error
				if i%2 == 0 {
					err = a.FreeRound(off, new(Round))
				} else {
					err = a.Free(off)
				}
				if err == nil {
					wins.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, wins.Load())
		a.collect(t, p, of64)
	}
}

// Two who take free pages at the same time do not do so in one chunk, if there are
// many; and when none is whole any more, every page is taken all the same.
func TestTakeFree_Chunks(t *testing.T) {
	const n = 64*manyChunks + 10
	a := newTable(t, 12, n, n)
	b := a.other(1)
	owner := make(map[uint64]*attach)
	for range 300 {
		for _, who := range []*attach{a, b} {
			p := who.page(t, of64)
			if had := owner[p/64]; had != nil {
				require.Same(t, had, who, "page %d lies in a chunk of the other", p)
			}
			owner[p/64] = who
		}
	}
	for range n - 2*300 {
		b.page(t, of64)
	}
	_, ok := a.TakeFree(&a.find, of64)
	require.False(t, ok)
}

// In a small arena pages are taken in order, so that the others stay together for
// runs.
func TestTakeFree_Small(t *testing.T) {
	a := newTable(t, 12, 64*(manyChunks-1), 64*(manyChunks-1))
	b := a.other(1)
	for i := range uint64(100) {
		require.Equal(t, 2*i, a.page(t, of64))
		require.Equal(t, 2*i+1, b.page(t, of64))
	}
}

// However many take a page each, they leave half of the arena to runs.
func TestTakeFree_LeavesRoom(t *testing.T) {
	const chunks = manyChunks + 8
	a := newTable(t, 12, 64*chunks, 64*chunks)
	for slot := range 2 * chunks {
		b := a.other(slot)
		b.find.Home = uint64(slot) * 37
		require.Less(t, b.page(t, of64), uint64(64*chunks/2))
	}
}
