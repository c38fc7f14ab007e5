//go:build amd64 && !race && !crash

package psync

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// orderly stores to words apart and side by side, and to one of them again and
// again: the compiler must not change the order, merge two, or leave one out.
//
//go:noinline
func orderly(w *[16]Word64, x uint64) {
	w[9].Put(x)
	w[3].Put(x)
	w[5].StoreRelease(0)
	w[12].StoreRelease(x + 1)
	w[5].StoreRelease(x)
	w[1].StoreRelease(0)
	w[7].StoreRelease(w[7].Load() + 1)
	w[5].StoreRelease(0)
	w[6].StoreRelease(0)
}

var storesTo = regexp.MustCompile(`MOV\S*\s+\S+,\s*(0x[0-9a-f]+)\((?:AX|CX|DX|BX|SI|DI|R\d+)\)`)

// TestPut_Order looks at the machine code: plain stores are as good as ordered
// ones on amd64 only as long as the compiler leaves them where they are.
func TestPut_Order(t *testing.T) {
	orderly(new([16]Word64), 1)
	binary := filepath.Join(t.TempDir(), "psync.test") // the one that is running has no symbols
	if out, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Skipf("no Go tools where this test runs: %v: %s", err, out)
	}
	out, err := exec.Command("go", "tool", "objdump", "-s", `psync\.orderly$`, binary).CombinedOutput()
	require.NoError(t, err, "%s", out)
	var order []string
	for _, m := range storesTo.FindAllStringSubmatch(string(out), -1) {
		order = append(order, m[1])
	}
	require.Equal(t, []string{"0x48", "0x18", "0x28", "0x60", "0x28", "0x8", "0x38", "0x28", "0x30"}, order, "%s", out)
}
