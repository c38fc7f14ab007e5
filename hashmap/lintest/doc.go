// Package lintest asks of recorded histories whether a hashmap.Map is
// linearizable, key by key, while processes write it and are killed. It has tests
// only, and is a module of its own for the checker that it needs.
//
// # Method
//
//	workers   a few processes, two goroutines each: random verbs on a few keys
//	reader    a process that has the arena open read-only: Loads of them
//	grower    a process that inserts other keys, so that segments split below them
//	parent    kills workers at random moments, and has others go on
//
// Each goroutine writes into a journal what it is about to do and the time, then
// does it, then what came of it and the time. The journal is a mapped file, so what
// a process has written is there after its SIGKILL; the clock is that of the
// machine, the same for all processes. An operation without an end may have
// happened or not: for the checker it ends after all others, with any result.
//
// With the build tag crash a worker that is to die does so before one of its shared
// stores, and all are held up before some of theirs: calls that would be over within
// a microsecond overlap then.
//
// Porcupine then looks for an order of the operations in which each takes place
// between its begin and its end, and has the result that a plain variable would
// give. A map is linearizable if it is so for each key (Herlihy and Wing), and
// that makes the histories short enough to be decided always. Clear and ReplaceAll
// are in them as well: a Delete or a Store of each key, at a time of its own.
package lintest
