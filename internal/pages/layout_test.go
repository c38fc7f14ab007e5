package pages_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/shmtest"
)

var update = flag.Bool("update", false, "rewrite docs/LAYOUT.md")

func TestLayout(t *testing.T) {
	layout := shmtest.Layout{
		Version: 1,
		Frozen: `
entry 32: word 0, used 8, freed 16, epoch 24
`,
		Stored: pages.Stored,
	}
	layout.Check(t, *update)
}

// The table of usable blocks in docs/LAYOUT.md is what the code computes, and
// what was computed by hand.
func TestLayout_Classes(t *testing.T) {
	shifts := []uint{12, 13, 14, 15, 16}
	sizes := pages.Classes(16)
	blocks := make(map[uint]map[uint64]pages.Class)
	for _, shift := range shifts {
		blocks[shift] = make(map[uint64]pages.Class)
		require.Len(t, pages.HandMade[shift], len(pages.Classes(shift)))
		for i, c := range pages.Classes(shift) {
			require.Equal(t, pages.HandMade[shift][i], [3]uint64{c.Size, c.Blocks, c.Head}, "pages of %d bytes", 1<<shift)
			blocks[shift][c.Size] = c
			if c.Lodger != 0 {
				require.Equal(t, pages.Lodgers[shift], pages.Classes(shift)[c.Lodger].Size)
			}
			sizes = append(sizes, c)
		}
	}
	shmtest.Section(t, *update, "classes", classRows(shifts, sizes, blocks))
}

// classRows makes a row of each size that is a class of one of the page sizes.
func classRows(shifts []uint, sizes []pages.Class, blocks map[uint]map[uint64]pages.Class) string {
	var b strings.Builder
	b.WriteString("| block, bytes |")
	for _, shift := range shifts {
		fmt.Fprintf(&b, " %d KiB page |", 1<<shift>>10)
	}
	b.WriteString("\n|---:|" + strings.Repeat("---:|", len(shifts)) + "\n")
	for size := uint64(16); size <= 1<<15; size += 8 {
		if !isClass(sizes, size) {
			continue
		}
		fmt.Fprintf(&b, "| %d |", size)
		for _, shift := range shifts {
			b.WriteString(cellOf(shift, blocks[shift], size))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	return b.String()
}

func isClass(sizes []pages.Class, size uint64) bool {
	for _, c := range sizes {
		if c.Size == size {
			return true
		}
	}
	return false
}

// cellOf says how many blocks of the size a page holds, and behind how many
// bytes of bits.
func cellOf(shift uint, classes map[uint64]pages.Class, size uint64) string {
	switch c, ok := classes[size]; {
	case !ok:
		return " |"
	case c.Lodger != 0:
		return fmt.Sprintf(" %d, 1 of %d |", c.Blocks, pages.Lodgers[shift])
	case c.Head == 0:
		return fmt.Sprintf(" %d |", c.Blocks)
	default:
		return fmt.Sprintf(" %d (+%d) |", c.Blocks, c.Head)
	}
}
