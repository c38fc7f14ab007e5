package array

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses may know this package.
var Stored = []reflect.Type{reflect.TypeFor[header]()}

func TestLayout_Constants(t *testing.T) {
	require.EqualValues(t, headerSize, Stored[0].Size())
}
