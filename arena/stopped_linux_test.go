package arena_test

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// returns fails the test if f has not returned for long.
func returns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(40 * time.Second):
		require.FailNow(t, "it has not returned for 40 s")
	}
}

// withObject is a segment that one process has attached, with an object of the name x.
func withObject(t *testing.T) (*shm.Segment, *arena.Arena) {
	seg, err := shm.Heap(&shm.Options{Size: 256 << 10, MaxSize: 256 << 10})
	require.NoError(t, err)
	require.NoError(t, arena.Format(seg, small()))
	a, err := arena.Attach(seg, nil)
	require.NoError(t, err)
	require.NoError(t, shmtest.Place(a, "x", 64))
	return seg, a
}

// Who attaches does not wait for a process that is stopped in the directory, where it
// has just made garbage; whether another one is dead or not.
func TestAttach_BehindStoppedDirectory(t *testing.T) {
	for _, withDead := range []bool{false, true} {
		seg, stopped := withObject(t)
		if withDead {
			dead, err := arena.Attach(seg, nil)
			require.NoError(t, err)
			arena.Die(dead)
		}
		arena.StopInRemove(stopped, "x")
		returns(t, func() {
			_, err := arena.Attach(seg, nil)
			require.NoError(t, err)
		})
	}
}

// An arena that has outlived its last process is removed by who opens it. Who shares
// the segment's byte, as a stopped opener or a reader of the file may, keeps it from
// that: then there is an error, at some time.
func TestOpen_OrphanBehindReader(t *testing.T) {
	name := shmtest.Name(t)
	a, err := arena.Create(name, withLast())
	require.NoError(t, err)
	arena.Die(a)
	s, err := shm.Open(name, &shm.OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	l, err := s.Locks()
	require.NoError(t, err)
	ok, err := l.TryRLock(psync.SegmentByte)
	require.NoError(t, err)
	require.True(t, ok)
	returns(t, func() {
		_, err := arena.OpenOrCreate(name, withLast())
		require.ErrorIs(t, err, arena.ErrBusy)
	})
	require.NoError(t, l.Close())
	b, err := arena.OpenOrCreate(name, withLast())
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, s.Close())
}

// Address space that closed arenas still have is collected when there is no more.
func TestOpen_Again(t *testing.T) {
	name := shmtest.Name(t)
	a, err := arena.Create(name, &arena.Options{Size: 256 << 10, MaxSize: 1 << 44, Processes: 4, Objects: 4})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	for i := range 30 {
		a, err := arena.Open(name, nil)
		require.NoError(t, err, "time %d", i)
		require.NoError(t, a.Close())
	}
	require.NoError(t, arena.Remove(name, nil))
}

func TestOptions_ModeForAll(t *testing.T) {
	o := small()
	o.Mode = 0o666
	_, err := arena.OpenOrCreate(shmtest.Name(t), o)
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "0666")
}

func TestInit_Closes(t *testing.T) {
	o := withLast()
	o.Init = func(a *arena.Arena) error { return a.Close() }
	_, err := arena.OpenOrCreate(shmtest.Name(t), o)
	require.ErrorIs(t, err, arena.ErrClosed)
}

// What is asked of an arena while it is closed is answered, or ErrClosed.
func TestClose_UnderQuestions(t *testing.T) {
	a := shmtest.Named(t, small())
	for i := range 6 {
		require.NoError(t, shmtest.Place(a, fmt.Sprint("v", i), 64))
	}
	for _, readOnly := range []bool{false, true} {
		for range 400 {
			b, err := arena.Open(a.Name(), &arena.Options{ReadOnly: readOnly})
			require.NoError(t, err)
			done := make(chan error)
			go func() {
				for {
					h, err := shmtest.Find(b, "v0")
					if err == nil {
						_ = h.Close()
						_, err = b.Check()
					}
					if err != nil {
						done <- err
						return
					}
				}
			}()
			time.Sleep(20 * time.Microsecond)
			require.NoError(t, b.Close())
			require.ErrorIs(t, <-done, arena.ErrClosed)
		}
	}
}
