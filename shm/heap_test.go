package shm

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
)

func TestHeap(t *testing.T) {
	s, err := Heap(&Options{Size: 10000, MaxSize: 1 << 20, Prepare: func(s *Segment) error {
		return s.Allocate(0, 20000)
	}})
	require.NoError(t, err)
	require.True(t, s.IsHeap())
	require.False(t, s.ReadOnly())
	require.Empty(t, s.Name())
	require.Empty(t, s.Path())
	require.EqualValues(t, 1<<20, s.Reserved())
	require.EqualValues(t, wholePages(10000), s.View().Limit(), "the limit is for the owner of the contents to move")
	size, err := s.Size()
	require.NoError(t, err)
	require.EqualValues(t, 20000, size)

	all, err := s.View().Slice(0, s.View().Limit())
	require.NoError(t, err)
	require.Equal(t, make([]byte, len(all)), all)
	_, err = mem.At[[128]byte](s.View(), 0)
	require.NoError(t, err)

	ok, err := s.Linked()
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, s.Unlink())
}

// The address behind the last byte is that of an empty value in the last block. (The race
// detector's build ends the process over one that belongs to other memory.)
func TestHeap_End(t *testing.T) {
	made, err := Heap(&Options{Size: 64 << 10})
	require.NoError(t, err)
	for _, s := range []*Segment{made, HeapBytes(make([]byte, 8192), 0), HeapBytes(make([]byte, 100), 64<<10)} {
		end := s.View().Base().Add(uint64(s.Reserved()))
		require.Equal(t, s.View().Base(), end.Sub(uint64(s.Reserved())))
	}
}

func TestHeap_PrepareFails(t *testing.T) {
	sad := errors.New("sad")
	s, err := Heap(&Options{Size: 1, Prepare: func(*Segment) error { return sad }})
	require.ErrorIs(t, err, sad)
	require.Nil(t, s)
}

func TestHeap_Allocate(t *testing.T) {
	s, err := Heap(&Options{Size: 4096, MaxSize: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.Allocate(0, 0))
	require.NoError(t, s.Allocate(0, 1<<20))
	require.NoError(t, s.Allocate(100, 200), "inside")
	size, err := s.Committed()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, size)

	err = s.Allocate(1<<20, 1)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "1048576 bytes reserved")
	for _, r := range [][2]int64{{-1, 2}, {0, -1}, {1 << 62, 1 << 62}} {
		require.ErrorIs(t, s.Allocate(r[0], r[1]), fs.ErrInvalid)
	}

	s.SetAllocateLimit(1 << 19)
	require.NoError(t, s.Allocate(0, 1<<19))
	err = s.Allocate(1, 1<<19)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "limit 524288")
}

func TestHeap_Bytes(t *testing.T) {
	frozen := bytes.Repeat([]byte("state"), 1001)
	s := HeapBytes(frozen, 1<<20)
	require.EqualValues(t, 1<<20, s.Reserved())
	require.EqualValues(t, len(frozen), s.View().Limit())
	b, err := s.View().Slice(0, uint64(len(frozen)))
	require.NoError(t, err)
	require.Equal(t, frozen, b)
	b[0] = 'X'
	require.EqualValues(t, 's', frozen[0], "a copy")

	require.GreaterOrEqual(t, HeapBytes(frozen, 0).Reserved(), int64(len(frozen)))
	require.Zero(t, HeapBytes(nil, 0).View().Limit())
}

func TestHeap_Locks(t *testing.T) {
	s, err := Heap(&Options{Size: 1})
	require.NoError(t, err)
	one, err := s.Locks()
	require.NoError(t, err)
	two, err := s.Locks()
	require.NoError(t, err)
	ok, err := one.TryLock(1 << 62)
	require.NoError(t, err)
	require.True(t, ok)
	held, err := two.Held(1<<62, 1)
	require.NoError(t, err)
	require.True(t, held)
	require.NoError(t, one.Close())
	held, err = two.Held(1<<62, 1)
	require.NoError(t, err)
	require.False(t, held)
}

func TestHeap_Close(t *testing.T) {
	s, err := Heap(&Options{Size: 4096})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	requireClosed(t, s)
}

func requireClosed(t *testing.T, s *Segment) {
	t.Helper()
	_, err := s.Size()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Locks()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Allocate(0, 1), ErrClosed)
}
