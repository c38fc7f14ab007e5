package hashmap

import (
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// machineTime is CLOCK_MONOTONIC, which all processes of the machine share, read
// once; from then on Go's own reading of the same clock goes on from there,
// without a system call.
var machineStart, machineBase = time.Now(), func() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}()

func machineTime() uint64 { return machineBase + uint64(time.Since(machineStart)) }

// bootID tells one run of the machine from another.
func bootID() uint64 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 1
	}
	return xxhash.Sum64(id) | 1
}
