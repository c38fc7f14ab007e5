package hashmap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
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

// In an arena of the size that PlanLimit says a map gets as many entries as its limit,
// whoever they are; in a smaller one it does not.
func TestPlanLimit(t *testing.T) {
	rounds := 40
	if testing.Short() || mem.Race { // one goroutine
		rounds = 10
	}
	for i := range rounds {
		rnd := rand.New(rand.NewPCG(11, uint64(i)))
		limit := 1 + rnd.IntN(20_000>>rnd.IntN(12))
		key, value := uint64(8+rnd.IntN(100)), uint64(rnd.IntN(1000>>rnd.IntN(8)))
		o := arena.Options{PageSize: 4096 << rnd.IntN(3), Processes: 4, Objects: 8}
		t.Run(fmt.Sprintf("%d of %d and %d bytes, pages of %d", limit, key, value, o.PageSize), func(t *testing.T) {
			fit, err := PlanLimit(&o, limit, key, value)
			require.NoError(t, err)
			o.Size = fit.Size
			again, err := PlanLimit(&o, limit, key, value)
			require.NoError(t, err)
			require.True(t, again.OK)
			full, err := kept(t, &o, limit, key, value)
			require.NoError(t, err)
			require.Equal(t, limit, full)
			o.Size = fit.Size * 7 / 10
			if _, err := arena.Layout(&o); err == nil && limit > 2000 {
				full, err := kept(t, &o, limit, key, value)
				require.True(t, err != nil || full < limit)
				again, err := PlanLimit(&o, limit, key, value)
				require.NoError(t, err)
				require.False(t, again.OK)
			}
		})
	}
}

// kept makes an arena, and a map with a limit in it, stores more than it may have,
// writes over some, and returns how many it has then.
func kept(t *testing.T, o *arena.Options, limit int, key, value uint64) (int, error) {
	t.Helper()
	a := shmtest.Heap(t, o)
	m, err := Create[string, []byte](a, "m", &Options{Limit: limit})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	k := make([]byte, key)
	for i := range 4*limit + 200 {
		binary.LittleEndian.PutUint32(k, uint32(i))
		for range 1 + i%2 {
			if err := m.Store(string(k), make([]byte, value)); err != nil {
				return 0, fmt.Errorf("entry %d: %w", i, err)
			}
		}
	}
	return m.Len(), nil
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
	_, err = PlanLimit(nil, mostEntries+1, 8, 8)
	require.Error(t, err)
	_, err = PlanLimit(nil, mostEntries, 8, 8)
	require.ErrorIs(t, err, ErrFull)
	_, err = Plan(&arena.Options{PageSize: 5000}, 1, 8, 8)
	require.Error(t, err)
	_, err = Plan(nil, mostEntries, 8, 8)
	require.ErrorIs(t, err, ErrFull)
	fit, err := Plan(&arena.Options{Size: 256 << 10}, 1_000_000, 8, 8)
	require.NoError(t, err)
	require.False(t, fit.OK)
	require.Greater(t, fit.Size, int64(32_000_000))
}

// Entries of three eighths of a page come after segments of a quarter: no lodger
// serves a segment.
func TestPlan_Lodgers(t *testing.T) {
	for _, page := range []int{4096, 8192, 16384} {
		looked, most := 0, 12000
		if mem.Race { // one goroutine
			most = 600
		}
		for entries := 20; entries < most; entries += entries / 20 {
			o := arena.Options{PageSize: page, Processes: 4, Objects: 8}
			value := uint64(page)*3/8 - 100
			fit, err := Plan(&o, entries, 8, value)
			require.NoError(t, err)
			o.Size = fit.Size
			g, err := arena.Layout(&o)
			require.NoError(t, err)
			f := future{g: g, classes: pages.Classes(g.Shift)}
			p, err := planFor(uint64(entries), f, uint64(o.Size))
			require.NoError(t, err)
			size := f.BlockSize(tree.Size(p.buckets))
			more := f.BlockSize(p.requests(f, uint64(entries), 1)[4].Size)
			if size != uint64(page)/4 && more != uint64(page)/4 {
				continue
			}
			looked++
			if err := filled(t, &o, entries, 8, value); err != nil {
				t.Errorf("pages of %d, %d entries, %d segments of %d, then %d: %v", page, entries, 1<<p.bits, size, more, err)
			}
		}
		t.Logf("pages of %d: %d looks", page, looked)
	}
}
