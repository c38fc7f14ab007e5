package array_test

import (
	"flag"
	"testing"

	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
header 64: length 0, spare 8
`,
		Stored: array.Stored,
	}
	layout.Check(t, *update)
}
