package hashmap

import (
	"math"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// machineTime is CLOCK_MONOTONIC, which all processes of the machine share, read
// once; from then on Go's own reading of the same clock goes on from there,
// without a system call.
var machineStart, machineBase = meet()

// meet reads both clocks at one moment: again, if the process was stopped in between.
// The least of what was between them is taken if they don't meet.
func meet() (start time.Time, base uint64) {
	apart := time.Duration(math.MaxInt64)
	for try := 0; try < 100 && apart > 10*time.Microsecond; try++ {
		before := time.Now()
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			return before, 0
		}
		if d := time.Since(before); d < apart {
			start, base, apart = before, uint64(ts.Nano()), d
		}
	}
	return start, base
}

func machineTime() uint64 { return machineBase + uint64(time.Since(machineStart)) }

// bootID tells one run of the machine from another.
func bootID() uint64 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 1
	}
	return xxhash.Sum64(id) | 1
}
