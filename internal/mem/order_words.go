//go:build !amd64 || race

package mem

// wordCopy says how optimistic readers copy payload in this build. Elsewhere than
// on amd64 a plain load may pass the version load after it, and the race detector
// takes every plain copy beside a writer for a mistake: copy by atomic words.
const wordCopy = true
