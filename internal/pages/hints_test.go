package pages

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Hints behave as a set of pages, across words and groups.
func TestHints_Model(t *testing.T) {
	const pages = 2*groupPages + 77
	a := newTable(t, 12, pages, pages)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []int{HintFree, HintEmpty, HintFreed, HintClass, int(a.kinds) - 1} {
		set := make(map[uint64]bool)
		var rotor uint64
		if kind == HintFree { // all pages are free to begin with
			for p := range uint64(pages) {
				set[p] = true
			}
		}
		for range 20000 {
			switch p := rnd.Uint64N(pages); rnd.IntN(3) {
			case 0:
				a.setHint(kind, p)
				set[p] = true
			default:
				p, ok := a.takeHint(kind, &rotor)
				require.Equal(t, len(set) > 0, ok)
				if ok {
					require.True(t, set[p], "page %d has no hint of kind %d", p, kind)
					delete(set, p)
				}
			}
			require.Equal(t, len(set) > 0, a.Hinted(kind) || len(set) == 0 && a.Hinted(kind))
		}
		for len(set) > 0 {
			p, ok := a.takeHint(kind, &rotor)
			require.True(t, ok)
			require.True(t, set[p])
			delete(set, p)
		}
		require.False(t, a.Hinted(kind))
	}
}

func TestHints_SetFree(t *testing.T) {
	const pages = groupPages + 300
	for _, r := range [][2]uint64{{0, 1}, {0, 64}, {63, 65}, {1, 200}, {64, 128}, {4090, 4200}, {0, pages}, {7, 7}} {
		a := newTable(t, 12, pages, pages)
		var rotor uint64
		for {
			if _, ok := a.takeHint(HintFree, &rotor); !ok {
				break
			}
		}
		a.setFree(r[0], r[1])
		got := make(map[uint64]bool)
		for p, ok := a.takeHint(HintFree, &rotor); ok; p, ok = a.takeHint(HintFree, &rotor) {
			got[p] = true
		}
		require.Len(t, got, int(r[1]-r[0]))
		for p := r[0]; p < r[1]; p++ {
			require.True(t, got[p])
		}
	}
}

// Nothing is lost between those who set and those who take: when all is quiet,
// what was set and not taken is found. Each page is in one hand at a time.
func TestHints_Concurrent(t *testing.T) {
	const pages = 130
	a := newTable(t, 12, pages, pages)
	var inHand [pages]atomic.Bool
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rotor := uint64(g) * 31
			for range rounds {
				p, ok := a.takeHint(HintFree, &rotor)
				if !ok {
					continue
				}
				if inHand[p].Swap(true) {
					t.Errorf("page %d was taken twice", p)
				}
				inHand[p].Store(false)
				a.setHint(HintFree, p)
			}
		})
	}
	all.Wait()
	var rotor uint64
	n := 0
	for _, ok := a.takeHint(HintFree, &rotor); ok; _, ok = a.takeHint(HintFree, &rotor) {
		n++
	}
	require.Equal(t, pages, n)
}

// Whatever single hint word a dead process left behind, a rescan finds every
// page again: a leaf without its summary bit (it died between the two stores),
// a summary bit without leaf, and neither.
func TestRescan_LostHints(t *testing.T) {
	const pages = 100
	damage := map[string]func(a *attach, kind int){
		"summary lost": func(a *attach, kind int) { a.summary(kind, 0).Store(0) },
		"leaf lost":    func(a *attach, kind int) { a.leaf(kind, 0, 0).Store(0); a.leaf(kind, 0, 1).Store(0) },
		"both lost": func(a *attach, kind int) {
			a.summary(kind, 0).Store(0)
			a.leaf(kind, 0, 0).Store(0)
			a.leaf(kind, 0, 1).Store(0)
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			a := newTable(t, 12, pages, pages)
			class, _ := a.ClassFor(64)
			full := a.page(t, class)
			for a.alloc(t, full, class) != 0 {
			}
			half := a.page(t, class)
			a.alloc(t, half, class)
			require.NoError(t, a.Free(a.alloc(t, half, class)))
			empty := a.page(t, class)
			for _, p := range []uint64{full, half, empty} {
				a.Pass(p, 0)
			}
			head, _ := a.FindRun(3)
			require.True(t, a.MakeRun(head, 3, a.me))
			require.NoError(t, a.Free(a.RunAt(head)))
			for _, kind := range []int{HintFree, HintEmpty, HintFreed, HintClass + class} {
				do(a, kind)
			}
			a.Rescan()
			require.Equal(t, pages-3-3, a.drain(HintFree))
			require.Equal(t, 1, a.drain(HintEmpty))
			require.Equal(t, 1, a.drain(HintFreed))
			require.Equal(t, 2, a.drain(HintClass+class))
		})
	}
}

// What one who is stopped in trim hides is shown again by whoever is short of
// pages.
func TestUntrim(t *testing.T) {
	const pages = groupPages + 300
	a := newTable(t, 12, pages, pages)
	for group := range uint64(2) {
		a.summary(HintFree, group).Store(0)
	}
	require.Zero(t, a.drain(HintFree))
	a.Untrim(HintFree)
	require.Equal(t, pages, a.drain(HintFree))
}

// drain takes every hint of a kind and returns how many there were.
func (a *attach) drain(kind int) (n int) {
	for _, ok := a.takeHint(kind, &a.rotor); ok; _, ok = a.takeHint(kind, &a.rotor) {
		n++
	}
	return n
}

// A damaged summary leads nowhere.
func TestHints_Damaged(t *testing.T) {
	a := newTable(t, 12, 10, 10)
	for kind := range int(a.kinds) {
		a.summary(kind, 0).Store(^uint64(0))
		a.leaf(kind, 0, 0).Store(^uint64(0))
	}
	for kind := range int(a.kinds) {
		require.LessOrEqual(t, a.drain(kind), 10)
	}
}
