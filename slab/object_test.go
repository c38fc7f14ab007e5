package slab_test

import (
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

var queueOptions = &arena.Options{Size: 64 << 10, Processes: 4, Objects: 8}

func drain(t testing.TB, q *slab.Object[queue]) (all []string) {
	t.Helper()
	for {
		text, ok, err := take(q)
		require.NoError(t, err)
		if !ok {
			return all
		}
		all = append(all, text)
	}
}

func TestObject_Queue(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(queueOptions)
		q, err := slab.Create[queue](a, "q", nil)
		require.NoError(t, err)
		other, err := slab.Open[queue](b, "q")
		require.NoError(t, err)
		want := []string{"", "a", strings.Repeat("long ", 2000)}
		for _, text := range want {
			require.NoError(t, put(q, text))
		}
		shmtest.Clean(t, a)
		require.Equal(t, want, drain(t, other))
		require.Equal(t, 1, shmtest.Clean(t, a).Blocks)

		require.NoError(t, put(q, "left"))
		require.NoError(t, a.Remove("q"))
		require.ErrorIs(t, other.Err(), slab.ErrRemoved)
		require.ErrorIs(t, put(other, "x"), slab.ErrRemoved)
		require.NoError(t, q.Close())
		require.ErrorIs(t, put(q, "x"), arena.ErrClosed)
		require.NoError(t, other.Close())
		require.Zero(t, shmtest.Clean(t, a).UsedBytes, "its messages go with it")
	})
}

// Goroutines of two attaches put and take; each message is taken once.
func TestRace_Queue(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(queueOptions)
		var mu sync.Mutex
		taken := make(map[string]int)
		var all sync.WaitGroup
		for g, from := range []*arena.Arena{a, b, a, b} {
			q, err := slab.OpenOrCreate[queue](from, "q", nil)
			require.NoError(t, err)
			all.Go(func() {
				for i := range 200 {
					for put(q, strings.Repeat("x", g*1000+i)) != nil {
						if text, ok, err := take(q); err != nil {
							t.Error(err)
						} else if ok {
							mu.Lock()
							taken[text]++
							mu.Unlock()
						}
					}
				}
			})
		}
		all.Wait()
		q, err := slab.Open[queue](a, "q")
		require.NoError(t, err)
		for _, text := range drain(t, q) {
			taken[text]++
		}
		require.Len(t, taken, 800)
		for text, n := range taken {
			require.Equal(t, 1, n, "a message of %d bytes", len(text))
		}
		require.Equal(t, 1, shmtest.Clean(t, a).Blocks)
	})
}

func TestObject_Refused(t *testing.T) {
	a := shmtest.Heap(t, queueOptions)
	_, err := slab.Create[struct {
		lock slab.Mutex
		name string
	}](a, "pointers", nil)
	require.ErrorIs(t, err, slab.ErrTypeMismatch)
	require.ErrorContains(t, err, "name")
	_, err = slab.Create[struct {
		a slab.Ref
		b slab.Word
		c [2]slab.Ref
	}](a, "scattered", nil)
	require.ErrorIs(t, err, slab.ErrTypeMismatch)
	require.ErrorContains(t, err, "offset 24")

	q, err := slab.Create(a, "q", func(q *queue) { q.head.Store(5); q.tail.Store(5) })
	require.NoError(t, err)
	require.EqualValues(t, 5, q.Root().head.Load())
	_, err = slab.Create[queue](a, "q", nil)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = slab.Open[struct{ w slab.Word }](a, "q")
	require.ErrorIs(t, err, slab.ErrTypeMismatch)
	_, err = slab.Open[queue](a, "none")
	require.ErrorIs(t, err, fs.ErrNotExist)

	var elsewhere slab.Mutex
	require.Panics(t, func() { _ = q.Lock(&elsewhere) })
	s := q.Slab()
	require.Error(t, s.Write(8, 0, []byte("x")), "no block")
	op, err := q.Begin()
	require.NoError(t, err)
	defer op.End()
	ref, err := op.Reserve(100)
	require.NoError(t, err)
	require.NoError(t, s.Write(ref, 8, make([]byte, 101)))
	require.ErrorContains(t, s.Write(ref, 16, make([]byte, 101)), "no more than the 112 it has")
	require.ErrorContains(t, s.Write(ref, 4, make([]byte, 1)), "a multiple of 8")
	require.Error(t, s.Read(ref, 1<<63, make([]byte, 1)))
	require.Error(t, s.Read(ref+8, 0, make([]byte, 1)))
}

// References may be spread over the elements of an array.
func TestObject_RefsInStructs(t *testing.T) {
	type cell struct {
		at   slab.Word
		refs [2]slab.Ref
	}
	type root struct {
		lock  slab.Mutex
		cells [5]cell
	}
	a := shmtest.Heap(t, queueOptions)
	o, err := slab.Create[root](a, "o", nil)
	require.NoError(t, err)
	for i := range o.Root().cells {
		for j := range 2 {
			op, err := o.Begin()
			require.NoError(t, err)
			ref, err := op.ReserveZeroed(200)
			require.NoError(t, err)
			b := make([]byte, 224)
			require.NoError(t, o.Slab().Read(ref, 0, b))
			require.Equal(t, make([]byte, 224), b)
			for k := range b {
				b[k] = 0xff
			}
			require.NoError(t, o.Slab().Write(ref, 0, b))
			require.NoError(t, o.Lock(&o.Root().lock))
			o.Publish(&op, slab.Change{Lock: &o.Root().lock, Target: &o.Root().cells[i].refs[j], New: ref, Version: &o.Root().cells[i].at})
			o.Unlock(&o.Root().lock)
			op.End()
		}
		require.EqualValues(t, 2, o.Root().cells[i].at.Load())
	}
	require.Equal(t, 11, shmtest.Clean(t, a).Blocks)
}

func TestObject_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, queueOptions)
	q, err := slab.Create[queue](a, "q", nil)
	require.NoError(t, err)
	require.NoError(t, put(q, "text"))
	r, err := slab.Open[queue](shmtest.Again(t, a, &arena.Options{ReadOnly: true}), "q")
	require.NoError(t, err)
	text, err := message(r.Slab(), r.Root().slots[0].Load())
	require.NoError(t, err)
	require.Equal(t, "text", text)
	require.NoError(t, r.Err())
	require.ErrorIs(t, put(r, "x"), arena.ErrReadOnly)
}

// What was reserved is free again also if something else is published, or nothing.
func TestObject_PublishNothing(t *testing.T) {
	type toggle struct {
		lock slab.Mutex
		slot slab.Ref
	}
	a := shmtest.Heap(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	o, err := slab.Create[toggle](a, "t", nil)
	require.NoError(t, err)
	for i := range 4 {
		op, err := o.Begin()
		require.NoError(t, err)
		ref, err := op.Reserve(100)
		require.NoError(t, err)
		r := o.Root()
		require.NoError(t, o.Lock(&r.lock))
		if r.slot.Load() != 0 {
			ref = 0
		}
		o.Publish(&op, slab.Change{Lock: &r.lock, Target: &r.slot, New: ref})
		o.Unlock(&r.lock)
		op.End()
		require.Equal(t, i%2 == 0, r.slot.Load() != 0)
		shmtest.Clean(t, a)
	}
}
