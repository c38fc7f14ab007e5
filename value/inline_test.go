package value_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Counter.Add is to cost little more than the atomic addition in it, and
// Value.Load little more than the load.
func TestInlining(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a package")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	compile := exec.Command(tool, "build", "-gcflags=-m", "./testdata/inline")
	compile.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	out, err := compile.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "inline.go:9:7: inlining call to value.(*Counter).Add")
	require.Contains(t, string(out), "inline.go:10:15: inlining call to value.(*Value[")
}
