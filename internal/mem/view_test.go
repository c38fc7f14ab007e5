package mem

import (
	"math"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
)

// aligned returns n zero bytes that start at a multiple of eight, as a heap
// segment does.
func aligned(n int) []byte { return make([]byte, (max(n, 16)+7)&^7)[:n] }

type record struct {
	A uint64
	B uint32
	C uint32
}

func TestView_Check(t *testing.T) {
	v := NewView(aligned(256), 128)
	for _, c := range []struct {
		name          string
		off, n, align uint64
		ok            bool
	}{
		{"all of it", 0, 128, 8, true},
		{"nothing at the limit", 128, 0, 8, true},
		{"one byte at the limit", 128, 1, 1, false},
		{"one byte too many", 0, 129, 1, false},
		{"last byte", 127, 1, 1, true},
		{"beyond the limit, within the reserve", 136, 8, 8, false},
		{"nothing beyond the limit", 129, 0, 1, false},
		{"sum overflows to within", math.MaxUint64 - 7, 16, 8, false},
		{"length overflows", 8, math.MaxUint64 - 7, 8, false},
		{"both largest", math.MaxUint64, math.MaxUint64, 1, false},
		{"offset of the sign bit", 1 << 63, 8, 8, false},
		{"aligned to 8", 24, 8, 8, true},
		{"misaligned by 4", 20, 8, 8, false},
		{"aligned to 4", 20, 4, 4, true},
		{"aligned to a line", 64, 64, 64, true},
		{"not aligned to a line", 32, 64, 64, false},
		{"no alignment asked by 0", 13, 1, 0, true},
		{"no alignment asked by 1", 13, 1, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := v.Check(c.off, c.n, c.align)
			b, sliceErr := v.Slice(c.off, c.n)
			if c.ok {
				require.NoError(t, err)
				require.NoError(t, sliceErr)
				require.Len(t, b, int(c.n))
				require.Equal(t, len(b), cap(b))
				return
			}
			require.ErrorIs(t, err, ErrCorrupt)
			var r *RangeError
			require.ErrorAs(t, err, &r)
			require.Equal(t, RangeError{Offset: c.off, Len: c.n, Limit: 128, Align: c.align}, *r)
		})
	}
}

func TestView_Limit(t *testing.T) {
	v := NewView(aligned(4096), 0)
	require.EqualValues(t, 4096, v.Reserve())
	require.Error(t, v.Check(0, 1, 1))
	v.SetLimit(4096)
	require.EqualValues(t, 4096, v.Limit())
	require.NoError(t, v.Check(0, 4096, 8))
	require.Panics(t, func() { v.SetLimit(4097) })
	require.EqualValues(t, 4096, v.Limit())
}

func TestNewView_Misuse(t *testing.T) {
	b := aligned(64)
	require.Panics(t, func() { NewView(b[1:], 8) }, "unaligned base")
	require.Panics(t, func() { NewView(b, 65) }, "limit beyond the reserve")
	require.NotPanics(t, func() { NewView(nil, 0) })
}

func TestAt(t *testing.T) {
	v := NewView(aligned(256), 128)
	r, err := At[record](v, 112)
	require.NoError(t, err)
	*r = record{A: 1, B: 2, C: 3}
	require.Same(t, r, Must[record](v, 112))
	require.Same(t, r, Cast[record](v.Base().Add(112)))
	b, err := v.Slice(120, 4)
	require.NoError(t, err)
	require.Equal(t, []byte{2, 0, 0, 0}, b)

	for _, off := range []uint64{113, 116, 120, 128, 256, 1 << 40, math.MaxUint64, math.MaxUint64 - 15, math.MaxUint64 - 7} {
		r, err := At[record](v, off)
		require.Nil(t, r)
		require.ErrorIs(t, err, ErrCorrupt)
		require.Panics(t, func() { Must[record](v, off) })
	}
}

func TestRangeError_Text(t *testing.T) {
	v := NewView(aligned(256), 128)
	_, outside := At[record](v, 0x1000)
	require.EqualError(t, outside,
		"corrupt segment: mem.record of 16 bytes at offset 0x1000 reaches outside the 0x80 bytes in use")
	_, crooked := At[record](v, 4)
	require.EqualError(t, crooked, "corrupt segment: mem.record at offset 0x4 is not aligned to 8 bytes")
	require.EqualError(t, v.Check(0x78, 9, 8),
		"corrupt segment: block of 9 bytes at offset 0x78 reaches outside the 0x80 bytes in use")
	require.EqualError(t, &RangeError{Offset: 4, Len: 8, Limit: 16, Align: 8, What: "directory"},
		"corrupt segment: directory at offset 0x4 is not aligned to 8 bytes")
}

// A wrong offset of our own is not blamed on the segment.
func TestMust_Panic(t *testing.T) {
	v := NewView(aligned(64), 64)
	defer func() {
		err, ok := recover().(error)
		require.True(t, ok)
		require.NotErrorIs(t, err, ErrCorrupt)
		require.EqualError(t, err,
			"mem: misuse: mem.record of 16 bytes at offset 0x40 reaches outside the 0x40 bytes in use")
	}()
	Must[record](v, 64)
}

func TestPtr(t *testing.T) {
	require.True(t, Ptr{}.IsNil())
	require.True(t, PtrOf(nil).IsNil())
	b := aligned(16)
	b[9] = 7
	require.False(t, PtrOf(b).IsNil())
	require.Equal(t, byte(7), *Cast[byte](PtrOf(b).Add(9)))
}

// FuzzViewCheck compares Check with a sum that is not allowed to wrap.
func FuzzViewCheck(f *testing.F) {
	const reserve = 1 << 12
	b := aligned(reserve)
	f.Add(uint64(0), uint64(8), uint8(3), uint64(64))
	f.Add(uint64(math.MaxUint64), uint64(1), uint8(0), uint64(reserve))
	f.Add(uint64(math.MaxUint64-7), uint64(16), uint8(3), uint64(reserve))
	f.Add(uint64(65), uint64(math.MaxUint64), uint8(1), uint64(1))
	f.Fuzz(func(t *testing.T, off, n uint64, log uint8, limit uint64) {
		limit %= reserve + 1
		align := uint64(1) << (log % 64)
		v := NewView(b, limit)

		end, carry := bits.Add64(off, n, 0)
		want := carry == 0 && end <= limit && off%align == 0
		require.Equal(t, want, v.Check(off, n, align) == nil)

		s, err := v.Slice(off, n)
		require.Equal(t, carry == 0 && end <= limit, err == nil)
		require.LessOrEqual(t, uint64(cap(s)), limit)
		if r, err := At[record](v, off); err == nil {
			*r = record{A: off} // faults, or is caught, when it is outside
		}
	})
}
