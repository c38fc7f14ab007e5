package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// attach is a page table in plain memory, with one identity and its lease list.
type attach struct {
	*Table
	me     psync.ID
	leases []psync.Word64
	rotor  uint64
}

// newTable returns a table with n committed pages of at most max.
func newTable(t testing.TB, shift uint, n, max uint64) *attach {
	t.Helper()
	g, err := Plan(0, 1<<16+max*(EntrySize+1<<shift), shift)
	require.NoError(t, err)
	require.GreaterOrEqual(t, g.MaxPages, n)
	v := mem.NewView(make([]byte, g.End(g.MaxPages)), g.End(n))
	tab, err := NewTable(v, g, func() {})
	require.NoError(t, err)
	tab.Commit(0, n)
	return &attach{Table: tab, me: psync.MakeID(0, 1), leases: make([]psync.Word64, MaxClasses)}
}

// other is a second attach of the same table.
func (a *attach) other(slot int) *attach {
	return &attach{Table: a.Table, me: psync.MakeID(slot, 1), leases: make([]psync.Word64, MaxClasses)}
}

// lease takes a free page for the class.
func (a *attach) lease(t testing.TB, class int) uint64 {
	t.Helper()
	p, ok := a.TakeFree(class, a.me, &a.leases[class], &a.rotor)
	require.True(t, ok)
	return p
}

// alloc marks a block of page p, 0 if there is none.
func (a *attach) alloc(t testing.TB, p uint64, class int) uint64 {
	t.Helper()
	require.True(t, a.Busy(p, class, a.me))
	defer a.Idle(p, class, a.me)
	off, ok := a.Pick(p, class)
	if !ok {
		return 0
	}
	a.Mark(p, class, off)
	return off
}

// words copies page table, hints and the bits in the pages, to see that
// nothing has changed.
func (a *attach) words(t testing.TB) []byte {
	t.Helper()
	src, err := a.view.Slice(0, a.view.Limit())
	require.NoError(t, err)
	return append([]byte(nil), src...)
}

func noNames() []uint64 { return nil }
