package hashmap_test

import (
	"flag"
	"testing"

	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
header 128: capacity 0, buckets 8, stripeBits 16, bucketOff 24, secrets 32, spare 64
stripe 64: lock 0, count 8, spare 16
bucket 64: version 0, tags 8, slots 16
`,
		Stored: hashmap.Stored,
	}
	layout.Check(t, *update)
}
