package mem

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func fingerprintOf[T any](t *testing.T) uint64 {
	t.Helper()
	info, err := Describe(reflect.TypeFor[T]())
	require.NoError(t, err)
	require.NotZero(t, info.Fingerprint)
	return info.Fingerprint
}

func TestDescribe(t *testing.T) {
	info, err := Describe(typeOf[route]())
	require.NoError(t, err)
	require.Equal(t, TypeInfo{Size: 96, Align: 8, Fingerprint: info.Fingerprint, Name: "mem.route"}, info)

	for _, nothing := range []reflect.Type{typeOf[struct{}](), typeOf[[0]uint64](), typeOf[generic[[8]struct{}]]()} {
		_, err := Describe(nothing)
		require.ErrorContains(t, err, "no bytes to share", nothing)
	}
}

func TestCanonical(t *testing.T) {
	require.Equal(t, "uint32/4/4", canonical(typeOf[uint32]()))
	require.Equal(t, "array/12/4[3](uint32/4/4)", canonical(typeOf[[3]uint32]()))
	require.Equal(t, "struct/16/8{ID@0:uint16/2/2;Cost@8:int/8/8;}", canonical(typeOf[hop]()))
}

// frozen are the fingerprints that segments in the field carry. One that changes
// makes them unreadable: give fingerprintRule a new number and keep the old rule.
func TestFingerprint_Frozen(t *testing.T) {
	for _, c := range []struct {
		t    reflect.Type
		want uint64
	}{
		{typeOf[bool](), 0xfcab917c0fac7507},
		{typeOf[uint64](), 0xe37ced6217ae41a0},
		{typeOf[int](), 0xb8a64fd477e865f2},
		{typeOf[float64](), 0x5d900dea50f7ddc3},
		{typeOf[[16]byte](), 0xa9da7309bd6d6baa},
		{typeOf[hop](), 0x8c029494ea4b9173},
		{typeOf[route](), 0x82dd12a75c9528b4},
		{typeOf[[2][3]hop](), 0xf43b7574a7e6ecbd},
	} {
		info, err := Describe(c.t)
		require.NoError(t, err)
		require.Equalf(t, c.want, info.Fingerprint, "%s: found %#016x", c.t, info.Fingerprint)
	}
}

func TestFingerprint_Equal(t *testing.T) {
	type copied struct {
		ID   uint16
		Cost int
	}
	require.Equal(t, fingerprintOf[hop](t), fingerprintOf[copied](t), "a copy under another name")
	require.Equal(t, fingerprintOf[hop](t), fingerprintOf[struct {
		ID   uint16
		Cost int
	}](t), "a literal")
	require.Equal(t, fingerprintOf[int64](t), fingerprintOf[time.Duration](t), "a named number")
	require.Equal(t, fingerprintOf[struct{ ID uint16 }](t), fingerprintOf[struct {
		ID uint16 `json:"id"`
	}](t), "a tag")
}

func TestFingerprint_Differs(t *testing.T) {
	seen := map[uint64]string{}
	for _, c := range []struct {
		name string
		sum  uint64
	}{
		{"base", fingerprintOf[struct{ A, B uint32 }](t)},
		{"order", fingerprintOf[struct{ B, A uint32 }](t)},
		{"name", fingerprintOf[struct{ A, C uint32 }](t)},
		{"case of a name", fingerprintOf[struct{ A, b uint32 }](t)},
		{"kind", fingerprintOf[struct {
			A uint32
			B int32
		}](t)},
		{"offset", fingerprintOf[struct {
			A uint32
			_ struct{}
			B uint32
		}](t)},
		{"padding", fingerprintOf[struct {
			A uint16
			B uint32
		}](t)},
		{"one more", fingerprintOf[struct{ A, B, C uint32 }](t)},
		{"nested", fingerprintOf[struct{ A struct{ A, B uint32 } }](t)},
		{"split over two", fingerprintOf[struct {
			A struct{ A uint32 }
			B uint32
		}](t)},
		{"array", fingerprintOf[[2]uint32](t)},
		{"longer array", fingerprintOf[[3]uint32](t)},
		{"array of array", fingerprintOf[[1][2]uint32](t)},
		{"array of array, turned", fingerprintOf[[2][1]uint32](t)},
		{"word", fingerprintOf[uint64](t)},
		{"signed word", fingerprintOf[int64](t)},
		{"machine word", fingerprintOf[int](t)},
		{"float", fingerprintOf[float64](t)},
		{"complex", fingerprintOf[complex64](t)},
		{"bytes", fingerprintOf[[8]byte](t)},
		{"bools", fingerprintOf[[8]bool](t)},
	} {
		require.NotContains(t, seen, c.sum, "%s equals %s", c.name, seen[c.sum])
		seen[c.sum] = c.name
	}
}
