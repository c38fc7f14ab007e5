//go:build !crash || !unix

package fault

// Enabled tells whether ticks are counted in this build.
const Enabled = false

// Tick does nothing in this build and is inlined away.
func Tick() {}

// Pause does nothing in this build and is inlined away.
func Pause() {}

// Count returns 0: nothing is counted in this build.
func Count() int64 { return 0 }

// Reset has nothing to reset in this build.
func Reset() {}

// SetKill panics: a test that believes it armed a death must not pass.
func SetKill(int64) { panic(unarmed) }

// SetHook panics, as SetKill does.
func SetHook(func(tick int64)) { panic(unarmed) }

// SetPause panics, as SetKill does.
func SetPause(func()) { panic(unarmed) }

const unarmed = "fault: this build has no ticks; build with -tags crash on a Unix system"
