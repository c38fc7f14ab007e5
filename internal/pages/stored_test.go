package pages

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses knows this package.
var Stored = []reflect.Type{reflect.TypeFor[entry]()}

func TestLayout_Constants(t *testing.T) {
	require.EqualValues(t, EntrySize, reflect.TypeFor[entry]().Size())
}
