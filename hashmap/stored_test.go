package hashmap

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses may know this package.
var Stored = []reflect.Type{
	reflect.TypeFor[header](), reflect.TypeFor[stripe](), reflect.TypeFor[lease](), reflect.TypeFor[first](), reflect.TypeFor[bucket](), reflect.TypeFor[row](), reflect.TypeFor[news](), reflect.TypeFor[cell](),
}

func TestLayout_Constants(t *testing.T) {
	require.EqualValues(t, newsOff, Stored[0].Size())
	require.EqualValues(t, stripeSize, Stored[1].Size())
	require.EqualValues(t, leaseSize, Stored[2].Size())
	require.EqualValues(t, bucketSize, Stored[3].Size())
	require.EqualValues(t, bucketSize, Stored[4].Size())
	require.EqualValues(t, treeOff-newsOff, Stored[6].Size())
	require.EqualValues(t, cellSize, Stored[7].Size())
	message, ok := Stored[2].FieldByName("message")
	require.True(t, ok)
	require.EqualValues(t, messageOff, message.Offset)
	require.EqualValues(t, messageSize, message.Type.Size())
	slots, ok := Stored[4].FieldByName("slots")
	require.True(t, ok)
	require.EqualValues(t, slotsOff, slots.Offset)
	count, ok := Stored[1].FieldByName("count")
	require.True(t, ok)
	g := guard{off: 1 << 20}
	require.Equal(t, g.off+uint64(count.Offset), g.countAt())
	g.side = 1
	require.Equal(t, g.off+uint64(count.Offset)+8, g.countAt())
}
