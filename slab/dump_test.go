package slab_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
	"github.com/shmkit/shmkit/slab"
)

// A small arena: a run that is in use and one that was freed, blocks of half a
// page wherever else there is room, and two pages free again.
func ExampleSlab_PageMap() {
	seg, _ := shm.Heap(&shm.Options{Size: 128 << 10})
	o := &arena.Options{Size: 128 << 10, Processes: 4, Objects: 8}
	if err := arena.Format(seg, o); err != nil {
		fmt.Println(err)
		return
	}
	a, err := arena.Attach(seg, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()

	s := slab.Of(a)
	first, _ := grab(s, 4*4096)
	second, _ := grab(s, 3*4096)
	for err == nil {
		_, err = grab(s, 2048)
	}
	_ = s.Free(first)
	_, _ = grab(s, 4096)
	_, _ = grab(s, 100)
	_ = s.Free(second)

	var b strings.Builder
	_ = s.Dump(&b)
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "kept at hand: ") { // it has the number of this process
			fmt.Print(line)
		}
	}
	fmt.Println()
	_ = s.PageMap(os.Stdout, 16, false)
	// Output:
	// segment: 131072 bytes of at most 131072, metadata 12288
	// pages: 29 of at most 29, 4096 bytes each
	// free pages: 2, in a row at most 2 (8192 bytes)
	// pages being cut: 0, with blocks kept at hand: 1, of freed runs: 3
	//
	//   block  pages  most  used  free  requests  failures  waste
	//     112      1     1     1    35         1         0     64
	//    2048     22    22    44     0        45         1      0
	//     run      4     7     1     1         3         0      0
	//
	//  0 ZZZZZZZZZZZZZZZZ
	// 16 ZZZZZZ%==j..#
	// . free  # run  = its other pages  % freed run  ~ being cut or joined  ! impossible  _ no block in use
	// j 112  z 2048  (block size; a capital: none free)
}

// Kinds of pages that a live arena rarely shows.
func TestPageMap_Marks(t *testing.T) {
	const run, tail, busy = 2, 3, 1<<32 | 1<<20 | 1<<19
	cases := map[string]struct {
		words []uint64
		used  map[int]uint64
		want  string
	}{
		"free":                  {nil, nil, "......"},
		"being cut":             {[]uint64{0, busy | 1}, nil, ".~...."},
		"a run":                 {[]uint64{run, tail, tail}, map[int]uint64{0: 3<<1 | 1}, "#==..."},
		"two runs":              {[]uint64{run, tail, run, tail}, map[int]uint64{0: 2<<1 | 1, 2: 2<<1 | 1}, "#=#=.."},
		"a run without end":     {[]uint64{run, tail}, map[int]uint64{0: 99<<1 | 1}, "!!...."},
		"a run of no pages":     {[]uint64{run, tail}, nil, "!!...."},
		"a run with a hole":     {[]uint64{run, tail, 0, tail}, map[int]uint64{0: 4<<1 | 1}, "#=!=.."},
		"a run in a run":        {[]uint64{run, run, tail}, map[int]uint64{0: 2<<1 | 1, 1: 2<<1 | 1}, "#!!..."},
		"a run being made":      {[]uint64{busy | tail, busy | tail, tail}, nil, "~~~..."},
		"tails without a head":  {[]uint64{0, tail, tail}, nil, ".!!..."},
		"of no class":           {[]uint64{16 + 41, 200, busy}, nil, "!!!..."},
		"somebody is in a page": {[]uint64{busy | 16 + 16}, map[int]uint64{0: 1}, "q....."},
		"bits beyond":           {[]uint64{16 + 25}, map[int]uint64{0: 1<<40 | 3}, "Z....."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := slab.Of(shmtest.Heap(t, small(4096), shmtest.Unchecked))
			for p, word := range c.words {
				pageWord(s, p, 0).Store(word)
			}
			for p, used := range c.used {
				pageWord(s, p, 1).Store(used)
			}
			var b strings.Builder
			require.NoError(t, s.PageMap(&b, 6, false))
			require.Equal(t, " 0 "+c.want, strings.Split(b.String(), "\n")[0])
			require.NoError(t, s.Dump(&b), "and no panic")
		})
	}
}

// pageWord is word i of the entry of a page.
func pageWord(s *slab.Slab, p, i int) *psync.Word64 {
	f := s.Floor()
	return mem.Must[psync.Word64](f.View, f.Pages.Geometry().TableOff+uint64(p)*pages.EntrySize+uint64(i)*8)
}

// Colours change nothing but colours, and are put back at the end of each line.
func TestPageMap_Color(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, &arena.Options{Size: 1 << 20}))
	refs := []uint64{mustGrab(t, s, 9000), mustGrab(t, s, 100), mustGrab(t, s, 2000)}
	var bare, painted strings.Builder
	require.NoError(t, s.PageMap(&bare, 0, false))
	require.NoError(t, s.PageMap(&painted, 0, true))
	require.NotContains(t, bare.String(), "\x1b")
	lines := strings.Split(painted.String(), "\n")
	for i, line := range strings.Split(bare.String(), "\n") {
		if line != "" {
			require.Equal(t, line, stripped(lines[i]))
			require.Equal(t, strings.Contains(lines[i], "\x1b[38"), strings.Contains(lines[i], "\x1b[0m"))
		}
	}
	require.Contains(t, painted.String(), "\x1b[38;5;39m#==")
	require.Contains(t, painted.String(), "blocks in use:")
	freeAll(t, s, refs)
}

// stripped takes escape sequences out.
func stripped(s string) string {
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		if !found {
			return s
		}
		_, after, _ = strings.Cut(after, "m")
		s = before + after
	}
}

// Every class can be drawn, each with a letter of its own.
func TestPageMap_EveryClass(t *testing.T) {
	eachPage(t, func(t *testing.T, page int) {
		s := slab.Of(shmtest.Heap(t, &arena.Options{Size: 4 << 20, PageSize: page}))
		var refs []uint64
		var b strings.Builder
		taken := map[string]bool{".": true, "#": true, "=": true, "%": true, "~": true, "!": true, "_": true}
		for _, c := range s.Floor().Pages.Classes() {
			refs = append(refs, mustGrab(t, s, c.Size))
			b.Reset()
			require.NoError(t, s.PageMap(&b, 1000, false))
			found := regexp.MustCompile(fmt.Sprintf(`(\pL) %d  `, c.Size)).FindStringSubmatch(b.String())
			require.Len(t, found, 2, "class %d", c.Size)
			for _, letter := range []string{found[1], strings.ToUpper(found[1])} {
				require.False(t, taken[letter], "%q is that of another class too", letter)
				taken[letter] = true
			}
			require.NotContains(t, b.String(), "!.")
		}
		freeAll(t, s, refs)
		b.Reset()
		require.NoError(t, s.PageMap(&b, 1000, false))
		require.Contains(t, b.String(), strings.Repeat("_", len(refs)))
	})
}

// What the writer refuses is reported.
func TestDump_Errors(t *testing.T) {
	s := slab.Of(shmtest.Heap(t, small(4096)))
	require.ErrorIs(t, s.Dump(brokenWriter{}), errBroken)
	require.ErrorIs(t, s.PageMap(brokenWriter{}, 8, true), errBroken)
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func mustGrab(t testing.TB, s *slab.Slab, n uint64) uint64 {
	t.Helper()
	ref, err := grab(s, n)
	require.NoError(t, err)
	return ref
}
