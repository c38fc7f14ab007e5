//go:build !race

package mem

// wordFill says how payload is written in this build. Plainly: only memory that
// nobody is led to yet is filled.
const wordFill = false
