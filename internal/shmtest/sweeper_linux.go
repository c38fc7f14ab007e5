package shmtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/shmkit/shmkit/shm"
)

// A test binary that is killed, or that runs into its time limit, cleans nothing
// up. So before its first named segment is made it starts another process, the
// sweeper, which hears the end of a pipe when the binary has ended, however that
// was, and removes what it has left.

const sweeperRole = "sweeper"

// hasMain says that this binary knows roles: others would run their tests again.
var hasMain bool

var startSweeper = sync.OnceFunc(func() {
	if !hasMain {
		return
	}
	c := exec.Command(os.Args[0], namePrefix(os.Getpid()))
	c.Env = append(os.Environ(), roleVariable+"="+sweeperRole)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not killed with our group
	var err error
	if sweeperHears, err = c.StdinPipe(); err == nil {
		err = c.Start()
	}
	if err != nil {
		panic(fmt.Errorf("shmtest: starting the sweeper: %w", err))
	}
})

// sweeperHears is open as long as we live: Go closes pipes that nobody holds.
var sweeperHears io.WriteCloser

func endSweeper() {
	if sweeperHears != nil {
		sweeperHears.Close()
	}
}

// sweeper is the role.
func sweeper(args []string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	all, err := shm.List("")
	Must(err)
	for _, s := range all {
		if strings.HasPrefix(s.Name, args[0]) {
			_ = shm.Remove(s.Name, nil) // the others are to go in any case
		}
	}
	return 0
}
