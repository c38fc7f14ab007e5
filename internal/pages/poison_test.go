//go:build poison

package pages

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
)

// A store into a block that was freed is noticed when the block is handed out
// again, whether it was handed out before or not.
func TestPoison(t *testing.T) {
	for _, freed := range []bool{false, true} {
		a := newTable(t, 12, 1, 1)
		p := a.page(t, of64)
		rounds := a.rounds(t, p, of64)
		if freed {
			off := a.next(&rounds[0])
			mem.CopyIn(a.view.Base().Add(off), []byte("in use"))
			var err error
			err = a.FreeRound(off, &rounds[0])
			require.NoError(t, err)
			require.Equal(t, off, a.next(&rounds[0]), "untouched, it is handed out")
			err = a.FreeRound(off, &rounds[0])
			require.NoError(t, err)
		}
		off := a.pageOff(p)
		mem.CopyIn(a.view.Base().Add(off+17), []byte{7})
		require.PanicsWithValue(t, "pages: byte 17 of the free block of 64 bytes at "+hex(off)+" was changed to 0x7: "+
			"somebody stores into a block that he has freed, or does without the build tag poison", func() { a.next(&rounds[0]) })
	}
}

func hex(n uint64) string { return "0x" + string(appendHex(nil, n)) }

func appendHex(b []byte, n uint64) []byte {
	if n >= 16 {
		b = appendHex(b, n/16)
	}
	return append(b, "0123456789abcdef"[n%16])
}
