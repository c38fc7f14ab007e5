package pages_test

import (
	"flag"
	"testing"

	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
entry 32: word 0, used 8, freed 16, epoch 24
`,
		Stored: pages.Stored,
	}
	layout.Check(t, *update)
}
