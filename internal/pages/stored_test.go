package pages

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stored is what layout_test.go checks: it lies outside the package, since the
// helper it uses knows this package.
var Stored = []reflect.Type{reflect.TypeFor[entry]()}

// HandMade is the table of classes that was made by hand: size, blocks, bytes of
// bits at the start of the page.
var HandMade = handMade

// Lodgers are the sizes of the blocks that come with the class of three eighths.
var Lodgers = lodgers

func TestLayout_Constants(t *testing.T) {
	require.EqualValues(t, EntrySize, reflect.TypeFor[entry]().Size())
}
