package arena_test

import (
	"flag"
	"testing"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
header 1728: magic 0, wordTag 8, version 16, pageShift 24, maxSize 32, slots 40, objects 48,
 objectOff 56, nameOff 64, hintOff 72, tableOff 80, dataOff 88, maxPages 96, lifetime 104,
 nonce 112, created 120, sum 128, committed 136, ready 144, high 152, deaths 160, spare0 168,
 dirLock 256, spare1 264, runLock 384, spare2 392, initLock 512, spare3 520,
 refused 640, cut 984, most 1328, spare4 1672
slot 1536: word 0, pid 8, started 16, name 24, pins 64, spare 96, records 128, handed 1152, spare1 1496
object 64: ref 0, state 8, kind 16, fingerprint 24, size 32, traceOff 40, traceShape 48, traceCount 56
name 128: word 0, length 8, text 16
`,
		Stored: arena.Stored,
	}
	layout.Check(t, *update)
}
