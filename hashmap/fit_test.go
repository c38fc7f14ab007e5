package hashmap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// An arena of the size that Plan says takes exactly so many entries, and would not
// take them if it were much smaller.
func TestPlan(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		entries := 1 + rnd.IntN(20_000>>rnd.IntN(12))
		key, value := uint64(4+rnd.IntN(100)), uint64(rnd.IntN(1000>>rnd.IntN(8)))
		o := arena.Options{PageSize: 4096 << rnd.IntN(3), Processes: 4, Objects: 8}
		t.Run(fmt.Sprintf("%d of %d and %d bytes, pages of %d", entries, key, value, o.PageSize), func(t *testing.T) {
			fit, err := Plan(&o, entries, key, value)
			require.NoError(t, err)
			require.Positive(t, fit.Size)
			o.Size = fit.Size
			again, err := Plan(&o, entries, key, value)
			require.NoError(t, err)
			require.True(t, again.OK)
			require.NoError(t, filled(t, &o, entries, key, value))
			less := o
			less.Size = fit.Size * 6 / 10
			if _, err := arena.Layout(&less); err == nil && entries > 2000 {
				require.Error(t, filled(t, &less, entries, key, value))
				again, err := Plan(&less, entries, key, value)
				require.NoError(t, err)
				require.False(t, again.OK)
			}
		})
	}
}

// filled makes an arena, and a map in it, and fills that.
func filled(t *testing.T, o *arena.Options, entries int, key, value uint64) error {
	t.Helper()
	a := shmtest.Heap(t, o)
	m, err := Create[string, []byte](a, "m", &Options{Capacity: entries})
	if err != nil {
		return err
	}
	defer m.Close()
	k := make([]byte, key)
	for i := range entries {
		binary.LittleEndian.PutUint32(k, uint32(i))
		if err := m.Store(string(k), make([]byte, value)); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	require.Equal(t, entries, m.Len())
	return nil
}

func TestPlan_Refuses(t *testing.T) {
	for _, n := range []int{0, -1, mostEntries + 1} {
		_, err := Plan(nil, n, 8, 8)
		require.Error(t, err)
	}
	_, err := Plan(nil, 1, keyLimit+1, 8)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = Plan(nil, 1, 8, 1<<32)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = Plan(&arena.Options{PageSize: 5000}, 1, 8, 8)
	require.Error(t, err)
	_, err = Plan(nil, mostEntries, 8, 8)
	require.ErrorIs(t, err, ErrFull)
	fit, err := Plan(&arena.Options{Size: 256 << 10}, 1_000_000, 8, 8)
	require.NoError(t, err)
	require.False(t, fit.OK)
	require.Greater(t, fit.Size, int64(32_000_000))
}
