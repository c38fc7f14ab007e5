package hashmap

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What a time namespace adds to the clock is taken off again.
func TestClock_Namespace(t *testing.T) {
	const other = "boottime            7         8\n"
	for text, want := range map[string]time.Duration{
		"monotonic           0         0\n" + other: 0,
		"monotonic        1000       500\n" + other: 1000*time.Second + 500,
		other + "monotonic       -1000 500000000":   -1000*time.Second + time.Second/2,
		"":            0,
		"monotonic":   0,
		"other 1 2":   0,
		"monotonic x": 0,
	} {
		require.Equal(t, uint64(want), offsetIn(text), "%q", text)
	}
	text, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		text = nil
	}
	var ts unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	require.InDelta(t, float64(uint64(ts.Nano())-offsetIn(string(text))), float64(machineTime()), float64(time.Minute))
}
