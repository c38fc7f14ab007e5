//go:build crash && unix

package fault

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether ticks are counted in this build.
const Enabled = true

// KillVariable is read when the process starts: its value k acts as SetKill(k).
const KillVariable = "SHMKIT_KILL_AT"

var (
	count  atomic.Int64                // ticks since the start or the last Reset
	killAt atomic.Int64                // the tick that is the last one; 0 is none
	hook   atomic.Pointer[func(int64)] // called at each tick; nil is none
	inHook atomic.Bool                 // ticks made by the hook do not count
	pause  atomic.Pointer[func()]      // called once, by the next reader that pauses; nil is none
)

func init() {
	value := os.Getenv(KillVariable)
	if value == "" {
		return
	}
	k, err := strconv.ParseInt(value, 10, 64)
	if err != nil || k < 1 {
		panic(fmt.Sprintf("fault: %s=%q: want a tick number from 1 on", KillVariable, value))
	}
	SetKill(k)
}

// Tick announces the next shared store, or the next system call a survivor
// relies on.
func Tick() {
	if inHook.Load() {
		return
	}
	n := count.Add(1)
	if n == killAt.Load() {
		die()
	}
	if f := hook.Load(); f != nil {
		call(*f, n)
	}
}

// Pause is where a reader may be held: what it has read until now can change before
// it reads on.
func Pause() {
	if pause.Load() == nil {
		return
	}
	if f := pause.Swap(nil); f != nil {
		(*f)()
	}
}

// Count returns the ticks since the process started or since Reset.
func Count() int64 { return count.Load() }

// Reset starts counting from zero and disarms both deaths.
func Reset() {
	killAt.Store(0)
	hook.Store(nil)
	pause.Store(nil)
	inHook.Store(false)
	count.Store(0)
}

// SetKill makes the k-th tick from now the last one of this process. A k below
// one disarms it.
func SetKill(k int64) {
	if k < 1 {
		killAt.Store(0)
		return
	}
	killAt.Store(count.Load() + k)
}

// SetHook has f called at each tick with its number, before the announced store;
// nil removes it.
func SetHook(f func(tick int64)) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// SetPause has f called once, where the next reader pauses; nil removes it.
func SetPause(f func()) {
	if f == nil {
		pause.Store(nil)
		return
	}
	pause.Store(&f)
}

func call(f func(int64), n int64) {
	inHook.Store(true)
	defer inHook.Store(false) // a hook may leave by t.FailNow
	f(n)
}

// die does not return. The signal needs a moment to arrive, and the announced
// store must not happen meanwhile.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
