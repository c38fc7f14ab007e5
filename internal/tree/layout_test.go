package tree_test

import (
	"flag"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	head := reflect.TypeFor[tree.Head]()
	require.EqualValues(t, tree.HeadSize, head.Size())
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
Head 64: version 0, dirs 8, lock 24, swap 32, spare 40
`,
		Stored: []reflect.Type{head},
	}
	layout.Check(t, *update)
}
