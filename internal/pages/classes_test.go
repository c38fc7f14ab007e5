package pages

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// handMade is every class of every page size, computed by hand in docs/SPACE.md: block
// size, blocks in a page, bytes of bits at the start of the page. lodgers are the sizes of
// the one block that a page of blocks of three eighths has behind them.
var handMade, lodgers = readSpace("../../docs/SPACE.md")

// readSpace reads the table of blocks. A cell is "252 (+64)", "64", or "2, 1 of 1024".
func readSpace(file string) (classes map[uint][][3]uint64, lodgers map[uint]uint64) {
	classes, lodgers = make(map[uint][][3]uint64), make(map[uint]uint64)
	all, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	_, table, _ := strings.Cut(string(all), "<!-- begin blocks -->")
	table, _, _ = strings.Cut(table, "<!-- end blocks -->")
	for i, row := range strings.Split(strings.TrimSpace(table), "\n") {
		if i < 2 {
			continue // the head
		}
		cells := strings.Split(strings.Trim(row, "|"), "|")
		size := number(cells[0])
		for i, cell := range cells[1:] {
			shift := uint(MinShift + i)
			blocks, bits, _ := strings.Cut(cell, "(+")
			blocks, lodger, has := strings.Cut(blocks, ", 1 of")
			if has {
				lodgers[shift] = number(lodger)
			}
			if strings.TrimSpace(cell) != "" {
				classes[shift] = append(classes[shift], [3]uint64{size, number(blocks), number("0" + strings.Trim(bits, " )"))})
			}
		}
	}
	return classes, lodgers
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func eachShift(t *testing.T, test func(t *testing.T, shift uint)) {
	for shift := uint(MinShift); shift <= MaxShift; shift++ {
		t.Run(fmt.Sprintf("%dKiB", 1<<shift>>10), func(t *testing.T) { test(t, shift) })
	}
}

func TestClasses_ByHand(t *testing.T) {
	require.Len(t, handMade, MaxShift-MinShift+1)
	require.Len(t, lodgers, len(handMade))
	for shift, want := range handMade {
		got := Classes(shift)
		require.Len(t, got, len(want))
		for i, w := range want {
			require.Equal(t, w, [3]uint64{got[i].Size, got[i].Blocks, got[i].Head}, "class %d of %d-byte pages", i, 1<<shift)
			if got[i].Size == 3<<shift/8 {
				require.Equal(t, lodgers[shift], got[got[i].Lodger].Size)
				require.Equal(t, got[i].Blocks+1, got[i].All)
			} else {
				require.Zero(t, got[i].Lodger)
				require.Equal(t, got[i].Blocks, got[i].All)
			}
		}
	}
}

// What no arithmetic of ours says: every block lies in the page, behind the
// bits and behind the block before it, and there is a bit for each.
func TestClasses_Fit(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		page, last := uint64(1)<<shift, uint64(0)
		cs := Classes(shift)
		require.LessOrEqual(t, len(cs), MaxClasses)
		for _, c := range cs {
			require.Greater(t, c.Size, last, "classes grow")
			require.Zero(t, c.Size%8)
			require.Zero(t, c.Head%8)
			end := c.Head + c.Blocks*c.Size
			if c.Lodger != 0 {
				end += cs[c.Lodger].Size
			}
			require.LessOrEqual(t, end, page)
			require.GreaterOrEqual(t, c.words*64, c.All)
			if c.Blocks > 64 {
				require.GreaterOrEqual(t, c.Head, 2*8*c.words, "used and freed bits")
			} else {
				require.Zero(t, c.Head)
				require.EqualValues(t, 1, c.words)
			}
			if last >= 16 {
				// Each class is at most a third larger than the one before (rounding aside):
				// a block is never more than a quarter empty.
				require.LessOrEqual(t, 3*c.Size, 4*last+24)
			}
			last = c.Size
			// Metadata is what the table and the bits take; the unused tail is less
			// than a block, and none to speak of for the largest blocks.
			require.LessOrEqual(t, float64(EntrySize+c.Head)/float64(page), 0.025)
			require.Less(t, page-end, c.Size)
			if c.Size >= page/8 {
				require.Less(t, page-end, uint64(64))
			}
		}
		require.Equal(t, page/2, last)
	})
}

// index is the inverse of the block's offset, and refuses every other offset of
// the page.
func TestClass_Index(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		for _, c := range Classes(shift) {
			next, n := uint64(0), uint64(0)
			for rel := range uint64(1) << shift {
				i, ok := c.index(rel)
				if rel == next && n < c.All {
					if !ok || i != n {
						t.Fatalf("class %d: offset %d is block %d, got %d, %v", c.Size, rel, n, i, ok)
					}
					next, n = next+c.Size, n+1
				} else if ok {
					t.Fatalf("class %d: offset %d is no block, got %d", c.Size, rel, i)
				}
			}
			require.Equal(t, c.All, n)
		}
	})
}

func TestClass_Mask(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		for _, c := range Classes(shift) {
			n := 0
			for w := range c.words {
				n += onesIn(c.mask(w))
			}
			require.EqualValues(t, c.All, n)
		}
	})
}

// Every size gets the smallest class that is large enough, or a run.
func TestTable_ClassFor(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 1, 1)
		cs := a.Classes()
		for n := range uint64(1)<<shift + 1 {
			class, ok := a.ClassFor(n)
			if n > uint64(1)<<shift/2 {
				require.False(t, ok, "%d bytes", n)
				continue
			}
			if !ok || cs[class].Size < n || class > 0 && cs[class-1].Size >= n {
				t.Fatalf("%d bytes: class %d, %v", n, class, ok)
			}
		}
	})
}

// A size near the end of the number range is too large, not too small.
func TestTable_ClassFor_Huge(t *testing.T) {
	a := newTable(t, 12, 1, 1)
	for _, n := range []uint64{1<<64 - 1, 1<<64 - 7, 1<<64 - 4096, 1 << 63} {
		_, ok := a.ClassFor(n)
		require.False(t, ok, "%d bytes", n)
		require.GreaterOrEqual(t, a.RunPages(n), n>>12, "%d bytes", n)
	}
	for n, want := range map[uint64]uint64{1: 1, 4096: 1, 4097: 2, 8192: 2, 8193: 3} {
		require.Equal(t, want, a.RunPages(n), "%d bytes", n)
	}
}

// Blocks of a page as they are handed out: as many as were computed by hand, once each,
// none over the bits or over another one.
func TestTable_Blocks(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		for class, c := range Classes(shift) {
			a := newTable(t, shift, 2, 2)
			p, hand := a.page(t, class), handMade[shift][class]
			owner := make([]bool, 1<<shift)
			n := uint64(0)
			for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
				rel := off - a.pageOff(p)
				require.GreaterOrEqual(t, rel, hand[2])
				size, err := a.Size(off)
				require.NoError(t, err)
				if n == hand[1] {
					require.Equal(t, lodgers[shift], size)
				} else {
					require.Equal(t, hand[0], size)
				}
				require.LessOrEqual(t, rel+size, uint64(1)<<shift)
				for i := range size {
					if owner[rel+i] {
						t.Fatalf("class %d: byte %d of the page is in two blocks", c.Size, rel+i)
					}
					owner[rel+i] = true
				}
				n++
			}
			if c.Lodger != 0 {
				n--
			}
			require.Equal(t, hand[1], n)
		}
	})
}

// Free refuses whatever is no block in use, and then changes nothing.
func TestTable_Free_Refused(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		a := newTable(t, shift, 8, 8)
		var used []uint64
		for class := range a.Classes() {
			if class%3 != 0 || len(used) > 4 {
				continue
			}
			p := a.page(t, class)
			one, two := a.alloc(t, p, class), a.alloc(t, p, class)
			used = append(used, one)
			require.NoError(t, a.Free(two))
			requireRefused(t, a, two, "freed before")
			requireRefused(t, a, one+1, "misaligned")
			requireRefused(t, a, one+8, "interior")
			requireRefused(t, a, a.pageOff(p)+1<<shift-1, "the last byte of the page")
			if c := a.Classes()[class]; c.Head != 0 {
				requireRefused(t, a, a.pageOff(p), "the bits of the page")
			}
			requireRefused(t, a, two+a.Classes()[class].Size, "never handed out")
		}
		head, ok := a.FindRun(2)
		require.True(t, ok)
		require.True(t, a.MakeRun(head, 2, a.me))
		run := a.RunAt(head)
		requireRefused(t, a, run+8, "inside a run")
		requireRefused(t, a, run+1<<shift, "the second page of a run")
		for _, off := range []uint64{0, 1, 8, a.g.HintsOff, a.g.TableOff, a.g.DataOff - 8, a.g.End(8), a.g.End(8) + 8, 1 << 44, 1<<64 - 8} {
			requireRefused(t, a, off, "outside the data")
		}
		requireRefused(t, a, a.g.End(8)-1<<shift, "a free page")
		for _, off := range append(used, run) {
			require.True(t, a.InUse(off))
			require.NoError(t, a.Free(off))
			require.False(t, a.InUse(off))
		}
	})
}

func requireRefused(t *testing.T, a *attach, off uint64, why string) {
	t.Helper()
	before := a.words(t)
	err := a.Free(off)
	require.ErrorIs(t, err, ErrNotAllocated, "%s: %#x", why, off)
	require.Contains(t, err.Error(), fmt.Sprintf("%#x", off))
	a.Settle(off)
	require.False(t, a.InUse(off), why)
	_, err = a.Size(off)
	require.True(t, errors.Is(err, ErrNotAllocated), why)
	require.Equal(t, before, a.words(t), why)
}
