package value

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses may know this package.
var Stored = []reflect.Type{reflect.TypeFor[valueRoot](), reflect.TypeFor[cell](), reflect.TypeFor[counterRoot]()}

func TestLayout_Constants(t *testing.T) {
	require.EqualValues(t, valueSize, Stored[0].Size())
	require.EqualValues(t, line, Stored[1].Size())
	require.EqualValues(t, counterSize, Stored[2].Size())
}
