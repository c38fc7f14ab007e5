package psync

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A read-only description shares and probes, and cannot lock exclusively.
func TestBytes_ReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks")
	writer := openBytes(t, path, os.O_RDWR|os.O_CREATE)
	reader := openBytes(t, path, os.O_RDONLY)
	requireLock(t, true, reader.TryRLock, at)
	requireHeld(t, false, writer, at, 1)
	_, err := reader.TryLock(at + 1)
	require.ErrorIs(t, err, unix.EBADF)
	require.ErrorContains(t, err, "exclusive lock of position")
	requireLock(t, true, writer.TryLock, at+1)
	requireHeld(t, true, reader, at, 10)
}

// A stopped process holds its bytes, a killed one does not, and nobody has to
// wait for a timeout to know which.
func TestBytes_Process(t *testing.T) {
	const variable = "SHMKIT_TEST_HOLD_BYTE"
	if path := os.Getenv(variable); path != "" {
		requireLock(t, true, openBytes(t, path, os.O_RDWR).TryLock, at)
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin) // until the parent is gone
		os.Exit(0)
	}
	path := filepath.Join(t.TempDir(), "locks")
	b := openBytes(t, path, os.O_RDWR|os.O_CREATE)
	child := startSelf(t, variable+"="+path)
	requireHeld(t, true, b, at, 1)
	requireLock(t, false, b.TryLock, at)

	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(child.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
	requireHeld(t, true, b, at, 1)

	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	requireHeld(t, false, b, at, 1)
	requireLock(t, true, b.TryLock, at)
}

// startSelf runs this test again as another process, and returns when that
// has said its first line.
func startSelf(t *testing.T, env string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self, "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), env)
	child.Stderr = os.Stderr
	_, err = child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() { child.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return child
}
