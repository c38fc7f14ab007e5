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
header 128: capacity 0, stripeBits 8, bits 16, buckets 24, most 32, ttl 40, expiring 48, limit 56, secrets 64, watch 96, leases 120
stripe 64: lock 0, count 8, floor 24, gone 32, lapsed 40, changes 48, spare 56
lease 192: holder 0, ticket 8, hash 16, print 24, until 32, forget 40, length 48, message 56
first 64: count 0, earliest 8
bucket 64: version 0, tags 8, slots 16
row 32: hints 0, ghosts 24
news 64: awaited 0, bell 8, changes 16, refused 24, cells 32, wanted 40, spare 48, gone 56
cell 128: hits 0, misses 8, spare 16
`,
		Stored: hashmap.Stored,
	}
	layout.Check(t, *update)
}
