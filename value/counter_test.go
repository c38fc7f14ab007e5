package value_test

import (
	"io/fs"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

func TestCounter_Verbs(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		_, err := value.OpenCounter(a, "c")
		require.ErrorIs(t, err, fs.ErrNotExist)
		x, err := value.OpenOrCreateCounter(a, "c")
		require.NoError(t, err)
		y, err := value.OpenOrCreateCounter(b, "c")
		require.NoError(t, err)
		_, err = value.CreateCounter(b, "c")
		require.ErrorIs(t, err, fs.ErrExist)

		x.Add(3)
		y.Inc()
		require.EqualValues(t, 4, x.Load())
		require.EqualValues(t, 4, y.Load())
		require.NoError(t, y.Reset())
		require.Zero(t, x.Load())
		x.Add(2)
		require.EqualValues(t, 2, y.Load())
		x.Add(math.MaxUint64)
		require.EqualValues(t, 1, y.Load(), "wraps")
		require.NoError(t, x.Err())
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
}

// Processes of different slots use different cells, and a new process goes on
// where it finds the cell.
func TestCounter_Cells(t *testing.T) {
	a := shmtest.Named(t, nil)
	x, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	x.Add(1)
	for round := uint64(1); round <= 3; round++ {
		b, err := arena.Open(a.Name(), nil)
		require.NoError(t, err)
		y, err := value.OpenCounter(b, "c")
		require.NoError(t, err)
		y.Add(100)
		require.Equal(t, 1+100*round, x.Load())
		require.NoError(t, b.Close())
	}
	counts := value.Cells(x)
	require.EqualValues(t, 1, counts[0])
	require.EqualValues(t, 300, counts[1])
}

// More processes than cells share them.
func TestCounter_ManyProcesses(t *testing.T) {
	seg := shmtest.Segment(t, nil)
	var last *value.Counter
	for i := range 40 {
		a := shmtest.OnSegment(t, seg, nil)
		c, err := value.OpenOrCreateCounter(a, "c")
		require.NoError(t, err)
		c.Add(1)
		require.EqualValues(t, i+1, c.Load())
		last = c
	}
	for i, n := range value.Cells(last) {
		require.InDelta(t, 2.5, n, 0.5, "cell %d", i)
	}
}

func TestCounter_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, nil)
	x, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	x.Add(5)
	r := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	y, err := value.OpenCounter(r, "c")
	require.NoError(t, err)
	require.EqualValues(t, 5, y.Load())
	require.NoError(t, y.Err())
	y.Add(1)
	require.EqualValues(t, 5, y.Load())
	require.ErrorIs(t, y.Err(), value.ErrReadOnly)
	require.ErrorIs(t, y.Reset(), value.ErrReadOnly)
	require.NoError(t, y.Close())
	require.ErrorIs(t, y.Err(), value.ErrClosed)
	y.Add(1)
}

func TestCounter_Ended(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		a, b := open(nil)
		x, err := value.CreateCounter(a, "c")
		require.NoError(t, err)
		y, err := value.OpenCounter(b, "c")
		require.NoError(t, err)
		x.Add(5)
		require.NoError(t, x.Close())
		requireCounterEnded(t, x, value.ErrClosed)
		require.EqualValues(t, 5, y.Load())
		require.NoError(t, b.Remove("c"))
		requireCounterEnded(t, y, value.ErrRemoved)
		z, err := value.CreateCounter(b, "c")
		require.NoError(t, err)
		requireCounterEnded(t, y, value.ErrRemoved)
		require.NoError(t, b.Close())
		requireCounterEnded(t, z, value.ErrClosed)
	})
}

func requireCounterEnded(t *testing.T, c *value.Counter, want error) {
	t.Helper()
	c.Add(1)
	require.Zero(t, c.Load())
	require.ErrorIs(t, c.Err(), want)
	require.ErrorIs(t, c.Reset(), want)
}

// Beside adders and resetters no reader sees what was reset come back, and what
// the last Reset leaves is right.
func TestCounter_Reset_Concurrent(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		const each, adders = 2000, 2
		a, b := open(nil)
		x, err := value.CreateCounter(a, "c")
		require.NoError(t, err)
		y, err := value.OpenCounter(b, "c")
		require.NoError(t, err)
		var done atomic.Bool
		var others, work sync.WaitGroup
		for _, c := range []*value.Counter{x, y} {
			others.Go(func() {
				for !done.Load() {
					if n := c.Load(); n > adders*each {
						t.Errorf("%d counted, at most %d were added", n, adders*each)
						return
					}
					if err := c.Reset(); err != nil {
						t.Error(err)
						return
					}
				}
			})
			work.Go(func() {
				for range each {
					c.Add(1)
				}
			})
		}
		work.Wait()
		done.Store(true)
		others.Wait()
		require.NoError(t, x.Reset())
		require.Zero(t, y.Load())
		y.Add(7)
		require.EqualValues(t, 7, x.Load())
	})
}

// A process closes its arena while goroutines hammer the counter: nothing they do
// reaches the segment after that, and none of them faults.
func TestB8_CounterClose(t *testing.T) {
	a := shmtest.Named(t, nil)
	watcher, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	for range 20 {
		b, err := arena.Open(a.Name(), nil)
		require.NoError(t, err)
		c, err := value.OpenCounter(b, "c")
		require.NoError(t, err)
		before := watcher.Load()
		var stop atomic.Bool
		var hammers sync.WaitGroup
		for range 4 {
			hammers.Go(func() {
				for !stop.Load() {
					c.Add(1)
					if n := c.Load(); n < before && n != 0 {
						t.Errorf("went back from %d to %d", before, n)
						return
					}
				}
			})
		}
		for watcher.Load() < before+1000 { // they are at it
		}
		require.NoError(t, b.Close())
		after := watcher.Load()
		for range 1000 {
			c.Add(1)
			require.Equal(t, after, watcher.Load())
		}
		stop.Store(true)
		hammers.Wait()
		require.Equal(t, after, watcher.Load())
		require.ErrorIs(t, c.Err(), value.ErrClosed)
	}
}
