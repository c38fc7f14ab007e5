package mem

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpan(t *testing.T) {
	v := NewView(aligned(256), 128)
	all, err := Span[record](v, 32, 6)
	require.NoError(t, err)
	require.Len(t, all, 6)
	require.Equal(t, 6, cap(all))
	require.Same(t, Must[record](v, 32), &all[0])
	require.Same(t, Must[record](v, 112), &all[5])
	none, err := Span[record](v, 128, 0)
	require.NoError(t, err)
	require.Empty(t, none)

	for _, c := range []struct{ off, n uint64 }{
		{36, 1}, {32, 7}, {136, 0}, {0, math.MaxUint64}, {0, 1 << 60}, {0, 1<<60 + 1}, {128, 1 << 63},
		{math.MaxUint64 - 7, 1}, {math.MaxUint64 - 15, 1 << 60},
	} {
		all, err := Span[record](v, c.off, c.n)
		require.Nil(t, all)
		require.ErrorIs(t, err, ErrCorrupt, "%+v", c)
	}
	_, err = Span[record](v, 32, 7)
	require.EqualError(t, err,
		"corrupt segment: []mem.record of 112 bytes at offset 0x20 reaches outside the 0x80 bytes in use")
}
