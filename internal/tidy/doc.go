// Package tidy holds the rules of the house as tests. It has no code.
//
// The rules are those a reader could otherwise only find out by breaking
// them: which package may import which, and why (deps_test.go); where unsafe
// and raw atomics live (unsafe_test.go); which doors stay shut altogether
// (words_test.go); what each package brings with it (docs_test.go); how long
// a function may be and what nothing is called (size_test.go).
//
// Each rule is a function from the source tree to a list of complaints, run
// twice: over the real tree, where it must find nothing, and over a small
// broken tree, where it must find exactly what is broken (bite_test.go). A
// complaint says which file, what was found, and what to do about it.
//
// The tree is parsed, not built, so that files of every system and every
// build tag are seen. Nested modules answer for their own dependencies; only
// the rules about text reach into them.
package tidy
