package slab_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// two returns the allocators of two attaches of one small arena.
func two(t *testing.T, o *arena.Options) (one, other *slab.Slab) {
	t.Helper()
	seg := shmtest.Segment(t, o)
	return slab.Of(shmtest.OnSegment(t, seg, o)), slab.Of(shmtest.OnSegment(t, seg, o))
}

// Blocks of one attach, freed by another: they come back to both.
func TestShare_RemoteFree(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		one, other := two(t, small(page))
		for range 3 {
			for _, n := range []uint64{16, 100, 2000} {
				refs := reserveAll(t, one, n)
				freeAll(t, other, refs)
				again := reserveAll(t, one, n)
				require.Equal(t, len(refs), len(again))
				freeAll(t, one, again)
				again = reserveAll(t, other, n)
				require.Equal(t, len(refs), len(again))
				freeAll(t, one, again)
			}
		}
		quiet(t, one)
	})
}

// When memory is short, blocks that another process keeps for itself are had all
// the same; it notices.
func TestShare_TakeHeld(t *testing.T) {
	one, other := two(t, small(65536)) // one page
	mine, err := grab(one, 96)
	require.NoError(t, err)
	refs := reserveAll(t, other, 96)
	require.Len(t, refs, 680-1)
	_, err = grab(one, 96)
	require.ErrorIs(t, err, slab.ErrFull)
	require.NoError(t, other.Free(refs[0]))
	got, err := grab(one, 96)
	require.NoError(t, err, "stolen back")
	require.Equal(t, refs[0], got)
	freeAll(t, one, append(refs[1:], got, mine))
	quiet(t, one)
}

// An arena that is nearly empty is never full, however many allocate from its
// one page at a time.
func TestShare_NeverFullWhileEmpty(t *testing.T) {
	one, other := two(t, small(65536))
	rounds := 20000
	if mem.Race || testing.Short() {
		rounds = 1000
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	for g := range 8 {
		s := one
		if g%2 == 1 {
			s = other
		}
		all.Go(func() {
			for range rounds {
				ref, err := grab(s, 96)
				if err != nil {
					failed.Add(1)
					continue
				}
				if err := s.Free(ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// Whoever has the page may lose his processor for longer than anybody waits.
	require.LessOrEqual(t, failed.Load(), int64(8*rounds/500), "of %d", 8*rounds)
}

// Many goroutines of two attaches on shared cells: whatever a cell holds is
// whole, and in the end everything is accounted for.
func TestShare_Stress(t *testing.T) {
	for _, o := range []*arena.Options{
		{Size: 300 << 10, Processes: 4, Objects: 8},
		{Size: 1 << 20, MaxSize: 16 << 20, Processes: 4, Objects: 8},
		{Size: 1 << 20, PageSize: 65536, Processes: 4, Objects: 8},
	} {
		t.Run(fmt.Sprintf("%d", o.Size), func(t *testing.T) {
			seg := shmtest.Segment(t, o)
			a, b := shmtest.OnSegment(t, seg, o), shmtest.OnSegment(t, seg, o)
			const n = 400
			one := createCells(t, a, n)
			other := mustOpenCells(t, b, n)
			var all sync.WaitGroup
			var full atomic.Int64
			for g := range 6 {
				c := one
				if g%2 == 1 {
					c = other
				}
				rnd := rand.New(rand.NewPCG(uint64(g), 9))
				all.Go(func() {
					for range modelOps(60_000) / 6 {
						if err := step(c, rnd); errors.Is(err, slab.ErrFull) {
							full.Add(1)
						} else if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			one.check(t)
			shmtest.Clean(t, a)
			for i := range n {
				require.NoError(t, other.del(i))
			}
			require.Equal(t, 1, shmtest.Clean(t, a).Blocks)
			quiet(t, one.s)
			t.Logf("full %d times", full.Load())
		})
	}
}

// step does one random thing.
func step(c *cells, rnd *rand.Rand) error {
	i := rnd.IntN(c.n)
	switch rnd.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		return c.del(i)
	case 6:
		op, err := c.s.Begin()
		if err != nil {
			return err
		}
		defer op.End()
		_, err = op.Reserve(randomSize(rnd))
		runtime.Gosched()
		return err
	default:
		return c.put(i, randomSize(rnd), rnd.Uint64())
	}
}

// Two goroutines take blocks of the same page in turn, each in its own lane: no
// block is given to both.
func TestShare_OnePage(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(65536)))
	var mu sync.Mutex
	owner := make(map[uint64]int)
	var all sync.WaitGroup
	for g := range 2 {
		all.Go(func() {
			for range modelOps(50_000) {
				ref, err := grab(s, 48)
				if err != nil {
					continue
				}
				mu.Lock()
				if was, ok := owner[ref]; ok {
					t.Errorf("block %#x is owned by %d and given to %d", ref, was, g)
				}
				owner[ref] = g
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				delete(owner, ref)
				mu.Unlock()
				if err := s.Free(ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// Many make and break runs at a time, beside others who take single pages.
// Nobody gets a page that somebody else has.
func TestShare_Runs(t *testing.T) {
	o := &arena.Options{Size: 160 << 10, Processes: 4, Objects: 8}
	one, other := two(t, o)
	var mu sync.Mutex
	owner := make(map[uint64]int) // by page
	pages := one.Floor().Pages
	claim := func(g int, ref, size uint64, take bool) {
		mu.Lock()
		defer mu.Unlock()
		for p := pages.PageAt(ref); p <= pages.PageAt(ref+size-1); p++ {
			if was, ok := owner[p]; take && ok {
				t.Errorf("page %d belongs to %d and is given to %d", p, was, g)
			}
			if delete(owner, p); take {
				owner[p] = g
			}
		}
	}
	var all sync.WaitGroup
	for g := range 6 {
		s := one
		if g%2 == 1 {
			s = other
		}
		rnd := rand.New(rand.NewPCG(uint64(g), 11))
		all.Go(func() {
			for range modelOps(30_000) {
				n := 4096 * (1 + rnd.Uint64N(4))
				if g == 5 {
					n = 100
				}
				ref, err := grab(s, n)
				if err != nil {
					if !errors.Is(err, slab.ErrFull) {
						t.Error(err)
					}
					continue
				}
				if n != 100 {
					claim(g, ref, n, true)
					runtime.Gosched()
					claim(g, ref, n, false)
				}
				if err := s.Free(ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	run, err := grab(one, pages.Pages()<<12)
	require.NoError(t, err, "all pages are free")
	require.NoError(t, one.Free(run))
	quiet(t, one)
}

// An attach that closes beside others that take from it, and take what it
// leaves.
func TestShare_CloseAgainstTake(t *testing.T) {
	o := small(8192)
	seg := shmtest.Segment(t, o)
	a := shmtest.OnSegment(t, seg, o)
	const n = 30
	c := createCells(t, a, n)
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		rnd := rand.New(rand.NewPCG(5, 5))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := c.put(rnd.IntN(n), 16+rnd.Uint64N(3000), rnd.Uint64()); err != nil && !errors.Is(err, slab.ErrFull) {
				t.Error(err)
			}
		}
	})
	for range modelOps(3000) {
		b, err := arena.Attach(seg, o)
		require.NoError(t, err)
		s := slab.Of(b)
		var refs []uint64
		for _, size := range []uint64{16, 24, 100, 700, 1000, 3000} {
			if ref, err := grab(s, size); err == nil {
				refs = append(refs, ref)
			}
		}
		freeAll(t, s, refs)
		require.NoError(t, b.Close())
	}
	close(stop)
	all.Wait()
	c.check(t)
	shmtest.Clean(t, a)
}

// After Close nothing is allocated or freed, and whoever was at it gets
// ErrClosed or completes.
func TestClose_WhileAllocating(t *testing.T) {
	for range 20 {
		seg := shmtest.Segment(t, small(4096))
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		s := slab.Of(a)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					op, err := s.Begin()
					if err != nil {
						if !errors.Is(err, arena.ErrClosed) {
							t.Error(err)
						}
						return
					}
					if _, err := op.Reserve(100); err != nil && !errors.Is(err, arena.ErrClosed) {
						t.Error(err)
					}
					op.End()
				}
			})
		}
		runtime.Gosched()
		require.NoError(t, a.Close())
		all.Wait()
		require.ErrorIs(t, s.Free(1), arena.ErrClosed)
		b := shmtest.OnSegment(t, seg, nil)
		require.Zero(t, shmtest.Clean(t, b).Blocks)
		quiet(t, slab.Of(b))
	}
}

func TestReadOnly(t *testing.T) {
	o := small(4096)
	a := shmtest.Named(t, o)
	createCells(t, a, 4)
	b, err := arena.Open(a.Name(), &arena.Options{ReadOnly: true})
	require.NoError(t, err)
	s := slab.Of(b)
	_, err = s.Begin()
	require.ErrorIs(t, err, arena.ErrReadOnly)
	require.ErrorIs(t, s.Free(4096), arena.ErrReadOnly)
	require.NoError(t, b.Close())
}

// A block that was freed while an open record names it is not handed out before
// the record is closed, not even by who has freed it: settling the record may
// free it once more (B1).
func TestShare_FreedAndNamed(t *testing.T) {
	one, other := two(t, small(4096))
	op, err := one.Begin()
	require.NoError(t, err)
	ref, err := op.Reserve(1000)
	require.NoError(t, err)
	freed := other.Free(ref)
	all := reserveAll(t, other, 1000)
	op.Record.Close()
	op.End()
	require.NoError(t, freed)
	require.NotContains(t, all, ref)
	got, err := grab(other, 1000)
	require.NoError(t, err)
	require.Equal(t, ref, got)
	freeAll(t, other, append(all, got))
}
