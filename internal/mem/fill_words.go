//go:build race

package mem

// wordFill says how payload is written in this build. A reader with a stale
// offset may still look at a block that is being filled anew, and throws away what
// it saw; only atomic stores keep the race detector from reporting that.
const wordFill = true
