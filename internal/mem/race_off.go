//go:build !race

package mem

// Race tells whether the race detector watches this build, at a tenth of the speed.
const Race = false
