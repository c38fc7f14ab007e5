package mem

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The structures are as fast as the calls of this package are free. The compiler
// is asked about amd64, the machine whose reads are plain; it answers the same
// wherever the test runs.
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

	for _, call := range []string{
		"mem.At[", "mem.Must[", "mem.Cast[", "mem.Read[", "mem.ReadInto[", "mem.Write[", "mem.Word[", "mem.FromWord[",
		"mem.AsString[", "mem.KeyPtr[", "mem.Load64", "mem.Load32", "mem.(*View).Base", "mem.Ptr.Add",
	} {
		require.GreaterOrEqual(t, inlined(string(out), call), 1, "%s is not inlined", call)
	}
	// Once in the generic caller and once in the other.
	require.Equal(t, 2, inlined(string(out), "mem.At["))
	require.Equal(t, 2, inlined(string(out), "mem.Must["))
	for _, local := range []string{"moved to heap: key", "moved to heap: value"} {
		require.NotContains(t, string(out), local)
	}
}

// inlined counts the calls in inline.go that the compiler replaced by the body.
func inlined(out, call string) int {
	n := 0
	for line := range strings.Lines(out) {
		if strings.Contains(line, "inline.go:") && strings.Contains(line, "inlining call to "+call) {
			n++
		}
	}
	return n
}
