package psync

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// at lies where the positions in use lie: far behind the end of any file.
const at = 1 << 62

// eachBytes runs a test over both kinds. holder makes another holder of the
// same locks; it lives until the test ends or closes it.
func eachBytes(t *testing.T, test func(t *testing.T, holder func() Bytes)) {
	t.Run("ofd", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("no locks that belong to an open file")
		}
		path := filepath.Join(t.TempDir(), "locks")
		test(t, func() Bytes { return openBytes(t, path, os.O_RDWR|os.O_CREATE) })
	})
	t.Run("local", func(t *testing.T) {
		l := NewLocal()
		test(t, l.Holder)
		require.Empty(t, l.locks, "positions nobody holds")
	})
}

func openBytes(t *testing.T, path string, flags int) Bytes {
	f, err := os.OpenFile(path, flags, 0o600)
	require.NoError(t, err)
	b := OFD(f)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func requireLock(t *testing.T, want bool, try func(uint64) (bool, error), b uint64) {
	t.Helper()
	got, err := try(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func requireHeld(t *testing.T, want bool, b Bytes, from, n uint64) {
	t.Helper()
	got, err := b.Held(from, n)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestBytes_Exclusive(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		one, two := holder(), holder()
		requireLock(t, true, one.TryLock, at)
		requireLock(t, false, two.TryLock, at)
		requireLock(t, false, two.TryRLock, at)
		requireLock(t, true, two.TryLock, at+1)
		requireHeld(t, true, two, at, 1)
		require.NoError(t, one.Unlock(at))
		requireHeld(t, false, two, at, 1)
		requireLock(t, true, two.TryLock, at)
		require.NoError(t, two.Unlock(at))
		require.NoError(t, two.Unlock(at+1))
	})
}

// One's own byte always looks free, which is why nobody may be judged dead by
// a probe of the byte he holds himself.
func TestBytes_OwnLocksAreInvisible(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		one := holder()
		requireLock(t, true, one.TryLock, at)
		requireHeld(t, false, one, at, 1)
		requireLock(t, true, one.TryLock, at)
		require.NoError(t, one.Unlock(at))
		require.NoError(t, one.Unlock(at), "nothing to give back")
	})
}

func TestBytes_Ranges(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		one, two := holder(), holder()
		requireLock(t, true, one.TryLock, at+100)
		requireHeld(t, true, two, at, 101)
		requireHeld(t, true, two, at+100, 1)
		requireHeld(t, false, two, at, 100)
		requireHeld(t, false, two, at+101, 1000)
		requireHeld(t, false, two, at, 0)
		requireHeld(t, false, two, at+100, 0)
		requireHeld(t, true, two, 0, math.MaxInt64)
		require.NoError(t, one.Unlock(at+100))
	})
}

// Readers share, keep a writer out, and cannot feign a life byte.
func TestBytes_Shared(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		one, two, three := holder(), holder(), holder()
		requireLock(t, true, one.TryRLock, at)
		requireLock(t, true, two.TryRLock, at)
		requireLock(t, false, three.TryLock, at)
		requireHeld(t, false, three, at, 1)

		requireLock(t, false, one.TryLock, at) // two still reads
		require.NoError(t, two.Unlock(at))
		requireLock(t, true, one.TryLock, at)
		requireHeld(t, true, three, at, 1)
		requireLock(t, true, one.TryRLock, at) // and back
		requireHeld(t, false, three, at, 1)
		requireLock(t, true, three.TryRLock, at)
		require.NoError(t, one.Unlock(at))
		require.NoError(t, three.Unlock(at))
	})
}

func TestBytes_CloseIsDeath(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		one, two := holder(), holder()
		requireLock(t, true, one.TryLock, at)
		requireLock(t, true, one.TryRLock, at+1)
		require.NoError(t, one.Close())
		requireHeld(t, false, two, at, 2)
		requireLock(t, true, two.TryLock, at)
		requireLock(t, true, two.TryLock, at+1)

		require.NoError(t, one.Close(), "twice")
		_, err := one.TryLock(at)
		require.ErrorIs(t, err, os.ErrClosed)
		_, err = one.TryRLock(at)
		require.ErrorIs(t, err, os.ErrClosed)
		_, err = one.Held(at, 1)
		require.ErrorIs(t, err, os.ErrClosed)
		require.ErrorIs(t, one.Unlock(at), os.ErrClosed)
		require.NoError(t, two.Close())
	})
}

func TestBytes_PositionsOutOfRange(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		b := holder()
		for _, p := range []uint64{math.MaxInt64, 1 << 63, math.MaxUint64} {
			_, err := b.TryLock(p)
			require.ErrorContains(t, err, "position", p)
			_, err = b.Held(p, 1)
			require.ErrorContains(t, err, "position", p)
			require.Error(t, b.Unlock(p))
		}
		_, err := b.Held(at, math.MaxUint64)
		require.ErrorContains(t, err, "position")
		requireLock(t, true, b.TryLock, math.MaxInt64-1)
		require.NoError(t, b.Unlock(math.MaxInt64-1))
	})
}

// Many holders fight for one position; at no time do two of them have it.
func TestBytes_Contended(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		var inside, entered atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			b := holder()
			all.Go(func() {
				for range 500 {
					ok, err := b.TryLock(at)
					if err != nil {
						t.Error(err)
						return
					}
					if !ok {
						continue
					}
					if inside.Add(1) != 1 {
						t.Error("two holders of one position")
					}
					entered.Add(1)
					inside.Add(-1)
					if err := b.Unlock(at); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.Positive(t, entered.Load())
	})
}

// One holder used by many goroutines, closed under them.
func TestBytes_ConcurrentClose(t *testing.T) {
	eachBytes(t, func(t *testing.T, holder func() Bytes) {
		b := holder()
		var all sync.WaitGroup
		for i := range uint64(4) {
			all.Go(func() {
				for {
					if _, err := b.TryLock(at + i); err != nil {
						if !errors.Is(err, os.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		require.NoError(t, b.Close())
		all.Wait()
	})
}
