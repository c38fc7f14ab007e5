//go:build crash

package hashmap

import (
	"math/rand/v2"
	"testing"

	"github.com/shmkit/shmkit/internal/fault"
)

func init() { roles["doomed"] = doomed }

// doomed is a stormer that dies at one of its next shared stores.
func doomed(args []string) int {
	fault.SetKill(1 + rand.Int64N(30_000))
	return stormer(args)
}

// TestCrash_Map_Storm is TestTorture_Map with aim. A process that is killed at any
// moment is hardly ever between two stores that belong together; these are always
// before one.
func TestCrash_Map_Storm(t *testing.T) { storms(t, "doomed") }
