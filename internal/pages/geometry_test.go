package pages

import (
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

// checkPlan checks what every plan must have, whatever it was made from.
func checkPlan(t *testing.T, off, limit uint64, shift uint) bool {
	t.Helper()
	g, err := Plan(off, limit, shift)
	if err != nil {
		// No room: then not even one page would fit behind its table.
		need := alignUp(alignUp(off, 64)+28*8*2+EntrySize, 4096) + 1<<shift
		if shift >= MinShift && shift <= MaxShift && limit >= need+4096 {
			t.Errorf("Plan(%d, %d, %d): %v", off, limit, shift, err)
			return false
		}
		return true
	}
	ok := g.HintsOff >= off && g.HintsOff%8 == 0 &&
		g.TableOff >= g.HintsEnd(g.MaxPages) && g.TableOff%8 == 0 &&
		g.DataOff >= g.TableEnd(g.MaxPages) && g.DataOff%4096 == 0 &&
		g.MaxPages > 0 && g.End(g.MaxPages) <= limit &&
		g.Pages(g.End(g.MaxPages)) == g.MaxPages && g.Pages(g.DataOff) == 0 && g.Pages(0) == 0 &&
		// As many as fit, but for two pages and a ten thousandth of the whole.
		g.End(g.MaxPages)+2*(g.PageSize()+EntrySize)+g.groupBytes()+4096+128+limit/10000 > limit
	if !ok {
		t.Errorf("Plan(%d, %d, %d) = %+v", off, limit, shift, g)
	}
	return ok
}

func TestPlan_Properties(t *testing.T) {
	for _, limit := range []uint64{0, 1, 4095, 8192, 12288, 16384, 100 << 10, 1 << 20, 1 << 30, 1 << 40, 1 << 44} {
		for shift := uint(MinShift - 1); shift <= MaxShift+1; shift++ {
			for _, off := range []uint64{0, 1, 63, 64, 1024, 15000, 1 << 20} {
				checkPlan(t, off, limit, shift)
			}
		}
	}
	require.NoError(t, quick.Check(func(off, limit uint32, shift uint8) bool {
		return checkPlan(t, uint64(off)%(1<<20), uint64(limit), MinShift+uint(shift)%5)
	}, &quick.Config{MaxCount: 5000}))
}

func FuzzPlan(f *testing.F) {
	f.Add(uint64(1024), uint64(100<<10), uint8(12))
	f.Add(uint64(1024), uint64(1<<44), uint8(16))
	f.Fuzz(func(t *testing.T, off, limit uint64, shift uint8) {
		checkPlan(t, off%(1<<44), limit%(1<<44), uint(shift))
	})
}

// Areas of the first n pages lie in their place and grow with n only.
func TestGeometry_Ends(t *testing.T) {
	for _, shift := range []uint{12, 14, 16} {
		g, err := Plan(5000, 1<<30, shift)
		require.NoError(t, err)
		for n := uint64(1); n <= g.MaxPages; n += 61 {
			require.Greater(t, g.TableEnd(n), g.TableEnd(n-1))
			require.GreaterOrEqual(t, g.HintsEnd(n), g.HintsEnd(n-1))
			require.Equal(t, n, g.Pages(g.End(n)))
			require.Equal(t, n-1, g.Pages(g.End(n)-1))
		}
	}
}

// An arena of 100 KiB, whose header, slots and names take 16 KiB, has at least
// a page of every size, and overhead stays small in a large one.
func TestPlan_Small(t *testing.T) {
	for shift, want := range map[uint]uint64{12: 20, 13: 10, 14: 5, 15: 2, 16: 1} {
		g, err := Plan(16256, 100<<10, shift)
		require.NoError(t, err)
		require.Equal(t, want, g.MaxPages, "pages of %d bytes", 1<<shift)
	}
	for _, shift := range []uint{12, 14, 16} {
		g, err := Plan(16256, 1<<30, shift)
		require.NoError(t, err)
		require.Less(t, float64(g.DataOff)/(1<<30), 0.01)
	}
}
