//go:build crash

package lintest

import (
	"math/rand/v2"
	"time"

	"github.com/shmkit/shmkit/internal/fault"
)

// With the build tag crash each shared store is a tick, those of the journal too.
func init() {
	perturb = func(doomed bool) {
		fault.SetHook(func(int64) {
			if rand.IntN(150) == 0 {
				time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			}
		})
		if doomed {
			fault.SetKill(1 + rand.Int64N(hands*quota*10))
		}
	}
}
