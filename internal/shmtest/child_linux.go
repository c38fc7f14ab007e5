package shmtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// patience is how long anything may take before a test gives up. It proves
// nothing; it only keeps a hang from lasting.
const patience = 60 * time.Second

// Child is another process in a role of the test binary.
type Child struct {
	t      testing.TB
	role   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string
	errors bytes.Buffer
	done   chan struct{} // closed when it has ended
	end    sync.Once
}

// Start runs the test binary again in a role. The child is killed when the test
// ends, and by the kernel when the test binary does.
func Start(t testing.TB, role string, args ...string) *Child {
	t.Helper()
	return start(t, nil, role, args)
}

// KillAt is Start for a child that kills itself at its k-th tick since it began.
func KillAt(t testing.TB, k int64, role string, args ...string) *Child {
	t.Helper()
	return start(t, []string{fmt.Sprintf("%s=%d", killVariable, k)}, role, args)
}

// ArmedAt is Start for a child that kills itself at its k-th tick after [Arm].
func ArmedAt(t testing.TB, k int64, role string, args ...string) *Child {
	t.Helper()
	return start(t, []string{fmt.Sprintf("%s=%d", armVariable, k)}, role, args)
}

func start(t testing.TB, env []string, role string, args []string) *Child {
	t.Helper()
	c := &Child{t: t, role: role, lines: make(chan string, 64), done: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], args...)
	c.cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	c.cmd.Stderr = &c.errors
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go c.listen(out)
	t.Cleanup(c.cleanup)
	return c
}

// listen hands the child's lines on until it has ended.
func (c *Child) listen(out io.Reader) {
	in := bufio.NewScanner(out)
	for in.Scan() {
		c.lines <- in.Text()
	}
	close(c.lines)
	_ = c.cmd.Wait() // the state says it all
	close(c.done)
}

func (c *Child) cleanup() {
	_ = c.cmd.Process.Kill()
	go func() {
		for range c.lines { // nobody listens any more
		}
	}()
	<-c.done
}

// PID returns the process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Line returns the next line of the child, and false when it has ended.
func (c *Child) Line() (string, bool) {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		return line, ok
	case <-time.After(patience):
		c.fail("said nothing for %s", patience)
		return "", false
	}
}

// Expect fails the test unless the child's next line is this one.
func (c *Child) Expect(want string) {
	c.t.Helper()
	got, ok := c.Line()
	if !ok {
		<-c.done
		c.fail("ended, want line %q", want)
	}
	if got != want {
		c.fail("said %q, want %q", got, want)
	}
}

// Tell writes a line to the child.
func (c *Child) Tell(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil && !errors.Is(err, syscall.EPIPE) {
		c.fail("does not listen: %v", err)
	}
}

// Kill ends the child by SIGKILL and waits until the kernel has taken back what
// it held. Of a child that has ended before, Wait tells how.
func (c *Child) Kill() {
	c.t.Helper()
	c.Doom()
	c.ended()
}

// Doom is the first half of Kill: it does not wait.
func (c *Child) Doom() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(c.t, err)
	}
}

// Wait waits for the end of the child and reports whether it was killed by
// SIGKILL. Any other failure of the child fails the test.
func (c *Child) Wait() (killed bool) {
	c.t.Helper()
	c.end.Do(func() { _ = c.in.Close() })
	c.ended()
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		c.fail("failed: %v", c.cmd.ProcessState)
	}
	return false
}

func (c *Child) ended() {
	c.t.Helper()
	limit := time.After(patience)
	lines := c.lines
	for {
		select {
		case _, ok := <-lines: // not asked for
			if !ok {
				lines = nil
			}
		case <-c.done:
			return
		case <-limit:
			c.fail("did not end within %s", patience)
		}
	}
}

// Stop stops the child and returns when none of its threads runs any more.
func (c *Child) Stop() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGSTOP))
	c.Stopped()
}

// StopHere stops a child at this very place, after telling so. The signal goes to
// the thread itself: sent to the process, another thread might take it, and this
// one would run on for a while.
func StopHere() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	Say("stopped")
	Must(unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP))
}

// Stopped returns when the child, which is about to stop itself, has done so.
func (c *Child) Stopped() {
	c.t.Helper()
	c.await("stop", func() bool { return c.threadsAre("T") })
}

// Cont lets a stopped child go on.
func (c *Child) Cont() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGCONT))
}

func (c *Child) await(what string, reached func() bool) {
	c.t.Helper()
	for limit := time.Now().Add(patience); !reached(); time.Sleep(time.Millisecond) {
		select {
		case <-c.done:
			c.fail("ended (%v) before it could %s", c.cmd.ProcessState, what)
		default:
		}
		if time.Now().After(limit) {
			c.fail("did not %s within %s: its threads are %s", what, patience, c.threads())
		}
	}
}

// threadsAre reports whether every thread of the child is in the state.
func (c *Child) threadsAre(state string) bool {
	states := c.threads()
	return states != "" && strings.Trim(states, state) == ""
}

// threads returns the state of each thread of the child, a letter each.
func (c *Child) threads() (states string) {
	files, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(c.PID()), "task", "*", "stat"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		if at := bytes.LastIndexByte(b, ')'); at+2 < len(b) {
			states += string(b[at+2])
		}
	}
	return states
}

func (c *Child) fail(format string, args ...any) {
	c.t.Helper()
	_ = c.cmd.Process.Kill()
	<-c.done
	require.FailNow(c.t, fmt.Sprintf("child %s: "+format, append([]any{c.role}, args...)...), "its errors:\n%s", c.errors.String())
}

// Poll returns the next line of the child if it has said one already.
func (c *Child) Poll() (string, bool) {
	select {
	case line, ok := <-c.lines:
		return line, ok
	default:
		return "", false
	}
}

// Ended reports whether the child has ended. Then Wait says how.
func (c *Child) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
