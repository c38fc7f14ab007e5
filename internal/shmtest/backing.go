package shmtest

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/shm"
)

// Flag changes what happens to an arena when its test ends.
type Flag int

// Unchecked is for a test that damages its arena: it is not checked at the end.
const Unchecked Flag = 1

// Name returns a name that no other segment has. It is removed when the test
// ends, or the test binary is killed, if it is still there.
func Name(t testing.TB) string {
	t.Helper()
	startSweeper()
	name := namePrefix(os.Getpid()) + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() { _ = shm.Remove(name, nil) })
	return name
}

// namePrefix is what the names begin with that a test binary gives.
func namePrefix(pid int) string { return fmt.Sprintf("test-%d-", pid) }

// Heap returns an arena on the heap: the race detector sees it.
func Heap(t testing.TB, o *arena.Options, flags ...Flag) *arena.Arena {
	t.Helper()
	return OnSegment(t, Segment(t, o), o, flags...)
}

// Segment returns a formatted heap segment that nobody has attached.
func Segment(t testing.TB, o *arena.Options) *shm.Segment {
	t.Helper()
	seg, err := shm.Heap(&shm.Options{Size: 4096, MaxSize: maxSize(o)})
	require.NoError(t, err)
	require.NoError(t, arena.Format(seg, o))
	return seg
}

// maxSize is how large an arena with these options can grow.
func maxSize(o *arena.Options) int64 {
	switch {
	case o == nil:
		return 1 << 20
	case o.MaxSize != 0:
		return o.MaxSize
	case o.Size != 0:
		return o.Size
	}
	return 1 << 20
}

// OnSegment attaches a formatted heap segment.
func OnSegment(t testing.TB, seg *shm.Segment, o *arena.Options, flags ...Flag) *arena.Arena {
	t.Helper()
	a, err := arena.Attach(seg, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		if len(flags) == 0 {
			again, err := arena.Attach(seg, nil)
			require.NoError(t, err, "attach for the last check")
			Clean(t, again)
			require.NoError(t, again.Close())
		}
	})
	return a
}

// Named returns an arena in a file of its own.
func Named(t testing.TB, o *arena.Options, flags ...Flag) *arena.Arena {
	t.Helper()
	NeedNamed(t)
	name := Name(t)
	a, err := arena.Create(name, o)
	require.NoError(t, err)
	var dir string
	if o != nil {
		dir = o.Dir
	}
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		if len(flags) == 0 {
			checkNamed(t, name, dir)
		}
	})
	return a
}

// checkNamed opens an arena that is left under its name, and checks it.
func checkNamed(t testing.TB, name, dir string) {
	t.Helper()
	a, err := arena.Open(name, &arena.Options{Dir: dir})
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist, "open for the last check")
		return
	}
	Clean(t, a)
	require.NoError(t, a.Close())
}

// NeedNamed skips a test where the system has no named segments.
func NeedNamed(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("named segments need Linux")
	}
}

// Clean checks an arena that nobody is writing: no problems, every block
// accounted for, nothing in flight and nobody dead.
func Clean(t testing.TB, a *arena.Arena) *arena.Report {
	t.Helper()
	r, err := a.Check()
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Zero(t, r.LeakedBytes, "leaked bytes")
	require.Zero(t, r.LeakedBlocks, "leaked blocks")
	require.Zero(t, r.InFlight, "blocks in flight")
	require.Zero(t, r.Pages.Raw, "pages being cut")
	for _, p := range r.Processes {
		require.True(t, p.Alive, "a dead process was not recovered: %+v", p)
	}
	return r
}

// Opener makes an arena and returns it twice: as one process sees it and as
// another does. Depending on the backing both are the same.
type Opener func(o *arena.Options) (a, b *arena.Arena)

// Backings runs a test over every backing: heap, heap attached twice, named,
// and named mapped twice at two addresses.
func Backings(t *testing.T, test func(t *testing.T, open Opener)) {
	t.Helper()
	t.Run("heap", func(t *testing.T) {
		test(t, func(o *arena.Options) (a, b *arena.Arena) {
			a = Heap(t, o)
			return a, a
		})
	})
	t.Run("heap twice", func(t *testing.T) {
		test(t, func(o *arena.Options) (a, b *arena.Arena) {
			seg := Segment(t, o)
			return OnSegment(t, seg, o), OnSegment(t, seg, o)
		})
	})
	t.Run("named", func(t *testing.T) {
		NeedNamed(t)
		test(t, func(o *arena.Options) (a, b *arena.Arena) {
			a = Named(t, o)
			return a, a
		})
	})
	t.Run("mapped twice", func(t *testing.T) {
		NeedNamed(t)
		test(t, func(o *arena.Options) (a, b *arena.Arena) {
			a = Named(t, o)
			return a, Again(t, a, o)
		})
	})
}

// Again opens the arena of a once more, at another address. It is closed when
// the test ends.
func Again(t testing.TB, a *arena.Arena, o *arena.Options) *arena.Arena {
	t.Helper()
	b, err := arena.Open(a.Name(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}
