package arena_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// frozen is the bytes of an arena that nobody has open.
func frozen(t testing.TB, o *arena.Options) []byte {
	t.Helper()
	a := shmtest.Heap(t, o)
	require.NoError(t, a.Close())
	b, err := a.Freeze()
	require.NoError(t, err)
	return b
}

// hostileFile puts bytes where an arena is expected.
func hostileFile(t testing.TB, b []byte) string {
	t.Helper()
	shmtest.NeedNamed(t)
	name := shmtest.Name(t)
	seg, err := shm.Create(name, &shm.Options{Size: 4096})
	require.NoError(t, err)
	require.NoError(t, seg.Close())
	require.NoError(t, os.Truncate(seg.Path(), 0))
	require.NoError(t, os.WriteFile(seg.Path(), b, 0o600))
	return name
}

// requireRefused wants a clear error from everybody who opens, and no trace of
// the try: no lock, no slot, no change.
func requireRefused(t *testing.T, b []byte, want error, text string) {
	t.Helper()
	name := hostileFile(t, b)
	for _, o := range []*arena.Options{nil, {ReadOnly: true}} {
		_, err := arena.Open(name, o)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, name)
	}
	_, err := arena.OpenOrCreate(name, nil)
	require.ErrorIs(t, err, want)
	got, err := os.ReadFile(fileOf(t, name))
	require.NoError(t, err)
	require.True(t, string(b) == string(got), "the file was changed")
	require.NoError(t, arena.Remove(name, nil))
}

func edited(b []byte, edit func(b []byte)) []byte {
	b = append([]byte(nil), b...)
	edit(b)
	return b
}

func putWord(b []byte, i int, w uint64) { binary.LittleEndian.PutUint64(b[i*8:], w) }
func getWord(b []byte, i int) uint64    { return binary.LittleEndian.Uint64(b[i*8:]) }

func TestHostile_Identity(t *testing.T) {
	good := frozen(t, small())
	random := make([]byte, len(good))
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	zeros := make([]byte, len(good))
	for name, c := range map[string]struct {
		b    []byte
		want error
		text string
	}{
		"empty":       {nil, arena.ErrCorrupt, "empty"},
		"random":      {random, arena.ErrCorrupt, "not a shmkit arena"},
		"zeros":       {zeros, arena.ErrCorrupt, "not a shmkit arena"},
		"text":        {[]byte("hello"), arena.ErrCorrupt, "truncated: 5 bytes"},
		"version":     {edited(good, func(b []byte) { putWord(b, 2, 99) }), arena.ErrVersion, "layout version 99, this program has 1"},
		"word size":   {edited(good, func(b []byte) { b[15] = 32 }), arena.ErrVersion, "word size 32 bits, want 64"},
		"byte order":  {edited(good, func(b []byte) { b[8], b[9] = b[9], b[8] }), arena.ErrVersion, "byte order mark"},
		"big-endian":  {edited(good, func(b []byte) { binary.BigEndian.PutUint64(b, getWord(b, 0)) }), arena.ErrVersion, "big-endian"},
		"checksum":    {edited(good, func(b []byte) { b[16*8] ^= 1 }), arena.ErrCorrupt, "checksum"},
		"larger":      {edited(good, func(b []byte) { putWord(b, 17, getWord(b, 17)+4096) }), arena.ErrCorrupt, "truncated"},
		"much larger": {edited(good, func(b []byte) { putWord(b, 17, 1<<63) }), arena.ErrCorrupt, "truncated"},
		"smaller":     {edited(good, func(b []byte) { putWord(b, 17, 4096) }), arena.ErrCorrupt, "committed size 4096"},
		"odd":         {edited(good, func(b []byte) { putWord(b, 17, getWord(b, 17)-8) }), arena.ErrCorrupt, "no whole number of pages"},
	} {
		t.Run(name, func(t *testing.T) { requireRefused(t, c.b, c.want, c.text) })
	}
}

// A file that was cut anywhere is refused, before anything in it is touched.
func TestHostile_Truncated(t *testing.T) {
	good := frozen(t, small())
	for n := 1; n < len(good); n = n*3/2 + 7 {
		requireRefused(t, good[:n], arena.ErrCorrupt, "truncated")
	}
	requireRefused(t, good[:len(good)-1], arena.ErrCorrupt, "truncated")
}

// No bit of the header's constant part can be wrong unnoticed.
func TestHostile_HeaderBits(t *testing.T) {
	good := frozen(t, small())
	for bit := range 17 * 64 {
		b := edited(good, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		_, err := arena.Attach(shm.HeapBytes(b, 256<<10), nil)
		require.Error(t, err, "word %d, bit %d", bit/64, bit%64)
	}
}

// Any word of the tables may be anything: an error or a right answer, no panic,
// no hang, no access outside.
func TestHostile_Tables(t *testing.T) {
	good := frozen(t, small())
	random := rand.New(rand.NewPCG(1, 2))
	values := []uint64{0, 1, 1<<32 + 1, 1 << 63, ^uint64(0), uint64(len(good)) - 8, 256}
	end := int(getWord(good, 11)) / 8 // DataOff
	for i := 18; i < end; i++ {
		if mem.Race && i%4 != 0 {
			continue // one goroutine
		}
		for _, v := range append(values, random.Uint64()) {
			poke(t, edited(good, func(b []byte) { putWord(b, i, v) }), fmt.Sprintf("word %d = %#x", i, v))
		}
	}
}

// poke does with an arena of any bytes all that can be done with it.
func poke(t *testing.T, b []byte, what string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s: panic: %v", what, p)
		}
	}()
	a, err := arena.Attach(shm.HeapBytes(b, 256<<10), &arena.Options{Init: func(*arena.Arena) error { return nil }})
	if err != nil {
		return
	}
	for _, o := range a.Objects() {
		_, _ = a.OpenObject(o.Name, arena.Spec{Kind: o.Kind, Fingerprint: o.Fingerprint})
	}
	_, _ = a.Recover()
	_, _ = a.Check()
	_ = a.Rename("a", "b")
	_ = a.Remove("b")
	_ = insides(a).Grow(1)
	_ = a.Close()
}

// A file that another user could have planted is refused.
func TestHostile_Link(t *testing.T) {
	shmtest.NeedNamed(t)
	a := shmtest.Named(t, small())
	path := filepath.Join("/dev/shm", filepath.Base(fileOf(t, a.Name()))+"-link")
	require.NoError(t, os.Symlink(fileOf(t, a.Name()), path))
	defer os.Remove(path)
	_, err := arena.Open(a.Name()+"-link", nil)
	require.ErrorContains(t, err, "symbolic link")
}

// What another process says it committed is believed only as far as the file
// bears it (B17): one look at the file for each growth seen.
func TestB17_CommittedBeyondFile(t *testing.T) {
	shmtest.NeedNamed(t)
	a := shmtest.Named(t, small(), shmtest.Unchecked)
	before := a.Size()
	for _, lie := range []uint64{uint64(before) + 4096, 256 << 10, 1 << 40, ^uint64(0), uint64(before) + 8} {
		headerWord(a, wordCommitted).Store(lie)
		require.Equal(t, before, a.Size())
		_, _ = a.Check()
	}
	headerWord(a, wordCommitted).Store(uint64(before))
	shmtest.Clean(t, a)
}
