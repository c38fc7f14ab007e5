//go:build crash && unix

package fault

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// childVariable turns the test binary into a child that ticks five times and
// writes a byte after each tick.
const childVariable = "SHMKIT_FAULT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if k, err := strconv.ParseInt(os.Getenv(childVariable), 10, 64); err == nil {
		Tick()
		SetKill(k)
	}
	for range 5 {
		Tick()
		_, _ = os.Stdout.Write([]byte{'.'})
	}
}

// ticks runs a child and returns how many stores it lived to do, and whether it
// was killed.
func ticks(t *testing.T, env ...string) (stores int, killed bool) {
	t.Helper()
	var out bytes.Buffer
	child := exec.Command(os.Args[0])
	child.Env, child.Stdout = append(os.Environ(), env...), &out
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status := exit.Sys().(syscall.WaitStatus)
		require.True(t, status.Signaled(), "child failed: %v", err)
		require.Equal(t, syscall.SIGKILL, status.Signal())
		return out.Len(), true
	}
	require.NoError(t, err)
	return out.Len(), false
}

func TestKill_Real(t *testing.T) {
	for k := 1; k <= 6; k++ {
		at := strconv.Itoa(k)
		for name, env := range map[string][]string{
			"environment": {childVariable + "=yes", KillVariable + "=" + at},
			"from now on": {childVariable + "=" + at},
		} {
			stores, killed := ticks(t, env...)
			require.Equal(t, min(k-1, 5), stores, name)
			require.Equal(t, k <= 5, killed, name)
		}
	}
}

func TestKill_BadVariable(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=yes", KillVariable+"=soon")
	out, err := child.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `SHMKIT_KILL_AT="soon": want a tick number`)
}

func TestHook(t *testing.T) {
	t.Cleanup(Reset)
	Reset()
	var seen []int64
	SetHook(func(n int64) {
		seen = append(seen, n)
		Tick() // as a recovery run by the hook would
	})
	Tick()
	Tick()
	SetHook(nil)
	Tick()
	require.Equal(t, []int64{1, 2}, seen)
	require.EqualValues(t, 3, Count())
	Reset()
	require.Zero(t, Count())
}

// A hook that fails its test leaves the counter usable for the next.
func TestHook_Panic(t *testing.T) {
	t.Cleanup(Reset)
	Reset()
	SetHook(func(int64) { panic("enough") })
	require.Panics(t, Tick)
	SetHook(nil)
	Tick()
	require.EqualValues(t, 2, Count())
}

func TestCount_Concurrent(t *testing.T) {
	t.Cleanup(Reset)
	Reset()
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 1000 {
				Tick()
			}
		})
	}
	workers.Wait()
	require.EqualValues(t, 4000, Count())
}

func TestSetKill_Disarm(t *testing.T) {
	t.Cleanup(Reset)
	Reset()
	SetKill(1)
	SetKill(0)
	Tick()
	require.EqualValues(t, 1, Count())
}
