package array_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Load is to cost little more than the load.
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
	for _, call := range []string{"9:15", "9:26"} {
		require.Contains(t, string(out), "inline.go:"+call+": inlining call to array.(*Array[")
	}
}
