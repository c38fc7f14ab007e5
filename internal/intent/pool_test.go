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

// Barrier waits for whoever has a record when it begins, and for nobody who
// comes later.
func TestPool_Barrier(t *testing.T) {
	p := newWorld(t, 1).attach().pool
	p.Barrier()
	_, early, _ := p.Take()
	_, nestedOne, _ := p.TakeNested()
	passed := make(chan struct{})
	go func() {
		p.Barrier()
		close(passed)
	}()
	for _, i := range []int{nestedOne, early} {
		runtime.Gosched()
		select {
		case <-passed:
			t.Fatal("passed while a record was out")
		default:
		}
		p.Give(i)
	}
	<-passed
	p.Take()
	p.Close()
	p.Barrier() // closed: does not wait
}

func TestRecord_Reserved(t *testing.T) {
	o := open(t)
	ref, ok := o.r.Reserved()
	require.True(t, ok)
	require.Equal(t, o.new, ref)
	_, locked := o.r.Lock()
	require.False(t, locked)
	o.replace(nil)
	_, ok = o.r.Reserved()
	require.False(t, ok, "it is the structure's to settle now")
	off, locked := o.r.Lock()
	require.True(t, locked)
	require.EqualValues(t, lockAt, off)
	o.r.Close()
	_, ok = o.r.Reserved()
	require.False(t, ok)
}
