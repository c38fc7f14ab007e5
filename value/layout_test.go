package value_test

import (
	"flag"
	"testing"

	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
valueRoot 128: word 0, change 8, watched 16, spare 24
cell 128: count 0, base 8, spare 16
counterRoot 2048: cells 0
`,
		Stored: value.Stored,
	}
	layout.Check(t, *update)
}
