package mem

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

type odd3 [3]uint8

func requireWord[T comparable](t *testing.T, want uint64, v T) {
	t.Helper()
	require.Equal(t, want, Word(v))
	require.Equal(t, v, FromWord[T](want))
	if n := len(bytesOf(&v)); n < 8 { // what lies above the value is not looked at
		require.Equal(t, v, FromWord[T](want|math.MaxUint64<<(8*n)))
	}
}

func TestWord(t *testing.T) {
	requireWord(t, 0, empty{})
	requireWord(t, 1, true)
	requireWord(t, 0xFF, int8(-1))
	requireWord(t, 0x1234, uint16(0x1234))
	requireWord(t, 0x030201, odd3{1, 2, 3})
	requireWord(t, 0xFFFF_FFFE, int32(-2))
	requireWord(t, 0x3FC0_0000, float32(1.5))
	requireWord(t, 0x0504030201, [5]byte{1, 2, 3, 4, 5})
	requireWord(t, 0x0003_0002_0001, [3]uint16{1, 2, 3})
	requireWord(t, 0x07060504030201, [7]byte{1, 2, 3, 4, 5, 6, 7})
	requireWord(t, math.MaxUint64, int64(-1))
	requireWord(t, 0x2_0000_0001, struct{ A, B uint32 }{1, 2})
	requireWord(t, math.Float64bits(-0.5), -0.5)
}

func TestWord_TooWide(t *testing.T) {
	require.Panics(t, func() { Word([9]byte{}) })
	require.Panics(t, func() { FromWord[[2]uint64](0) })
}

// bytesOf returns the bytes of *v itself.
func bytesOf[T any](v *T) []byte {
	b := make([]byte, sizeOf[T]())
	for i := range b {
		b[i] = *Cast[byte](KeyPtr(v).Add(uint64(i)))
	}
	return b
}
