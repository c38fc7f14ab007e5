package pages

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// handMade is every class of every page size, computed by hand: block size,
// blocks in a page, bytes of bits at the start of the page. A page of up to 64
// blocks has its bits in the page table. Beyond, used and freed bits take 16
// bytes for every 64 blocks that would fit without them.
var handMade = map[uint][][3]uint64{
	12: {
		{16, 252, 64}, {24, 168, 48}, {32, 127, 32}, {40, 101, 32}, {48, 84, 32}, {56, 72, 32},
		{64, 64, 0}, {80, 51, 0}, {96, 42, 0}, {112, 36, 0}, {128, 32, 0}, {160, 25, 0},
		{192, 21, 0}, {224, 18, 0}, {256, 16, 0}, {320, 12, 0}, {384, 10, 0}, {448, 9, 0},
		{512, 8, 0}, {584, 7, 0}, {680, 6, 0}, {816, 5, 0}, {1024, 4, 0}, {1360, 3, 0},
		{1536, 2, 0}, {2048, 2, 0},
	},
	13: {
		{16, 504, 128}, {24, 337, 96}, {32, 254, 64}, {40, 203, 64}, {48, 169, 48}, {56, 145, 48},
		{64, 127, 32}, {80, 102, 32}, {96, 85, 32}, {112, 72, 32}, {128, 64, 0}, {160, 51, 0},
		{192, 42, 0}, {224, 36, 0}, {256, 32, 0}, {320, 25, 0}, {384, 21, 0}, {448, 18, 0},
		{512, 16, 0}, {640, 12, 0}, {768, 10, 0}, {896, 9, 0}, {1024, 8, 0}, {1168, 7, 0},
		{1360, 6, 0}, {1632, 5, 0}, {2048, 4, 0}, {2728, 3, 0}, {3072, 2, 0}, {4096, 2, 0},
	},
	14: {
		{16, 1008, 256}, {24, 675, 176}, {32, 508, 128}, {40, 406, 112}, {48, 339, 96}, {56, 291, 80},
		{64, 255, 64}, {80, 204, 64}, {96, 170, 48}, {112, 145, 48}, {128, 127, 32}, {160, 102, 32},
		{192, 85, 32}, {224, 73, 32}, {256, 64, 0}, {320, 51, 0}, {384, 42, 0}, {448, 36, 0},
		{512, 32, 0}, {640, 25, 0}, {768, 21, 0}, {896, 18, 0}, {1024, 16, 0}, {1280, 12, 0},
		{1536, 10, 0}, {1792, 9, 0}, {2048, 8, 0}, {2336, 7, 0}, {2728, 6, 0}, {3272, 5, 0},
		{4096, 4, 0}, {5456, 3, 0}, {6144, 2, 0}, {8192, 2, 0},
	},
	15: {
		{16, 2016, 512}, {24, 1350, 352}, {32, 1016, 256}, {40, 814, 208}, {48, 679, 176}, {56, 582, 160},
		{64, 510, 128}, {80, 408, 112}, {96, 340, 96}, {112, 291, 80}, {128, 255, 64}, {160, 204, 64},
		{192, 170, 48}, {224, 146, 48}, {256, 127, 32}, {320, 102, 32}, {384, 85, 32}, {448, 73, 32},
		{512, 64, 0}, {640, 51, 0}, {768, 42, 0}, {896, 36, 0}, {1024, 32, 0}, {1280, 25, 0},
		{1536, 21, 0}, {1792, 18, 0}, {2048, 16, 0}, {2560, 12, 0}, {3072, 10, 0}, {3584, 9, 0},
		{4096, 8, 0}, {4680, 7, 0}, {5456, 6, 0}, {6552, 5, 0}, {8192, 4, 0}, {10920, 3, 0},
		{12288, 2, 0}, {16384, 2, 0},
	},
	16: {
		{16, 4032, 1024}, {24, 2702, 688}, {32, 2032, 512}, {40, 1628, 416}, {48, 1358, 352}, {56, 1164, 304},
		{64, 1020, 256}, {80, 816, 208}, {96, 680, 176}, {112, 583, 160}, {128, 511, 128}, {160, 408, 112},
		{192, 340, 96}, {224, 292, 80}, {256, 255, 64}, {320, 204, 64}, {384, 170, 48}, {448, 146, 48},
		{512, 127, 32}, {640, 102, 32}, {768, 85, 32}, {896, 73, 32}, {1024, 64, 0}, {1280, 51, 0},
		{1536, 42, 0}, {1792, 36, 0}, {2048, 32, 0}, {2560, 25, 0}, {3072, 21, 0}, {3584, 18, 0},
		{4096, 16, 0}, {5120, 12, 0}, {6144, 10, 0}, {7168, 9, 0}, {8192, 8, 0}, {9360, 7, 0},
		{10920, 6, 0}, {13104, 5, 0}, {16384, 4, 0}, {21840, 3, 0}, {24576, 2, 0}, {32768, 2, 0},
	},
}

// lodgers are the sizes of the one block that a page of blocks of three eighths has
// behind them, by hand too.
var lodgers = map[uint]uint64{12: 1024, 13: 2048, 14: 4096, 15: 8192, 16: 16384}

func eachShift(t *testing.T, test func(t *testing.T, shift uint)) {
	for shift := uint(MinShift); shift <= MaxShift; shift++ {
		t.Run(fmt.Sprintf("%dKiB", 1<<shift>>10), func(t *testing.T) { test(t, shift) })
	}
}

func TestClasses_ByHand(t *testing.T) {
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

// Blocks of a page as they are handed out: all of them, once each, none over
// the bits or over another one.
func TestTable_Blocks(t *testing.T) {
	eachShift(t, func(t *testing.T, shift uint) {
		for class, c := range Classes(shift) {
			a := newTable(t, shift, 2, 2)
			p := a.page(t, class)
			owner := make([]bool, 1<<shift)
			n := uint64(0)
			for off := a.alloc(t, p, class); off != 0; off = a.alloc(t, p, class) {
				rel := off - a.pageOff(p)
				require.GreaterOrEqual(t, rel, c.Head)
				size, err := a.Size(off)
				require.NoError(t, err)
				if n == c.Blocks {
					require.Equal(t, lodgers[shift], size)
				} else {
					require.Equal(t, c.Size, size)
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
			require.Equal(t, c.All, n)
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
