package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/psync"
)

// Each page says what it is, and the census counts what they say.
func TestCensus_Pages(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 12, 12)
		require.True(t, a.MakeRun(0, 3, a.me))
		require.True(t, a.MakeRun(3, 2, a.me))
		require.NoError(t, a.Free(a.RunAt(3)))
		p := a.page(t, of64)
		require.EqualValues(t, 5, p)
		a.alloc(t, p, of64)
		a.alloc(t, p, of64)
		require.Equal(t, []Page{
			{Kind: PageRun, Run: 3, Used: 1}, {Kind: PageTail}, {Kind: PageTail},
			{Kind: PageRun, Run: 2}, {Kind: PageTail},
			{Kind: PageClass, Class: of64, Used: 2}, {Kind: PageFree},
		}, a.look(7))
		c := a.Census(nil)
		require.Empty(t, c.Problems)
		require.Equal(t, [6]uint64{12, 6, 2, 5, 1, 2}, [6]uint64{c.Pages, c.Free, c.Runs, c.RunPages, c.Freed, c.FreedPages})
		require.Equal(t, ClassCensus{Size: a.Classes()[of64].Size, Pages: 1, Used: 2, Free: a.Classes()[of64].Blocks - 2}, c.Classes[of64])
		require.EqualValues(t, 6, c.LargestFree)
		require.Empty(t, c.Inside)
	})
}

// look reads the first n pages.
func (a *attach) look(n uint64) (all []Page) {
	for p := range n {
		all = append(all, a.Page(p))
	}
	return all
}

// Pages that somebody is in, cuts, or puts into a run, by who that is.
func TestCensus_Inside(t *testing.T) {
	a := newTable(t, 12, 8, 8)
	b := a.other(6)
	p, q := a.page(t, of64), a.page(t, 5)
	require.True(t, a.Enter(p, of64, a.me, &a.at))
	require.True(t, b.Enter(q, 5, b.me, &b.at))
	a.entry(6).word.Store(uint64(b.me) | busy | kindRaw)
	a.entry(7).word.Store(uint64(b.me) | busy | kindTail)
	c := a.Census(nil)
	require.Equal(t, map[psync.ID]uint64{a.me: 1, b.me: 3}, c.Inside)
	require.EqualValues(t, 1, c.Raw)
	require.Equal(t, []Page{{Kind: PageClass, Class: of64, Inside: a.me}, {Kind: PageClass, Class: 5, Inside: b.me}}, a.look(2))
	require.Equal(t, Page{Kind: PageRaw, Inside: b.me}, a.Page(6))
	require.Equal(t, Page{Kind: PageTail, Inside: b.me}, a.Page(7))
}

// A page is held as long as its hint says so and a block of it is free; that of
// another kind of page says nothing.
func TestCensus_Held(t *testing.T) {
	a := newTable(t, 12, 5000, 5000) // more than a group of hints
	var last uint64
	for range 4500 {
		last = a.page(t, half)
	}
	require.EqualValues(t, 4499, last)
	require.Zero(t, a.Census(nil).Held)
	for _, p := range []uint64{0, 63, 64, 4095, 4096, last, last + 1} {
		a.Hold(p)
	}
	require.EqualValues(t, 6, a.Census(nil).Held, "the last one is a free page")
	a.alloc(t, 64, half)
	require.EqualValues(t, 6, a.Census(nil).Held)
	off := a.alloc(t, 64, half)
	require.EqualValues(t, 5, a.Census(nil).Held, "nothing of it is free")
	require.NoError(t, a.Free(off))
	require.EqualValues(t, 6, a.Census(nil).Held)
}

// Words that no page can have.
func TestPage_Wrong(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	for _, word := range []uint64{4, 15, 200, kindClass + uint64(len(a.Classes())), busy, 1 << 63, uint64(a.me)} {
		a.entry(0).word.Store(word)
		require.Equal(t, PageWrong, a.Page(0).Kind, "%#x", word)
		require.Len(t, a.Census(nil).Problems, 1, "%#x", word)
	}
	a.entry(0).word.Store(kindRun)
	a.entry(0).used.Store(1<<60 | 1)
	require.Equal(t, Page{Kind: PageRun, Run: 1 << 59, Used: 1}, a.Page(0), "as it says")
}
