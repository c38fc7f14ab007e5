//go:build race

package slab_test

// raceEnabled says that the race detector watches, at a tenth of the speed.
const raceEnabled = true
