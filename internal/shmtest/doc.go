// Package shmtest is the workbench of the tests: arenas over every backing,
// child processes that are stopped and killed, and frozen frames of a segment.
// Only tests import it.
//
// # Backings
//
// [Heap] and [Named] make an arena for one test; [Backings] runs a test over
// all of them. When the test ends the arena is closed, opened once more and
// checked: every block accounted for, nothing left in flight, nothing left in
// the directory of segments.
//
// # Processes
//
// A package whose tests need other processes gives its roles to [Main]:
//
//	func TestMain(m *testing.M) {
//		shmtest.Main(m, map[string]func(args []string) int{"holder": holder})
//	}
//
// [Start] runs the test binary again in one of them. Parent and child talk in
// lines: the child by [Say] and [Hear], the parent by Expect and Tell. A child
// dies with the test binary, whatever happens to that.
//
// # Deaths
//
// With the build tag crash, [EachTick] freezes a heap segment at every store of
// an operation, recovers every frame, and then every frame of those recoveries.
// [EachKill] does the same to real processes. See package fault.
package shmtest
