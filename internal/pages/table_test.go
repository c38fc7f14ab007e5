package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// of64 is the class of 64 bytes in pages of 4 KiB: as many blocks as bits in a
// word.
const of64 = 6

// half is the class of half a page of 4 KiB, wide that of three eighths, quarter that
// of its lodger.
const (
	quarter = 22
	wide    = 24
	half    = 25
)

// attach is a page table in plain memory, with one identity.
type attach struct {
	*Table
	me    psync.ID
	at    psync.Word64 // names the page it is in
	find  Search
	rotor uint64
}

// newTable returns a table with n committed pages of at most max.
func newTable(t testing.TB, shift uint, n, max uint64) *attach {
	t.Helper()
	g, err := Plan(0, 1<<17+max*(EntrySize+1<<shift), shift)
	require.NoError(t, err)
	require.GreaterOrEqual(t, g.MaxPages, n)
	v := mem.NewView(make([]byte, g.End(g.MaxPages)), g.End(n))
	tab, err := NewTable(v, g, func() {})
	require.NoError(t, err)
	tab.Commit(0, n)
	return (&attach{Table: tab}).other(0)
}

// other is a second attach of the same table.
func (a *attach) other(slot int) *attach {
	b := &attach{Table: a.Table, me: psync.MakeID(slot, 1)}
	b.find = Search{Me: b.me, At: &b.at}
	return b
}

// page cuts a free page for the class.
func (a *attach) page(t testing.TB, class int) uint64 {
	t.Helper()
	p, ok := a.TakeFree(&a.find, class)
	require.True(t, ok)
	a.Leave(p, class, &a.at)
	return p
}

// rounds returns what is free on page p, without collecting.
func (a *attach) rounds(t testing.TB, p uint64, class int) []Round {
	t.Helper()
	require.True(t, a.Enter(p, class, a.me, &a.at))
	defer a.Leave(p, class, &a.at)
	return a.Rounds(p, class, nil)
}

// collect takes page p, collects and leaves it.
func (a *attach) collect(t testing.TB, p uint64, class int, named ...uint64) (free, used int) {
	t.Helper()
	require.True(t, a.Take(p, class, a.me, &a.at))
	defer a.Leave(p, class, &a.at)
	return a.Collect(p, class, func() []uint64 { return named })
}

// next marks the next block of a round, 0 if the round is worth nothing.
func (a *attach) next(r *Round) uint64 {
	var c Chamber
	if !a.Next(r, a.me, &a.at, &c) {
		return 0
	}
	c.Mark()
	a.LeaveRound(r, &a.at)
	return c.Off
}

// alloc marks a block of page p, 0 if there is none.
func (a *attach) alloc(t testing.TB, p uint64, class int) uint64 {
	t.Helper()
	rounds := a.rounds(t, p, class)
	if len(rounds) == 0 {
		return 0
	}
	return a.next(&rounds[0])
}

// words copies page table, hints and the bits in the pages, to see that
// nothing has changed.
func (a *attach) words(t testing.TB) []byte {
	t.Helper()
	src, err := a.view.Slice(0, a.view.Limit())
	require.NoError(t, err)
	return append([]byte(nil), src...)
}

// takeBy takes the first page that a search by hints of the kind finds.
func (a *attach) takeBy(kind, class int) (p uint64, is int, ok bool) {
	return a.Find(a.find.Begin(kind, class))
}
