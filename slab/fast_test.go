package slab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

// Somebody holds every lock that the allocator could take, for as long as it lasts: blocks
// are allocated and freed all the same, also those that another process has allocated.
// A lock that is held would be slept on, by a system call.
func TestFast_NoLock(t *testing.T) {
	seg := shmtest.Segment(t, &arena.Options{Size: 4 << 20, Processes: 4, Objects: 8})
	one, other, holder := slab.Of(shmtest.OnSegment(t, seg, nil)), slab.Of(shmtest.OnSegment(t, seg, nil)), slab.Of(shmtest.OnSegment(t, seg, nil))
	locks := []*psync.Mutex{holder.Floor().RunLock, dirLock(holder)}
	for _, lock := range locks {
		require.NoError(t, lock.Lock(holder.Floor().Owner, nil))
		defer lock.Unlock()
	}
	done := make(chan error, 1)
	go func() { done <- pairs(one, other, modelOps(100_000)) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("somebody waits for a lock")
	}
	for _, lock := range locks {
		require.Equal(t, holder.Floor().Owner.ID(), lock.Holder())
	}
}

// pairs allocates and frees n blocks of many sizes, every second one by another attach.
func pairs(one, other *slab.Slab, n int) error {
	var table [100]uint64
	by := []*slab.Slab{one, other}
	for i := range n {
		at := &table[i*7%len(table)]
		if *at != 0 {
			if err := by[i/2%2].Free(*at); err != nil {
				return err
			}
		}
		var err error
		if *at, err = grab(by[i%2], 16+uint64(i*37%2000)); err != nil {
			return err
		}
	}
	for _, ref := range table {
		if err := one.Free(ref); err != nil && ref != 0 {
			return err
		}
	}
	return nil
}
