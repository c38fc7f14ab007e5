package intent

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

func TestNamed(t *testing.T) {
	o := open(t)
	require.ElementsMatch(t, []uint64{o.new}, o.dead.Named(nil))
	o.replace(nil)
	require.ElementsMatch(t, []uint64{o.old, o.new}, o.dead.Named(nil))
	s := o.attach()
	require.ElementsMatch(t, []uint64{1, o.old, o.new}, s.Named([]uint64{1}), "appended, seen by others")
	o.dead.kill()
	require.ElementsMatch(t, []uint64{o.old, o.new}, s.Named(nil), "and after death")
	s.mustRecover(1)
	require.Empty(t, s.Named(nil))
	o.r.op.Store(lockAt<<8 | opReplace)
	require.Empty(t, s.Named(nil), "a free slot names nothing")
}

// The rule of the scan, while records change: a block that is freed is not
// handed out as long as a record names it. Each writer frees blocks under a
// record, and says so before and after; the collector takes them back.
func TestNamed_WhileRecordsChange(t *testing.T) {
	w := newWorld(t, 8)
	collector := w.attach()
	pg := collector.page()
	const cells = 8
	var owner [cells]atomic.Uint64 // the block whose record is open, by writer
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	blocks := make(chan uint64, 64)
	for g := range 3 {
		d := w.attach()
		all.Go(func() {
			r, i := d.take()
			defer d.pool.Give(i)
			for range rounds {
				ref := <-blocks
				owner[g].Store(ref)
				r.Replace(&Change{Lock: uint64(lockAt), Target: targetAt(g), Old: ref})
				d.free(ref)
				for range rand.IntN(50) {
					d.Named(nil)
				}
				owner[g].Store(0)
				r.Close()
			}
		})
	}
	go func() { all.Wait(); close(stop) }()
	r, i := collector.take()
	defer collector.pool.Give(i)
	live := 0
	for {
		select {
		case <-stop:
			return
		default:
		}
		ref := collector.reserve(r, pg)
		if ref == 0 {
			continue
		}
		for g := range owner {
			if owner[g].Load() == ref {
				t.Fatalf("block %#x was handed out while the record of writer %d named it", ref, g)
			}
		}
		r.Close() // the writer owns it now
		live++
		select {
		case blocks <- ref:
		case <-stop:
			return
		}
	}
}

// Two goroutines take blocks of one page, each by rounds of its own; what they
// are given is never the same.
func TestB2_TwoGoroutinesOnePage(t *testing.T) {
	w := newWorld(t, 1)
	d := w.attach()
	pg := d.page()
	var mu sync.Mutex
	var got []uint64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 32 {
				r, i := d.take()
				ref := d.takeOne(r, pg, r.Inside())
				r.Close()
				d.pool.Give(i)
				mu.Lock()
				got = append(got, ref)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 64)
}

// takeOne tries until it has a block of the page.
func (p *proc) takeOne(r *Record, pg uint64, at *psync.Word64) uint64 {
	for {
		if !p.pages.Take(pg, class, p.owner.ID(), at) {
			continue
		}
		rounds := p.pages.Rounds(pg, class, nil)
		p.pages.Leave(pg, class, at)
		if c := new(pages.Chamber); p.pages.Next(&rounds[0], p.owner.ID(), at, c) {
			r.Alloc(c.Off)
			c.Mark()
			p.pages.LeaveRound(&rounds[0], at)
			return c.Off
		}
	}
}
