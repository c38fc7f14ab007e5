package slab_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// A page that is empty but for a block that an open record names is of no use
// to another class, or to a run. When the record is closed it is.
func TestHints_EmptyAfterQuarantine(t *testing.T) {
	for what, want := range map[string]func(n uint64, page int) uint64{
		"class": func(uint64, int) uint64 { return 2000 },
		"run":   func(n uint64, page int) uint64 { return n * uint64(page) },
	} {
		t.Run(what, func(t *testing.T) {
			eachPage(t, func(t *testing.T, page int) {
				s, other := two(t, small(page))
				sweep(t, s)
				n := s.Floor().Pages.Pages()
				refs := reserveAll(t, s, 96)
				op, err := s.Begin()
				require.NoError(t, err)
				op.Record.Alloc(refs[0]) // as a record that has just unlinked it
				freeAll(t, s, refs)
				size := want(n, page)
				for range n * uint64(page) / 2000 {
					if _, err = grab(other, size); err != nil {
						break
					}
				}
				require.ErrorIs(t, err, slab.ErrFull, "a page is still under quarantine")
				op.Record.Close()
				op.End()
				_, err = grab(other, size)
				require.NoError(t, err, "a whole page is free, or all of them")
			})
		})
	}
}

// Somebody is in the page with the last free blocks as another one looks, and
// leaves it a moment later: that is no full arena.
func TestShare_NotFullAfterLeave(t *testing.T) {
	seg := shmtest.Segment(t, small(65536)) // one page
	var s [3]*slab.Slab
	for i := range s {
		s[i] = slab.Of(shmtest.OnSegment(t, seg, nil))
	}
	sweep(t, s[0])
	refs := reserveAll(t, s[0], 96)
	require.NoError(t, s[0].Free(refs[0])) // and keeps it
	table := s[1].Floor().Pages
	class, _ := table.ClassFor(96)
	me := s[1].Floor().Owner.ID()
	at := s[1].Floor().Records.Record(me.Slot(), 0).Inside()
	for range 20 {
		start := time.Now()
		require.True(t, table.Enter(0, class, me, at))
		var all sync.WaitGroup
		var ref uint64
		var err error
		all.Go(func() { ref, err = grab(s[2], 96) })
		time.Sleep(5 * time.Millisecond)
		table.Leave(0, class, at)
		inside := time.Since(start)
		all.Wait()
		if err != nil && inside > 10*time.Millisecond {
			continue // longer than anybody waits: we had lost the processor
		}
		require.NoError(t, err, "nobody is in the page, and it has a free block")
		require.NoError(t, s[2].Free(ref))
	}
}

// Whoever looks in vain for a block of one class does not hide the free blocks
// of another class, which somebody keeps, from a third.
func TestShare_HeldWhileOthersSearch(t *testing.T) {
	seg := shmtest.Segment(t, small(4096))
	var s [3]*slab.Slab
	for i := range s {
		s[i] = slab.Of(shmtest.OnSegment(t, seg, nil))
	}
	sweep(t, s[0])
	refs := reserveAll(t, s[0], 96)
	require.NoError(t, s[0].Free(refs[0]))
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := grab(s[2], 2000); err == nil {
					t.Error("there is no such block")
				}
			}
		}
	})
	failed := 0
	rounds := modelOps(20000)
	for i := range rounds {
		// In turn, and never two at a time: there is always one free block.
		ref, err := grab(s[i%2], 96)
		if err != nil {
			failed++
			continue
		}
		require.NoError(t, s[i%2].Free(ref))
	}
	close(stop)
	all.Wait()
	require.LessOrEqual(t, failed, 1+rounds/500, "s[2] may lose the processor in the page for longer than anybody waits")
}

// Many short-lived processes that each take a block and keep it do not make the
// arena grow beyond what they use.
func TestClose_LeavesMagazines(t *testing.T) {
	o := &arena.Options{Size: 128 << 10, MaxSize: 64 << 20, Processes: 4, Objects: 8}
	seg := shmtest.Segment(t, o)
	keeper := slab.Of(shmtest.OnSegment(t, seg, o))
	sweep(t, keeper)
	before := pagesIn(keeper)
	const n = 200
	for range n {
		a, err := arena.Attach(seg, o)
		require.NoError(t, err)
		_, err = grab(slab.Of(a), 96)
		require.NoError(t, err)
		require.NoError(t, a.Close())
	}
	// 42 blocks a page, and a few for lanes.
	require.LessOrEqual(t, pagesIn(keeper)-before, 20, "pages for %d blocks of 96 bytes", n)
}

// sweep frees whatever is in use when the test is over.
func sweep(t *testing.T, s *slab.Slab) {
	t.Cleanup(func() {
		var refs []uint64
		s.Floor().Pages.Census(func(b pages.Block) { refs = append(refs, b.Off) })
		freeAll(t, s, refs)
	})
}

// pagesIn returns how many pages are cut.
func pagesIn(s *slab.Slab) int {
	c := s.Floor().Pages.Census(func(pages.Block) {})
	return int(c.Pages - c.Free)
}

// A search for lost hints finds also a page that somebody living is in at that
// moment: he sets no hint as he leaves.
func TestRescan_Inside(t *testing.T) {
	s, other := two(t, small(65536))
	sweep(t, s)
	refs := reserveAll(t, s, 96)
	for _, ref := range refs[1:] {
		require.NoError(t, s.Floor().Pages.Free(ref))
	}
	table := other.Floor().Pages
	class, _ := table.ClassFor(96)
	// Somebody takes the hints and dies.
	at := new(psync.Word64)
	me := other.Floor().Owner.ID()
	find := pages.Search{Me: me, At: at}
	p, _, ok := table.Find(find.Begin(pages.HintClass+class, class))
	require.True(t, ok)
	table.Leave(p, class, at)
	if p, _, ok := table.Find(find.Begin(pages.HintHeld, class)); ok {
		table.Leave(p, class, at)
	}
	// Somebody else is in the page as its hints are looked for.
	require.True(t, table.Enter(p, class, me, at))
	other.Floor().Pages.Rescan()
	table.Leave(p, class, at)
	got := reserveAll(t, other, 96)
	require.Len(t, got, len(refs)-1)
}

// A block in each of many places, as goroutines of many processes take them, does not
// leave an arena without room for a large one.
func TestRun_BesideMany(t *testing.T) {
	const processes, lanes, page = 12, 8, 4096
	size := int64(page) * 64 * 72
	o := &arena.Options{Size: size, MaxSize: size, PageSize: page, Processes: processes + 4}
	seg := shmtest.Segment(t, o)
	var first *slab.Slab
	var ops []slab.Op
	begin := func(s *slab.Slab) slab.Op {
		op, err := s.Begin()
		require.NoError(t, err)
		ops = append(ops, op)
		return op
	}
	for range processes {
		s := slab.Of(shmtest.OnSegment(t, seg, o))
		if first == nil {
			first = s
		}
		for range lanes {
			op := begin(s)
			_, err := op.Reserve(64)
			require.NoError(t, err)
		}
	}
	op := begin(first)
	_, err := op.Reserve(uint64(size) / 4)
	for i := range ops {
		ops[i].End()
	}
	require.NoError(t, err)
}
