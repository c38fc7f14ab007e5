package arena_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// small is an arena that is cheap to make.
func small() *arena.Options {
	return &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8}
}

// fileOf is where an arena of /dev/shm is.
func fileOf(t testing.TB, name string) string {
	t.Helper()
	files, err := filepath.Glob("/dev/shm/*" + name)
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// requireGone wants no trace of a name, hidden ones included.
func requireGone(t testing.TB, name string) {
	t.Helper()
	entries, err := os.ReadDir("/dev/shm")
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), name)
	}
}

// requireLeft is requireGone after closes that took so long. If that is too long, each
// of two may have left the name to the other, who was stopped: the next opener removes it.
func requireLeft(t testing.TB, name string, took time.Duration) {
	t.Helper()
	if took >= time.Second {
		_, err := arena.Open(name, nil)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	requireGone(t, name)
}

// insides is the door for the floor above, used here to see words.
func insides(a *arena.Arena) *arena.Floor {
	return a.Floor(func(f *arena.Floor) any { return f }).(*arena.Floor)
}

// headerWord is a word of the header.
func headerWord(a *arena.Arena, i uint64) *psync.Word64 {
	return mem.Must[psync.Word64](insides(a).View, i*8)
}

const (
	wordNonce     = 14
	wordCommitted = 17
	wordReady     = 18
)

func nonce(a *arena.Arena) uint64 { return headerWord(a, wordNonce).Load() }

func TestCreate(t *testing.T) {
	shmtest.NeedNamed(t)
	name := shmtest.Name(t)
	a, err := arena.Create(name, small())
	require.NoError(t, err)
	require.Equal(t, name, a.Name())
	require.EqualValues(t, 256<<10, a.MaxSize())
	require.LessOrEqual(t, a.Size(), int64(72<<10), "about the size asked for")
	require.Equal(t, 4096, a.PageSize())
	require.False(t, a.ReadOnly())
	require.Contains(t, a.String(), name)
	info, err := os.Stat(fileOf(t, name))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	ps, err := a.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 1)
	require.Equal(t, os.Getpid(), ps[0].PID)
	require.Equal(t, filepath.Base(os.Args[0]), ps[0].Name[:min(len(ps[0].Name), 40)])
	require.True(t, ps[0].Alive)
	require.WithinDuration(t, time.Now(), ps[0].Started, time.Minute)

	_, err = arena.Create(name, small())
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "twice")
	require.NoError(t, arena.Remove(name, nil))
	requireGone(t, name)
}

func TestOpen(t *testing.T) {
	shmtest.NeedNamed(t)
	name := shmtest.Name(t)
	_, err := arena.Open(name, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, name)

	a, err := arena.Create(name, small())
	require.NoError(t, err)
	b, err := arena.Open(name, nil)
	require.NoError(t, err)
	require.Equal(t, nonce(a), nonce(b))
	require.Equal(t, a.MaxSize(), b.MaxSize())
	ps, err := a.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 2)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())

	again, err := arena.Open(name, nil)
	require.NoError(t, err, "it is kept")
	shmtest.Clean(t, again)
	ps, err = again.Processes()
	require.NoError(t, err)
	require.EqualValues(t, 2, ps[0].Incarnation)
	require.NoError(t, again.Close())
}

func TestOpenOrCreate(t *testing.T) {
	shmtest.NeedNamed(t)
	name := shmtest.Name(t)
	a, err := arena.OpenOrCreate(name, small())
	require.NoError(t, err)
	defer a.Close()
	for _, o := range []*arena.Options{nil, small(), {}, {Processes: 2}} {
		b, err := arena.OpenOrCreate(name, o)
		require.NoError(t, err)
		require.Equal(t, nonce(a), nonce(b))
		require.NoError(t, b.Close())
	}
	for _, o := range []*arena.Options{{MaxSize: 512 << 10}, {PageSize: 8192}} {
		b, err := arena.OpenOrCreate(name, o)
		require.ErrorIs(t, err, arena.ErrTypeMismatch)
		require.Nil(t, b)
	}
	ps, err := a.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 1, "the others have left")
}

func TestRemove(t *testing.T) {
	shmtest.NeedNamed(t)
	name := shmtest.Name(t)
	require.ErrorIs(t, arena.Remove(name, nil), fs.ErrNotExist)
	a, err := arena.Create(name, small())
	require.NoError(t, err)
	removed, err := a.Removed()
	require.NoError(t, err)
	require.False(t, removed)

	require.NoError(t, arena.Remove(name, nil))
	removed, err = a.Removed()
	require.NoError(t, err)
	require.True(t, removed)
	shmtest.Clean(t, a)
	b, err := arena.Create(name, small())
	require.NoError(t, err)
	require.NotEqual(t, nonce(a), nonce(b))
	require.NoError(t, a.Close())
	shmtest.Clean(t, b)
	require.NoError(t, b.Close())

	// What is no arena can be removed too.
	require.NoError(t, os.WriteFile(fileOf(t, name), nil, 0o600))
	require.NoError(t, arena.Remove(name, nil))
	requireGone(t, name)
}

func TestDir(t *testing.T) {
	shmtest.NeedNamed(t)
	dir := t.TempDir()
	o := small()
	o.Dir = dir
	a, err := arena.OpenOrCreate("it", o)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the file system of the test directory holds no segments: ", err)
	}
	require.NoError(t, err)
	list, err := arena.List(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "it", list[0].Name)
	require.NoError(t, a.Close())
	require.NoError(t, arena.Remove("it", &arena.Options{Dir: dir}))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestOptions_Limits(t *testing.T) {
	shmtest.NeedNamed(t)
	for text, o := range map[string]*arena.Options{
		"want 0 <= Size <= MaxSize": {Size: 2 << 20, MaxSize: 1 << 20},
		"size -1":                   {Size: -1},
		"at most 35184372088832":    {Size: 4096, MaxSize: 1 << 45},
		"page size 1000":            {PageSize: 1000},
		"page size 2048":            {PageSize: 2048},
		"page size 131072":          {PageSize: 128 << 10},
		"for 4096 processes":        {Processes: 4096},
		"for -1 processes":          {Processes: -1},
		"for 257 objects":           {Objects: 257},
		"lifetime 7":                {Lifetime: 7},
		"no room for a page":        {Size: 4096, MaxSize: 4096},
		"read-only":                 {ReadOnly: true},
	} {
		_, err := arena.Create(shmtest.Name(t), o)
		require.ErrorContains(t, err, text)
	}
	_, err := arena.Create("a/b", nil)
	require.Error(t, err)
}

func TestOptions_Sizes(t *testing.T) {
	for _, o := range []*arena.Options{
		nil, {}, {Size: 100 << 10}, {MaxSize: 100 << 10}, {Size: 1, MaxSize: 1 << 20},
		{PageSize: 64 << 10}, {Processes: 4095, Objects: 256, Size: 16 << 20},
		{Size: 64 << 10, MaxSize: 64 << 20},
	} {
		a := shmtest.Heap(t, o)
		r := shmtest.Clean(t, a)
		require.Positive(t, r.Pages.Pages)
		require.Equal(t, r.Pages.Pages, r.Pages.Free)
		require.Equal(t, r.SegmentBytes, r.OverheadBytes+r.FreeBytes)
		if o != nil && o.Size > 4096 && o.MaxSize == 0 {
			require.LessOrEqual(t, a.Size(), o.Size)
		}
	}
}

func TestReadOnly(t *testing.T) {
	shmtest.NeedNamed(t)
	a := shmtest.Named(t, small())
	r, err := arena.Open(a.Name(), &arena.Options{ReadOnly: true})
	require.NoError(t, err)
	require.True(t, r.ReadOnly())
	ps, err := r.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 1)
	require.True(t, ps[0].Alive)
	shmtest.Clean(t, r)
	_, err = r.Recover()
	require.ErrorIs(t, err, arena.ErrReadOnly)
	require.ErrorIs(t, r.Remove("x"), arena.ErrReadOnly)
	require.ErrorIs(t, r.Rename("x", "y"), arena.ErrReadOnly)
	_, err = r.OpenObject("x", arena.Spec{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, r.Close())

	_, err = arena.OpenOrCreate(shmtest.Name(t), &arena.Options{ReadOnly: true})
	require.ErrorIs(t, err, arena.ErrReadOnly)
}

func TestClosed(t *testing.T) {
	shmtest.NeedNamed(t)
	a := shmtest.Named(t, small())
	require.NoError(t, a.Close())
	_, err := a.Check()
	require.ErrorIs(t, err, arena.ErrClosed)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = a.Recover()
	require.ErrorIs(t, err, arena.ErrClosed)
	_, err = a.Processes()
	require.ErrorIs(t, err, arena.ErrClosed)
	_, err = a.Removed()
	require.ErrorIs(t, err, arena.ErrClosed)
	_, err = a.OpenObject("x", arena.Spec{})
	require.ErrorIs(t, err, arena.ErrClosed)
	require.ErrorIs(t, a.Remove("x"), arena.ErrClosed)
	require.ErrorIs(t, a.Rename("x", "y"), arena.ErrClosed)
	require.Empty(t, a.Objects())
	require.Positive(t, a.Size())
}

func TestProcesses_Full(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		o := small()
		o.Processes = 2
		a, b := open(o)
		if a == b || a.Name() == "" {
			return // one attach, or no name to open a third by
		}
		_, err := arena.Open(a.Name(), nil)
		require.ErrorIs(t, err, arena.ErrBusy)
		require.ErrorContains(t, err, "all 2 are in use")
		r, err := arena.Open(a.Name(), &arena.Options{ReadOnly: true})
		require.NoError(t, err, "readers need no slot")
		require.NoError(t, r.Close())
		require.NoError(t, b.Close())
		c, err := arena.Open(a.Name(), nil)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	})
}

func TestAttach_Heap(t *testing.T) {
	seg := shmtest.Segment(t, small())
	a := shmtest.OnSegment(t, seg, nil)
	b := shmtest.OnSegment(t, seg, nil)
	ps, err := a.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 2)
	require.NoError(t, a.Close())
	shmtest.Clean(t, b)
	ps, err = b.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 1)

	raw := shmtest.RawHeap(t, 4096)
	_, err = arena.Attach(raw, nil)
	require.ErrorIs(t, err, arena.ErrCorrupt)
	require.ErrorContains(t, arena.Format(raw, small()), "room for 4096")
}

// Many come and go at the same time, on one segment: the race detector sees
// their tables.
func TestAttach_Concurrent(t *testing.T) {
	o := small()
	o.Processes = 8 // room for all, also while some of the places are being recovered
	seg := shmtest.Segment(t, o)
	keeper := shmtest.OnSegment(t, seg, nil)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 100 {
				a, err := arena.Attach(seg, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := a.Recover(); err != nil {
					t.Error(err)
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r := shmtest.Clean(t, keeper)
	require.Len(t, r.Processes, 1)
}

// The limit of a view never goes back while two attaches on one mapping grow it:
// whoever uses what lies behind it would be outside.
func TestGrow_Concurrent(t *testing.T) {
	for range 20 {
		seg := shmtest.Segment(t, &arena.Options{Size: 64 << 10, MaxSize: 16 << 20, Processes: 4, Objects: 8})
		var all sync.WaitGroup
		for range 2 {
			a := shmtest.OnSegment(t, seg, nil, shmtest.Unchecked)
			f := insides(a)
			for range 2 {
				all.Go(func() {
					last := f.View.Limit()
					for f.Grow(1<<20) == nil {
						f.Refresh()
						if now := f.View.Limit(); now < last {
							t.Errorf("the limit went back from %d to %d", last, now)
						} else {
							last = now
						}
					}
				})
			}
		}
		all.Wait()
	}
}

// Whoever has seen a limit can use what lies before it, whatever others see.
func TestGrow_LimitOnlyRises(t *testing.T) {
	for range 200 {
		a := shmtest.Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 1 << 20, Processes: 4, Objects: 8}, shmtest.Unchecked)
		f := insides(a)
		var all sync.WaitGroup
		start := f.View.Limit()
		for i := range uint64(2) {
			all.Go(func() {
				for n := start + i*8; n < start+80000; n += 16 {
					a.Raise(n)
					if limit := f.View.Limit(); limit < n {
						t.Errorf("limit %d, after it was raised to %d", limit, n)
						return
					}
				}
			})
		}
		all.Wait()
		f.View.SetLimit(start)
	}
}

func TestGrow_Full(t *testing.T) {
	a := shmtest.Heap(t, small())
	f := insides(a)
	before := a.Size()
	require.NoError(t, f.Grow(20))
	require.Greater(t, a.Size(), before)
	var err error
	for err == nil {
		err = f.Grow(uint64(a.MaxSize()) >> 12)
	}
	require.ErrorIs(t, err, arena.ErrFull)
	require.ErrorContains(t, err, "pages of 4096 bytes")
	shmtest.Clean(t, a)
}

func TestCheck_Damage(t *testing.T) {
	a := shmtest.Heap(t, small(), shmtest.Unchecked)
	f := insides(a)
	// A block that nobody owns.
	me, at := f.Owner.ID(), f.Records.Record(0, 0).Inside()
	p, ok := f.Pages.TakeFree(&pages.Search{Me: me, At: at}, 3)
	require.True(t, ok)
	rounds := f.Pages.Rounds(p, 3, nil)
	f.Pages.Leave(p, 3, at)
	var c pages.Chamber
	require.True(t, f.Pages.Next(&rounds[0], me, at, &c))
	c.Mark()
	f.Pages.LeaveRound(&rounds[0], at)
	r, err := a.Check()
	require.ErrorIs(t, err, arena.ErrCorrupt)
	require.Equal(t, 1, r.LeakedBlocks)
	require.Positive(t, r.LeakedBytes)
	require.True(t, strings.Contains(err.Error(), "leaked"), err)
}
