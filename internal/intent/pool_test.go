package intent

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPool_Exhausted(t *testing.T) {
	p := newWorld(t, 1).attach().pool
	seen := make(map[*Record]bool)
	for range PerSlot - nested {
		r, _, ok := p.Take()
		require.True(t, ok)
		require.False(t, seen[r])
		seen[r] = true
	}
	for range nested { // they are there for those who hold one
		r, i, ok := p.TakeNested()
		require.True(t, ok)
		require.False(t, seen[r])
		require.GreaterOrEqual(t, i, PerSlot-nested)
		seen[r] = true
	}
	got := make(chan int)
	go func() {
		_, i, _ := p.Take()
		got <- i
	}()
	p.Give(5)
	require.Equal(t, 5, <-got, "whoever waited got the record that was given back")
	require.False(t, p.Close(), "records are out")
	_, _, ok := p.Take()
	require.False(t, ok)
	_, _, ok = p.TakeNested()
	require.False(t, ok)
	for i := range PerSlot {
		p.Give(i)
	}
	require.True(t, p.Close())
	require.True(t, p.Close(), "twice is no error")
}

// A record is in one hand at a time; nobody who waits for a nested one can be
// what its holder waits for; after Close nobody gets one.
func TestPool_Stress(t *testing.T) {
	w := newWorld(t, 1)
	p := w.attach().pool
	var inHand [PerSlot]atomic.Int32
	rounds := 5000
	if testing.Short() {
		rounds = 500
	}
	hold := func(take func() (*Record, int, bool), inside func()) bool {
		_, i, ok := take()
		if !ok {
			return false
		}
		if inHand[i].Add(1) != 1 {
			t.Errorf("record %d is in two hands", i)
		}
		inside()
		inHand[i].Add(-1)
		p.Give(i)
		return true
	}
	var all sync.WaitGroup
	for range 3 * PerSlot {
		all.Go(func() {
			for range rounds / PerSlot {
				hold(p.Take, func() { hold(p.TakeNested, runtime.Gosched) })
			}
		})
	}
	all.Wait()

	var after atomic.Bool
	for range 8 {
		all.Go(func() {
			for hold(p.Take, func() {
				if after.Load() {
					t.Error("in use after Close said that all are back")
				}
			}) {
			}
		})
	}
	for !p.Close() {
		runtime.Gosched()
	}
	after.Store(true)
	all.Wait()
}
