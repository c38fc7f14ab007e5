package shmtest

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/shmkit/shmkit/internal/fault"
)

const (
	roleVariable = "SHMKIT_TEST_ROLE"
	armVariable  = "SHMKIT_TEST_ARM"
	killVariable = "SHMKIT_KILL_AT" // package fault reads it
)

// Main is for TestMain: it runs the tests, or, in a process that [Start] made,
// the role of that process, whose result is the exit code. It does not return.
func Main(m *testing.M, roles map[string]func(args []string) int) {
	name := os.Getenv(roleVariable)
	if name == "" {
		hasMain = true
		code := m.Run()
		endSweeper()
		os.Exit(code)
	}
	role := roles[name]
	if name == sweeperRole {
		role = sweeper
	}
	if role == nil {
		Fail("there is no role %q", name)
	}
	os.Exit(role(os.Args[1:]))
}

// Say writes a line to the parent, in a child.
func Say(format string, args ...any) {
	if _, err := fmt.Fprintf(os.Stdout, format+"\n", args...); err != nil {
		os.Exit(2) // nobody listens any more
	}
}

var input = sync.OnceValue(func() *bufio.Scanner { return bufio.NewScanner(os.Stdin) })

// Hear waits for a line of the parent, in a child. It is empty when the parent
// has nothing more to say.
func Hear() string {
	if in := input(); in.Scan() {
		return in.Text()
	}
	return ""
}

// Fail ends a child, which fails the test that waits for it.
func Fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(2)
}

// Must ends a child if there is an error.
func Must(err error) {
	if err != nil {
		Fail("%v", err)
	}
}

// Arm starts the count of [ArmedAt] in a child: from here on its k-th tick is
// its last one. It does nothing in a child that was started otherwise.
func Arm() {
	if k, err := strconv.ParseInt(os.Getenv(armVariable), 10, 64); err == nil {
		fault.Reset()
		fault.SetKill(k)
	}
}
