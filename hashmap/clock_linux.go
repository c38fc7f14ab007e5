package hashmap

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// machineTime is CLOCK_MONOTONIC, which all processes of the machine share, less what
// their time namespaces add, read once; from then on Go's own reading of the same clock goes on from there,
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
	return start, base - timeOffset()
}

// timeOffset returns what the time namespace of this process adds to CLOCK_MONOTONIC:
// a container may have one of its own (time_namespaces(7)), and share a map with others.
func timeOffset() uint64 {
	text, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return 0 // the kernel has no such namespaces
	}
	return offsetIn(string(text))
}

// offsetIn finds the offset in a file that has, for each clock, its name, seconds and
// nanoseconds.
func offsetIn(text string) uint64 {
	for line := range strings.Lines(text) {
		var clock string
		var seconds, nanos int64
		if n, _ := fmt.Sscan(line, &clock, &seconds, &nanos); n == 3 && clock == "monotonic" {
			return uint64(seconds*1e9 + nanos)
		}
	}
	return 0
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
