package shm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// testName returns a name nobody else uses. When the test ends nothing of it
// may be left, the name itself excepted, which is removed.
func testName(t *testing.T) string {
	name := fmt.Sprintf("test-%d-%s", os.Getpid(), rand.Text()[:10])
	t.Cleanup(func() {
		if err := Remove(name, nil); err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		require.Empty(t, filesOf(t, defaultDir, name))
	})
	return name
}

// testDir returns a directory of the test's own on tmpfs.
func testDir(t *testing.T) string {
	dir, err := os.MkdirTemp(defaultDir, "shmkit-dir-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// filesOf lists all files, hidden ones too, with the name in theirs.
func filesOf(t *testing.T, dir, name string) (found []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.Contains(e.Name(), name) {
			found = append(found, e.Name())
		}
	}
	return found
}

func mustCreate(t *testing.T, name string, o *Options) *Segment {
	t.Helper()
	s, err := Create(name, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func mustOpen(t *testing.T, name string, o *OpenOptions) *Segment {
	t.Helper()
	s, err := Open(name, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func slice(t *testing.T, s *Segment, off, n uint64) []byte {
	t.Helper()
	b, err := s.View().Slice(off, n)
	require.NoError(t, err)
	return b
}

func base(s *Segment) string { return fmt.Sprintf("%p", s.backing.(*mapped).memory) }

func TestSegment_SharedByTwoMappings(t *testing.T) {
	name := testName(t)
	one := mustCreate(t, name, &Options{Size: 5000, MaxSize: 1 << 30})
	two := mustOpen(t, name, nil)
	require.NotEqual(t, base(one), base(two))

	require.Equal(t, name, one.Name())
	require.Equal(t, "/dev/shm/shmkit."+name, one.Path())
	require.Equal(t, one.Path(), two.Path())
	require.False(t, one.IsHeap())
	require.EqualValues(t, 1<<30, one.Reserved())
	require.EqualValues(t, wholePages(5000), one.View().Limit())
	require.EqualValues(t, wholePages(5000), two.View().Limit())
	require.EqualValues(t, wholePages(5000), two.Reserved())

	fi, err := os.Stat(one.Path())
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), fi.Mode())
	require.Equal(t, wholePages(5000), fi.Size())

	copy(slice(t, one, 100, 5), "hello")
	require.Equal(t, "hello", string(slice(t, two, 100, 5)))
	copy(slice(t, two, 100, 5), "world")
	require.Equal(t, "world", string(slice(t, one, 100, 5)))
}

func TestSegment_OutlivesItsProcesses(t *testing.T) {
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: 1, Prepare: func(s *Segment) error {
		copy(slice(t, s, 0, 4), "kept")
		return nil
	}})
	require.NoError(t, s.Close())
	require.Equal(t, "kept", string(slice(t, mustOpen(t, name, nil), 0, 4)))
}

func TestSegment_ReadOnly(t *testing.T) {
	name := testName(t)
	w := mustCreate(t, name, &Options{Size: 4096, Mode: 0o644})
	r := mustOpen(t, name, &OpenOptions{ReadOnly: true})
	require.True(t, r.ReadOnly())
	copy(slice(t, w, 0, 3), "new")
	require.Equal(t, "new", string(slice(t, r, 0, 3)))
	require.ErrorIs(t, r.Allocate(0, 1), fs.ErrPermission)
	require.ErrorIs(t, r.Unlink(), fs.ErrPermission)

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	require.Panics(t, func() { slice(t, r, 0, 1)[0] = 'X' })

	writer, err := w.Locks()
	require.NoError(t, err)
	defer writer.Close()
	reader, err := r.Locks()
	require.NoError(t, err)
	defer reader.Close()
	ok, err := writer.TryLock(1 << 62)
	require.NoError(t, err)
	require.True(t, ok)
	held, err := reader.Held(1<<62, 1)
	require.NoError(t, err)
	require.True(t, held)
	_, err = reader.TryLock(1<<62 + 1)
	require.Error(t, err)
}

// Growth needs no new mapping, in this process or in another.
func TestSegment_Allocate(t *testing.T) {
	name := testName(t)
	one := mustCreate(t, name, &Options{Size: 4096, MaxSize: 256 << 20})
	two := mustOpen(t, name, &OpenOptions{Verify: reserve(256 << 20)})
	before := base(two)

	const size = 40 << 20 // several chunks
	require.NoError(t, one.Allocate(4096, size-4096))
	require.EqualValues(t, wholePages(4096), one.View().Limit(), "the limit is not ours to move")
	for _, s := range []*Segment{one, two} {
		n, err := s.Committed()
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		s.View().SetLimit(size)
	}
	copy(slice(t, one, size-8, 8), "the end!")
	require.Equal(t, "the end!", string(slice(t, two, size-8, 8)))
	require.Equal(t, before, base(two))

	require.NoError(t, two.Allocate(0, size), "what is there already")
	require.Equal(t, "the end!", string(slice(t, one, size-8, 8)))

	err := one.Allocate(size, 256<<20)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, "268435456 bytes reserved")
	one.SetAllocateLimit(size)
	require.ErrorIs(t, one.Allocate(size, 1), ErrNoSpace)
	require.NoError(t, two.Allocate(size, 1), "the limit is one handle's")
}

func reserve(n int64) func(_ io.ReaderAt, _ int64) (int64, error) {
	return func(io.ReaderAt, int64) (int64, error) { return n, nil }
}

func TestSegment_AllocateFillsHoles(t *testing.T) {
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: 4096, MaxSize: 1 << 20})
	require.NoError(t, os.Truncate(s.Path(), 1<<20)) // longer, but empty
	require.Less(t, blocks(t, s.Path()), int64(1<<20))
	require.NoError(t, s.Allocate(0, 1<<20))
	require.GreaterOrEqual(t, blocks(t, s.Path()), int64(1<<20))
}

// What is prefaulted is stored into without a page fault; the contents stay.
func TestSegment_Prefault(t *testing.T) {
	const size, skip = 4 << 20, 1 << 20
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: size, MaxSize: 16 << 20})
	copy(slice(t, s, skip+100, 5), "there")
	if err := unix.Madvise(slice(t, s, 0, 1), unix.MADV_POPULATE_WRITE); err != nil {
		t.Skip("a kernel before 5.14:", err)
	}
	s.Prefault(skip+10, size-skip-10) // not of whole pages
	require.Equal(t, "there", string(slice(t, s, skip+100, 5)))
	prefaulted, not := slice(t, s, skip, size-skip), slice(t, s, 4096, skip-4096)
	require.Less(t, faults(t, prefaulted), len(prefaulted)/os.Getpagesize()/2)
	require.GreaterOrEqual(t, faults(t, not), len(not)/os.Getpagesize()/2, "the count counts")

	for _, r := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}, {size, 16 << 20}, {16 << 20, 1}, {1 << 62, 1 << 62}, {12 << 20, 4 << 20}} {
		s.Prefault(r[0], r[1]) // outside, or not allocated
	}
	n, err := s.Size()
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	reader := mustOpen(t, name, &OpenOptions{ReadOnly: true})
	reader.Prefault(0, size)
	require.NoError(t, s.Close())
	s.Prefault(0, size)
	heap, err := Heap(&Options{Size: size})
	require.NoError(t, err)
	heap.Prefault(0, size)
}

// faults stores into every page and returns how many page faults that took.
func faults(t *testing.T, b []byte) int {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_THREAD, &before))
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i]++
	}
	require.NoError(t, unix.Getrusage(unix.RUSAGE_THREAD, &after))
	return int(after.Minflt - before.Minflt)
}

// blocks returns the bytes of a file that have space set aside for them.
func blocks(t *testing.T, path string) int64 {
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// Interrupted pieces are done again, until they are short enough to be done
// between two signals; nothing is left out and nothing done twice.
func TestSegment_AllocateInPieces(t *testing.T) {
	const off, n, quick = 12345, 50 << 20, 1 << 20
	next, calls := int64(off), 0
	err := inPieces(off, n, func(at, size int64) error {
		calls++
		require.Equal(t, next, at)
		require.LessOrEqual(t, size, int64(largestPiece))
		if size > quick || calls%3 == 0 {
			return unix.EINTR
		}
		next += size
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, off+n, next)
	require.ErrorIs(t, inPieces(0, 1, func(int64, int64) error { return unix.ENOSPC }), unix.ENOSPC)
}

// Signals as fast as they can be sent delay it at most.
func TestSegment_AllocateUnderSignals(t *testing.T) {
	s := mustCreate(t, testName(t), &Options{Size: 4096, MaxSize: 64 << 20})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for !isClosed(stop) {
			unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			time.Sleep(100 * time.Microsecond)
		}
	})
	err := s.Allocate(0, 64<<20)
	close(stop)
	all.Wait()
	require.NoError(t, err)
	require.GreaterOrEqual(t, blocks(t, s.Path()), int64(64<<20))
}

// A full file system is an error at the time space is asked for.
func TestSegment_FullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system; TestHeap_Allocate has the limit without one")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })

	_, err := Create("big", &Options{Size: 2 << 20, Dir: dir})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, `create "big"`)
	require.ErrorContains(t, err, "bytes free in "+dir)
	require.Empty(t, filesOf(t, dir, ""))

	s := mustCreate(t, "grows", &Options{Size: 4096, MaxSize: 64 << 20, Dir: dir})
	err = s.Allocate(4096, 32<<20)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, `"grows"`)
	require.ErrorContains(t, err, "range [4096, 33558528) wanted")
	require.NoError(t, s.Allocate(4096, 512<<10), "what fits still fits")
	s.View().SetLimit(512 << 10)
	clear(slice(t, s, 0, 512<<10))
}

func TestSegment_Locks(t *testing.T) {
	name := testName(t)
	one := mustCreate(t, name, &Options{Size: 1})
	two := mustOpen(t, name, nil)
	a, err := one.Locks()
	require.NoError(t, err)
	defer a.Close()
	b, err := one.Locks()
	require.NoError(t, err)
	defer b.Close()
	c, err := two.Locks()
	require.NoError(t, err)
	defer c.Close()

	ok, err := a.TryLock(1 << 62)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, one.Close(), "locks are no part of the mapping")
	for _, other := range []psync.Bytes{b, c} {
		held, err := other.Held(1<<62, 1)
		require.NoError(t, err)
		require.True(t, held)
	}
	require.NoError(t, a.Close())
	held, err := c.Held(1<<62, 1)
	require.NoError(t, err)
	require.False(t, held)
}

func TestSegment_LocksWithoutName(t *testing.T) {
	s := mustCreate(t, testName(t), &Options{Size: 1})
	require.NoError(t, s.Unlink())
	b, err := s.Locks()
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestSegment_Unlink(t *testing.T) {
	name := testName(t)
	old := mustCreate(t, name, &Options{Size: 1, Prepare: func(s *Segment) error {
		requireLinked(t, false, s)
		return nil
	}})
	requireLinked(t, true, old)
	require.NoError(t, old.Unlink())
	requireLinked(t, false, old)
	require.NoError(t, old.Unlink(), "twice")

	fresh := mustCreate(t, name, &Options{Size: 1})
	requireLinked(t, false, old)
	require.NoError(t, old.Unlink(), "the name belongs to another segment")
	requireLinked(t, true, fresh)
}

func requireLinked(t *testing.T, want bool, s *Segment) {
	t.Helper()
	got, err := s.Linked()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestRemove(t *testing.T) {
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: 1})
	require.NoError(t, Remove(name, nil))
	require.ErrorIs(t, Remove(name, nil), fs.ErrNotExist)
	require.ErrorIs(t, Remove("no/name", nil), ErrName)
	copy(slice(t, s, 0, 5), "still") // those who have it keep it
	requireLinked(t, false, s)
	_, err := Open(name, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestList(t *testing.T) {
	dir := testDir(t)
	mustCreate(t, "b", &Options{Size: 1, Dir: dir, Mode: 0o640})
	mustCreate(t, "a", &Options{Size: 100000, Dir: dir})
	for _, other := range []string{"passer-by", "shmkit..x", "shmkit.", ".shmkit"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, other), nil, 0o600))
	}
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "shmkit.link")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "shmkit.dir"), 0o700))

	list, err := List(dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "a", list[0].Name)
	require.Equal(t, wholePages(100000), list[0].Size)
	require.Equal(t, fs.FileMode(0o600), list[0].Mode)
	require.Equal(t, os.Geteuid(), list[0].UID)
	require.WithinDuration(t, time.Now(), list[0].ModTime, time.Hour)
	require.Equal(t, "b", list[1].Name)
	require.Equal(t, fs.FileMode(0o640), list[1].Mode)

	_, err = List(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestList_DefaultDir(t *testing.T) {
	name := testName(t)
	mustCreate(t, name, &Options{Size: 1})
	list, err := List("")
	require.NoError(t, err)
	for _, info := range list {
		if info.Name == name {
			return
		}
	}
	t.Errorf("%s is not in %v", name, list)
}

// Goroutines that are late see private memory: they neither fault nor reach
// the segment they have left.
func TestClose_UnderAccess(t *testing.T) {
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: 1 << 20})
	view := s.View()
	const late = 1000
	var start, all sync.WaitGroup
	closed := make(chan struct{})
	for i := range uint64(4) {
		start.Add(1)
		all.Go(func() {
			p := mem.Must[psync.Word64](view, i*8)
			for n := uint64(1); !isClosed(closed); n++ {
				p.Store(n)
				if n == 1 {
					start.Done()
				}
			}
			for range late {
				p.Store(late)
				mem.CopyIn(view.Base().Add(4096*(i+1)), []byte("scribble"))
			}
			runtime.KeepAlive(view)
		})
	}
	start.Wait()
	require.NoError(t, s.Close())
	left := mustOpen(t, name, nil)
	before := string(slice(t, left, 0, 1<<20))
	require.NotEqual(t, make([]byte, 8), []byte(before[:8]), "stored in time")
	close(closed)
	all.Wait()
	require.Equal(t, before, string(slice(t, left, 0, 1<<20)))
	require.Equal(t, "scribble", string(slice(t, s, 4096, 8)), "in vain, into memory of our own")
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestClose(t *testing.T) {
	s := mustCreate(t, testName(t), &Options{Size: 4096, MaxSize: 1 << 40})
	copy(slice(t, s, 0, 4), "gone")
	inode := inodeOf(t, s.Path())
	require.True(t, isMapped(t, inode))
	require.NoError(t, s.Close())
	require.False(t, isMapped(t, inode))
	require.Equal(t, make([]byte, 4), slice(t, s, 0, 4))
	slice(t, s, 0, 1)[0] = 1 // in vain
	require.NoError(t, s.Close())
	requireClosed(t, s)
	_, err := s.Linked()
	require.ErrorIs(t, err, ErrClosed)
}

func TestClose_Concurrent(t *testing.T) {
	s := mustCreate(t, testName(t), &Options{Size: 4096, MaxSize: 1 << 20})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				if err := s.Allocate(0, 8192); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
		all.Go(func() {
			time.Sleep(time.Millisecond)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A segment that is dropped gives its addresses back, closed or not, but not
// while somebody has its view.
func TestSegment_Unreachable(t *testing.T) {
	s, err := Create(testName(t), &Options{Size: 4096})
	require.NoError(t, err)
	inode, view := inodeOf(t, s.Path()), s.View()
	runtime.GC()
	runtime.GC()
	mem.CopyIn(view.Base(), []byte("reachable by its view"))
	require.True(t, isMapped(t, inode))
	runtime.KeepAlive(view)
	require.Eventually(t, func() bool {
		runtime.GC()
		return !isMapped(t, inode)
	}, 10*time.Second, 10*time.Millisecond)
}

// isMapped reports whether this process maps the file, by whatever name the
// kernel knows it: a creator's mapping is older than the name.
func isMapped(t *testing.T, inode string) bool {
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasSuffix(f[1], "s") && f[4] == inode {
			return true
		}
	}
	return false
}

func inodeOf(t *testing.T, path string) string {
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return strconv.FormatUint(st.Ino, 10)
}
