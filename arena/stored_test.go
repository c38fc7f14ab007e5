package arena

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses knows this package.
var Stored = []reflect.Type{
	reflect.TypeFor[header](), reflect.TypeFor[slot](), reflect.TypeFor[object](), reflect.TypeFor[name](),
}

// The numbers by which records name words are where the structs say.
func TestLayout_Constants(t *testing.T) {
	offset := func(s reflect.Type, field string) int {
		f, ok := s.FieldByName(field)
		require.True(t, ok, field)
		return int(f.Offset)
	}
	head, slots := Stored[0], Stored[1]
	require.EqualValues(t, firstSlot, head.Size())
	require.EqualValues(t, slotSize, slots.Size())
	require.EqualValues(t, objectSize, Stored[2].Size())
	require.EqualValues(t, nameSize, Stored[3].Size())
	require.Equal(t, fixedWords*8, offset(head, "sum"))
	require.Equal(t, (fixedWords+1)*8, offset(head, "committed"))
	require.Equal(t, highOff, offset(head, "high"))
	require.Equal(t, dirOff, offset(head, "dirLock"))
	require.Equal(t, runOff, offset(head, "runLock"))
	require.Equal(t, initOff, offset(head, "initLock"))
	require.Equal(t, slotPins, offset(slots, "pins"))
	require.Equal(t, slotRecords, offset(slots, "records"))
}
