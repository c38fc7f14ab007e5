package intent_test

import (
	"flag"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	record := reflect.TypeFor[intent.Record]()
	require.EqualValues(t, intent.Size, record.Size())
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
Record 64: op 0, target 8, old 16, new 24, version 32, count 40, after 48, extra 56
`,
		Stored: []reflect.Type{record},
	}
	layout.Check(t, *update)
}
