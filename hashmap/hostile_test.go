package hashmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// victim is the frozen image of a small arena with two maps.
type victim struct {
	frame []byte
	size  int64
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	seg := shmtest.Segment(t, small)
	a := shmtest.OnSegment(t, seg, small)
	text := create[string, []byte](t, a, "text", &Options{Capacity: 20})
	fixed := create[uint64, sealed](t, a, "fixed", &Options{Limit: 40, CountReads: true})
	for i := range uint64(20) {
		require.NoError(t, text.Store(key16(int(i)), sealBytes(i, 0)[:min(200, len(sealBytes(i, 0)))]))
		require.NoError(t, fixed.Store(i, seal(i, 0)))
	}
	frame, err := a.Freeze()
	require.NoError(t, err)
	return &victim{frame: frame, size: seg.Reserved()}
}

// explore does all that a reader can do with a damaged frame, and checks it.
// What comes out does not matter: the bytes of keys and values carry no sum.
func explore(frame []byte, size int64, readOnly bool) (entries int) {
	// A page more than the arena can use: the address behind an empty entry at
	// its end is still one of the segment.
	a, err := arena.Attach(shm.HeapBytes(frame, size+4096), &arena.Options{ReadOnly: readOnly})
	if err != nil {
		return 0
	}
	defer a.Close()
	if m, err := Open[string, []byte](a, "text", nil); err == nil {
		for k := range m.All() {
			m.Load(k)
			entries++
		}
		exploreMore(m)
		for range m.AllPrefix(key16(0)[:9]) {
		}
		for i := range 22 {
			if v, ok := m.Load(key16(i)); ok {
				entries += len(v) & 1
			}
		}
		_, _, _ = m.Len(), m.Check(), m.Err()
		_ = m.Close()
	}
	if m, err := Open[uint64, sealed](a, "fixed", nil); err == nil {
		for k := range m.All() {
			m.Load(k)
			entries++
		}
		exploreMore(m)
		for i := range uint64(22) {
			m.Load(i)
		}
		_, _, _ = m.Len(), m.Check(), m.Err()
		_ = m.Close()
	}
	_, _ = a.Check()
	return entries
}

// exploreMore asks for what is of all entries.
func exploreMore[K comparable, V any](m *Map[K, V]) {
	var cursor Cursor
	for range 1000 {
		_, next, err := m.Scan(cursor, 3)
		if cursor = next; err != nil || next == 0 {
			break
		}
	}
	_, _ = m.Snapshot()
	_, _ = m.Stats()
	_, _ = m.Cap(), m.Version()
}

// deadline ends the tests when one step hangs: there is no other way to stop
// it, and the message says which one it was.
func deadline(t *testing.T) (note func(format string, args ...any), stop func()) {
	t.Helper()
	var at atomic.Pointer[string]
	var beat atomic.Int64
	done := make(chan struct{})
	go func() {
		for last := int64(-1); ; {
			select {
			case <-done:
				return
			case <-time.After(30 * time.Second):
				if now := beat.Load(); now != last {
					last = now
					continue
				}
				fmt.Fprintf(os.Stderr, "%s: hangs at %s\n", t.Name(), *at.Load())
				panic("hang")
			}
		}
	}()
	return func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		at.Store(&text)
		beat.Add(1)
	}, func() { close(done) }
}

// inParallel runs f for 0 to n-1 on two processors.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	all.Wait()
}

// TestHostile_Bits flips every bit of the segment that is not zero around it,
// and some of the rest: in each case an answer or an error, in time.
func TestHostile_Bits(t *testing.T) {
	v := newVictim(t)
	note, stop := deadline(t)
	defer stop()
	var bits []int
	for i := range v.frame {
		if near := v.frame[max(0, i-16):min(len(v.frame), i+16)]; bytes.Count(near, []byte{0}) == len(near) && i%97 != 0 {
			continue
		}
		for b := range 8 {
			bits = append(bits, i*8+b)
		}
	}
	limit := patience(t, 6*time.Second)
	start := time.Now()
	rand.Shuffle(len(bits), func(i, j int) { bits[i], bits[j] = bits[j], bits[i] })
	var tried, opened atomic.Int64
	inParallel(len(bits), func(i int) {
		if time.Since(start) > limit {
			return
		}
		frame := bytes.Clone(v.frame)
		frame[bits[i]/8] ^= 1 << (bits[i] % 8)
		note("byte %#x, bit %d", bits[i]/8, bits[i]%8)
		if explore(frame, v.size, i%2 == 0) > 0 {
			opened.Add(1)
		}
		tried.Add(1)
	})
	t.Logf("%d of %d bits, %d segments opened", tried.Load(), len(bits), opened.Load())
	require.NotZero(t, opened.Load())
}

// TestHostile_Words writes words into the segment that could lead somewhere:
// limits, offsets of its own parts, small and large numbers, other words of it.
func TestHostile_Words(t *testing.T) {
	v := newVictim(t)
	note, stop := deadline(t)
	defer stop()
	var at []int // words that are in use
	for i := 0; i+8 <= len(v.frame); i += 8 {
		if near := v.frame[max(0, i-16):min(len(v.frame), i+24)]; bytes.Count(near, []byte{0}) != len(near) {
			at = append(at, i)
		}
	}
	limit := patience(t, 2*time.Second)
	start := time.Now()
	var tried atomic.Int64
	inParallel(1<<20, func(i int) {
		if time.Since(start) > limit {
			return
		}
		seed := rand.Uint64()
		note("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		frame := bytes.Clone(v.frame)
		for range 1 + r.IntN(4) {
			binary.LittleEndian.PutUint64(frame[at[r.IntN(len(at))]:], wildWord(r, v))
		}
		explore(frame, v.size, i%2 == 0)
		tried.Add(1)
	})
	t.Logf("%d segments", tried.Load())
}

func wildWord(r *rand.Rand, v *victim) uint64 {
	size := uint64(len(v.frame))
	switch r.IntN(7) {
	case 0:
		return r.Uint64()
	case 1:
		return r.Uint64N(size)
	case 2:
		return size - r.Uint64N(64)
	case 3:
		return ^uint64(0) >> r.IntN(64)
	case 4:
		return uint64(r.IntN(16))
	case 5:
		return r.Uint64N(size) | r.Uint64()<<offsetBits
	default:
		return binary.LittleEndian.Uint64(v.frame[r.IntN(len(v.frame)/8)*8:])
	}
}

// TestHostile_Garbage: whole ranges of rubbish.
func TestHostile_Garbage(t *testing.T) {
	v := newVictim(t)
	note, stop := deadline(t)
	defer stop()
	tries := 3000
	if mem.Race {
		tries = 500 // each one goroutine's
	}
	inParallel(tries, func(i int) {
		seed := rand.Uint64()
		note("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		frame := bytes.Clone(v.frame)
		from := r.IntN(len(frame))
		to := min(len(frame), from+1+r.IntN(1<<r.IntN(18)))
		for j := from; j < to; j++ {
			frame[j] = byte(r.Uint32())
		}
		explore(frame, v.size, i%2 == 0)
	})
}

// TestHostile_Map damages the map alone, so that it always opens, in ways that
// must be noticed.
func TestHostile_Map(t *testing.T) {
	damage := func(what string, do func(m *Map[string, []byte], at *place)) {
		t.Run(what, func(t *testing.T) {
			a := shmtest.Heap(t, small, shmtest.Unchecked)
			m, err := Create[string, []byte](a, "m", nil)
			require.NoError(t, err)
			for i := range 20 {
				require.NoError(t, m.Store(key16(i), []byte("value")))
			}
			key := []byte(hot)
			at := m.placeOf(t, mem.PtrOf(key), 16)
			do(m, &at)
			require.ErrorIs(t, m.Check(), ErrCorrupt)
			if v, ok := m.Load(hot); ok {
				require.Equal(t, "value", string(v))
				require.NoError(t, m.Err())
				return
			}
			require.ErrorIs(t, m.Err(), ErrCorrupt)
			n := 0
			for range m.All() {
				n++
			}
			require.Equal(t, 19, n, "the others are there")
			entries, _, err := m.Scan(0, 1)
			require.ErrorIs(t, err, ErrCorrupt)
			require.Empty(t, entries)
			_, err = m.Snapshot()
			require.ErrorIs(t, err, ErrCorrupt)
			require.NoError(t, m.Close())
		})
	}
	slot := func(at *place) uint64 { return at.bucket.slots[at.slot].Load() }
	point := func(at *place, off uint64) {
		at.bucket.slots[at.slot].Store(slot(at)&^offsetMask | off&offsetMask)
	}
	damage("beyond the end", func(m *Map[string, []byte], at *place) { point(at, uint64(m.slab.MaxSize())) })
	damage("far beyond the end", func(_ *Map[string, []byte], at *place) { point(at, offsetMask&^7) })
	damage("in the header", func(_ *Map[string, []byte], at *place) { point(at, 64) })
	damage("zero", func(_ *Map[string, []byte], at *place) { point(at, 0) })
	damage("between words", func(_ *Map[string, []byte], at *place) { point(at, slot(at)+4) })
	damage("last word", func(m *Map[string, []byte], at *place) { point(at, m.floor.View.Limit()-8) })
	damage("value too long", func(m *Map[string, []byte], at *place) {
		word(m, at).Store(16 | 1<<31<<32)
	})
	damage("value ends behind the end", func(m *Map[string, []byte], at *place) {
		word(m, at).Store(16 | (m.floor.View.Limit()-slot(at)&offsetMask-entryHeader-16+1)<<32)
	})
}

// word is the first word of an entry: its lengths.
func word(m *Map[string, []byte], at *place) *psync.Word64 {
	return mem.Cast[psync.Word64](m.base.Add(at.bucket.slots[at.slot].Load() & offsetMask))
}

// FuzzOpen reads a damaged segment: pairs of a place and a byte.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{0, 0, 1, 4, 0, 2, 0xff, 0xff, 3})
	var once sync.Once
	var v *victim
	f.Fuzz(func(t *testing.T, patch []byte) {
		once.Do(func() { v = newVictim(t) })
		frame := bytes.Clone(v.frame)
		for i := 0; i+2 < len(patch); i += 3 {
			frame[(int(patch[i])<<8|int(patch[i+1]))*len(frame)>>16] = patch[i+2]
		}
		explore(frame, v.size, len(patch)%2 == 0)
	})
}
