package mem

import (
	"reflect"
	"structs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sizeOf[T any]() uintptr { return reflect.TypeFor[T]().Size() }

type (
	weight int32
	route  struct {
		Backend uint32
		Weight  weight
		Name    [16]byte
		Until   time.Duration
		Ratio   float64
		On      bool
		Hops    [3]hop
	}
	hop struct {
		ID   uint16
		Cost int
	}
	linked struct {
		ID   uint64
		Next *linked
	}
	chain struct{ Hops [2]linked }
	outer struct {
		ID uint64
		linked
	}
	generic[T any] struct{ V T }
	marked         struct {
		_ structs.HostLayout
		A uint64
	}
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func TestPointerFree(t *testing.T) {
	for _, ok := range []reflect.Type{
		typeOf[bool](), typeOf[int](), typeOf[uint](), typeOf[int8](), typeOf[uint64](), typeOf[float32](),
		typeOf[complex128](), typeOf[[4]byte](), typeOf[[2][3]int16](), typeOf[time.Duration](), typeOf[weight](),
		typeOf[route](), typeOf[generic[route]](), typeOf[marked](), typeOf[struct{ _ uint32 }](), typeOf[struct{}](),
	} {
		require.NoError(t, PointerFree(ok), ok)
	}
	for _, c := range []struct {
		t    reflect.Type
		want string
	}{
		{typeOf[string](), "string: string: its bytes"},
		{typeOf[[]byte](), "[]uint8: slice ([]uint8): its bytes"},
		{typeOf[linked](), "linked.Next: pointer (*mem.linked): an address"},
		{typeOf[chain](), "chain.Hops[].Next: pointer (*mem.linked): an address"},
		{typeOf[outer](), "outer.linked.Next: pointer"},
		{typeOf[[2][3]linked](), "[2][3]mem.linked[][].Next: pointer"},
		{typeOf[generic[string]](), "generic[string].V: string"},
		{typeOf[struct{ P uintptr }](), "struct { P uintptr }.P: uintptr: an address means nothing in another process; use uint64"},
		{typeOf[generic[map[int]int]](), "V: map (map[int]int)"},
		{typeOf[generic[chan int]](), "V: chan (chan int)"},
		{typeOf[generic[func()]](), "V: func (func())"},
		{typeOf[generic[any]](), "V: interface (interface {})"},
		{typeOf[generic[error]](), "V: interface (error)"},
		{typeOf[generic[reflect.Value]](), "V.typ_: pointer"},
		{typeOf[struct{ _ *int }](), "._: pointer (*int)"},
		{typeOf[generic[[0]string]](), "V[]: string"},
		{typeOf[generic[sync.Mutex]](), "V: struct (sync.Mutex): works within one process only"},
		{typeOf[generic[atomic.Uint64]](), "V: struct (atomic.Uint64): works within one process only"},
		{typeOf[generic[time.Time]](), "V.loc: pointer (*time.Location)"},
		{reflect.ValueOf(reflect.Value.UnsafePointer).Type().Out(0), "Pointer: unsafe.Pointer: an address"},
	} {
		err := PointerFree(c.t)
		require.ErrorContains(t, err, c.want)
		var typeError *TypeError
		require.ErrorAs(t, err, &typeError)
		_, err = Describe(c.t)
		require.ErrorContains(t, err, c.want)
	}
}

func TestPaddingFree(t *testing.T) {
	type tight struct {
		A uint32
		B [2]uint16
		C float64
	}
	type inner struct {
		A uint16
		B uint8
	}
	for _, ok := range []reflect.Type{
		typeOf[bool](), typeOf[uint64](), typeOf[[3]byte](), typeOf[tight](), typeOf[[4]tight](), typeOf[marked](),
		typeOf[struct{}](), typeOf[generic[tight]](),
	} {
		require.NoError(t, PaddingFree(ok), ok)
	}
	for _, c := range []struct {
		t    reflect.Type
		want string
	}{
		{typeOf[struct {
			A uint8
			B uint32
		}](), ": 3 bytes of padding at offset 1, before field B: "},
		{typeOf[inner](), "inner: 1 bytes of padding at offset 3, at the end: "},
		{typeOf[generic[inner]](), ".V: 1 bytes of padding at offset 3, at the end: "},
		{typeOf[generic[[2][2]inner]](), ".V[][]: 1 bytes of padding at offset 3, at the end: "},
		{typeOf[route](), "route: 7 bytes of padding at offset 41, before field Hops: "},
		{typeOf[struct {
			A uint32
			_ uint32
			B uint64
		}](), "._: blank field of 4 bytes at offset 4: "},
		{typeOf[struct {
			A uint64
			Z struct{}
		}](), ": 8 bytes of padding at offset 8, at the end: "},
	} {
		require.ErrorContains(t, PaddingFree(c.t), c.want)
	}
}

func TestFloatFree(t *testing.T) {
	require.NoError(t, FloatFree(typeOf[hop]()))
	require.NoError(t, FloatFree(typeOf[[3]bool]()))
	require.ErrorContains(t, FloatFree(typeOf[route]()), "route.Ratio: float64: ")
	require.ErrorContains(t, FloatFree(typeOf[[2]complex64]()), "[2]complex64[]: complex64: ")
}
