//go:build amd64 && !race

package mem

// wordCopy says how optimistic readers copy payload in this build. Loads of
// amd64 keep their order, so a plain copy between two loads of a version is sound.
const wordCopy = false
