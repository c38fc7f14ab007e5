package mem

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

type (
	empty struct{}
	three [3]byte
	odd   struct {
		A uint32
		B [3]uint16
		C uint8
	}
	narrow [3]uint32 // twelve bytes, aligned to four only
	wide   struct {
		A [5]uint64
		B [7]byte
		C bool
	}
)

// around is what the bytes next to a payload hold before it is written.
const around = 0xEE

// roundTrip writes v at offset 8 of a block that is padded to whole words, reads
// it back both ways, and looks at what happened to its neighbours.
func roundTrip[T comparable](t *testing.T, v T) {
	t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
		size := len(bytesOf(&v))
		padded := (size + 7) &^ 7
		b := bytes.Repeat([]byte{around}, 8+padded+8)
		p := PtrOf(b).Add(8)

		Write(p, &v)
		require.Equal(t, v, Read[T](p))
		var into T
		ReadInto(&into, p)
		require.Equal(t, v, into)
		require.Equal(t, bytesOf(&v), b[8:8+size])
		requireAround(t, b, 8, size)
	})
}

// requireAround checks that nothing but the block changed, and that its last
// bytes were at most cleared.
func requireAround(t *testing.T, b []byte, off, size int) {
	t.Helper()
	padded := (size + 7) &^ 7
	rest := b[off+size : off+padded]
	if wordFill {
		require.Equal(t, make([]byte, len(rest)), rest)
	} else {
		require.Equal(t, bytes.Repeat([]byte{around}, len(rest)), rest)
	}
	require.Equal(t, bytes.Repeat([]byte{around}, off), b[:off])
	require.Equal(t, bytes.Repeat([]byte{around}, len(b)-off-padded), b[off+padded:])
}

func TestReadWrite(t *testing.T) {
	roundTrip(t, empty{})
	roundTrip(t, true)
	roundTrip(t, uint16(0x1234))
	roundTrip(t, three{1, 2, 3})
	roundTrip(t, float32(1.5))
	roundTrip(t, [5]byte{1, 2, 3, 4, 5})
	roundTrip(t, [7]byte{1, 2, 3, 4, 5, 6, 7})
	roundTrip(t, int64(-2))
	roundTrip(t, complex(1, -2))
	roundTrip(t, odd{A: 1, B: [3]uint16{2, 3, 4}, C: 5})
	roundTrip(t, narrow{1, 2, 3})
	roundTrip(t, wide{A: [5]uint64{1, 2, 3, 4, 5}, B: [7]byte{6, 7, 8}, C: true})
	roundTrip(t, [64]byte{0: 1, 63: 2})
	roundTrip(t, [1001]byte{0: 1, 1000: 2})
}

func TestCopy(t *testing.T) {
	for size := range 70 {
		src := make([]byte, size)
		for i := range src {
			src[i] = byte(i + 1)
		}
		for name, in := range map[string]func(Ptr){
			"bytes":  func(p Ptr) { CopyIn(p, src) },
			"string": func(p Ptr) { CopyInString(p, string(src)) },
		} {
			b := bytes.Repeat([]byte{around}, 8+(size+7)&^7+8)
			in(PtrOf(b).Add(8))
			require.Equal(t, src, b[8:8+size], name)
			requireAround(t, b, 8, size)

			dst := bytes.Repeat([]byte{around}, size+2)
			CopyOut(dst[1:1+size], PtrOf(b).Add(8))
			require.Equal(t, src, dst[1:1+size])
			require.Equal(t, byte(around), dst[0])
			require.Equal(t, byte(around), dst[size+1])

			Zero(PtrOf(b).Add(8), uint64(size))
			require.Equal(t, make([]byte, size), b[8:8+size])
			requireAround(t, b, 8, size)
		}
	}
}

// The word copies are the reference for the plain ones, in every build.
func TestWords(t *testing.T) {
	for size := range 70 {
		src := []byte(strings.Repeat("0123456789", 7))[:size]
		shared := bytes.Repeat([]byte{around}, (size+7)&^7+8)
		storeWords(PtrOf(shared).p, PtrOf(src).p, uintptr(size))
		require.Equal(t, src, shared[:size])
		require.Equal(t, make([]byte, (size+7)&^7-size), shared[size:(size+7)&^7])
		require.Equal(t, byte(around), shared[(size+7)&^7])

		dst := bytes.Repeat([]byte{around}, size+1)
		loadWords(PtrOf(dst).p, PtrOf(shared).p, uintptr(size))
		require.Equal(t, src, dst[:size])
		require.Equal(t, byte(around), dst[size])

		zeroWords(PtrOf(shared).p, uintptr(size))
		require.Equal(t, make([]byte, (size+7)&^7), shared[:(size+7)&^7])
		require.Equal(t, byte(around), shared[(size+7)&^7])
	}
}

func TestWords_Unaligned(t *testing.T) {
	b := aligned(32)
	p := PtrOf(b).Add(4).p
	require.Panics(t, func() { loadWords(PtrOf(b).p, p, 8) })
	require.Panics(t, func() { storeWords(p, PtrOf(b).p, 8) })
	require.Panics(t, func() { zeroWords(p, 8) })
}

func TestLoad(t *testing.T) {
	b := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for off := range uint64(9) {
		want := uint64(0x0706050403020100) + off*0x0101010101010101
		require.Equal(t, want, Load64(PtrOf(b).Add(off)))
		require.Equal(t, want, loadBits(PtrOf(b).Add(off).p, 64))
	}
	for off := range uint64(13) {
		want := uint32(0x03020100) + uint32(off)*0x01010101
		require.Equal(t, want, Load32(PtrOf(b).Add(off)))
		require.Equal(t, want, uint32(loadBits(PtrOf(b).Add(off).p, 32)))
	}
}

// versioned is a stored value in the way of a seqlock: odd while being written.
//
//lint:ignore U1000 the fields are reached by their offset
type versioned struct {
	version uint64
	payload [6]uint64
	tail    [8]byte
}

// A reader beside a writer sees a mixture at times, and never after validation.
// Under the race detector the same run shows that none of our copies is reported.
func TestRead_BesideWriter(t *testing.T) {
	const rounds = 20_000
	v := NewView(aligned(128), 128)
	cell := Must[versioned](v, 0)
	payload, tail := v.Base().Add(8), v.Base().Add(56)

	var readers sync.WaitGroup
	var done atomic.Bool
	for seed := range uint64(2) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for !done.Load() {
				before := atomic.LoadUint64(&cell.version)
				words, five := Read[[6]uint64](payload), make([]byte, 5)
				CopyOut(five, tail)
				key := Load64(payload.Add(r.Uint64N(40)))
				if before%2 == 1 || atomic.LoadUint64(&cell.version) != before {
					continue
				}
				mark := byte(before / 2)
				for _, w := range words {
					if w != uint64(mark)*0x0101010101010101 {
						t.Errorf("torn value %x at version %d", words, before)
						return
					}
				}
				if key != words[0] || !bytes.Equal(five, bytes.Repeat([]byte{mark}, 5)) {
					t.Errorf("torn bytes %x or key %x at version %d", five, key, before)
					return
				}
			}
		})
	}
	for i := range uint64(rounds) {
		mark := byte(i + 1)
		words := [6]uint64{}
		for j := range words {
			words[j] = uint64(mark) * 0x0101010101010101
		}
		atomic.AddUint64(&cell.version, 1)
		Zero(payload, 48)
		Write(payload, &words)
		CopyInString(tail, strings.Repeat(string([]byte{mark}), 5))
		atomic.AddUint64(&cell.version, 1)
	}
	done.Store(true)
	readers.Wait()
}

func TestDisguise(t *testing.T) {
	type name string
	k := name("routes")
	require.Equal(t, "routes", AsString(&k))
	require.Equal(t, []byte("routes"), TextBytes(&k))
	SetString(&k, []byte("hops"))
	require.Equal(t, name("hops"), k)
	SetString(&k, nil)
	require.Empty(t, k)
	require.Empty(t, TextBytes(&k))

	type blob []byte
	v := blob("abc")
	require.Equal(t, []byte("abc"), AsBytes(&v))
	SetBytes(&v, []byte("defg"))
	require.Equal(t, blob("defg"), v)

	key := [2]uint64{3, 4}
	require.EqualValues(t, 3, Load64(KeyPtr(&key)))
	require.EqualValues(t, 4, Load64(KeyPtr(&key).Add(8)))
}

func TestAllocs(t *testing.T) {
	v := NewView(aligned(256), 256)
	p, dst := v.Base().Add(64), make([]byte, 13)
	var into odd
	var sink uint64
	for name, f := range map[string]func(){
		"Read":         func() { sink += Read[[8]uint64](p)[1] },
		"Read odd":     func() { sink += uint64(Read[odd](p).A) },
		"ReadInto":     func() { ReadInto(&into, p) },
		"Write":        func() { local := odd{A: 1}; Write(p, &local) },
		"CopyOut":      func() { CopyOut(dst, p) },
		"CopyIn":       func() { CopyIn(p, dst) },
		"CopyInString": func() { CopyInString(p, "a string") },
		"Zero":         func() { Zero(p, 40) },
		"At":           func() { r, _ := At[record](v, 64); sink += r.A },
		"Must":         func() { sink += Must[record](v, 64).A },
		"Slice":        func() { b, _ := v.Slice(64, 8); sink += uint64(b[0]) },
		"Check":        func() { _ = v.Check(64, 8, 8) },
		"KeyPtr":       func() { key := [2]uint64{sink, 1}; sink += Load64(KeyPtr(&key)) },
		"AsString":     func() { key := "local"; sink += uint64(len(AsString(&key))) },
		"Word":         func() { sink += Word(odd3{1, 2, 3}) + Word(uint32(sink)) },
		"FromWord":     func() { sink += uint64(FromWord[odd3](sink)[0]) },
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}
