package hashmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["churner"] = churner
}

// Keys of the hunt for torn reads: the first ones are always there.
const (
	hotKeys  = 4
	coldKeys = 60
)

// churner replaces hot keys, and has others of the same size class come and go.
func churner(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	fixed, err := Open[uint64, sealed](a, "fixed", nil)
	shmtest.Must(err)
	raw, err := Open[uint64, []byte](a, "raw", nil)
	shmtest.Must(err)
	shmtest.Say("ready")
	stop := make(chan string)
	go func() { stop <- shmtest.Hear() }()
	for seq := uint64(1); ; seq++ {
		hot, cold := seq%hotKeys, hotKeys+rand.Uint64N(coldKeys)
		roomless(fixed.Store(hot, seal(hot, seq)))
		roomless(raw.Store(hot, sealBytes(hot, seq)))
		if seq%3 == 0 {
			_, err = fixed.Delete(cold)
			shmtest.Must(err)
			_, err = raw.Delete(cold)
		} else {
			roomless(fixed.Store(cold, seal(cold, seq)))
			err = raw.Store(cold, sealBytes(cold, seq))
		}
		roomless(err)
		select {
		case <-stop:
			shmtest.Say("%d", seq)
			shmtest.Must(a.Close())
			return 0
		default:
		}
	}
}

// roomless ends a child for any error but that there is no room: the arena is
// meant to be full.
func roomless(err error) {
	if !errors.Is(err, ErrFull) {
		shmtest.Must(err)
	}
}

// TestTorn reads what another process is replacing as fast as it can, in an
// arena so small that freed blocks are used again at once. No value is torn,
// none is another key's, no key that is always there is missed, and nothing
// goes back in time.
func TestTorn(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 160 << 10, Processes: 4, Objects: 8})
	fixed := create[uint64, sealed](t, a, "fixed", &Options{Capacity: 100})
	raw := create[uint64, []byte](t, a, "raw", &Options{Capacity: 100})
	for k := range uint64(hotKeys) {
		require.NoError(t, fixed.Store(k, seal(k, 0)))
		require.NoError(t, raw.Store(k, sealBytes(k, 0)))
	}
	ballast := create[uint64, []byte](t, a, "ballast", &Options{Capacity: 300})
	for i := uint64(0); fixed.slab.Floor().Pages.FreeTail() > 12; i++ {
		require.NoError(t, ballast.Store(i, make([]byte, 2000)))
	}
	child := shmtest.Start(t, "churner", a.Name())
	child.Expect("ready")
	r := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	h := hunter{t: t, fixed: open[uint64, sealed](t, r, "fixed"), raw: open[uint64, []byte](t, r, "raw")}
	d := patience(t, 1600*time.Millisecond)
	h.run(d)
	child.Tell("stop")
	writes, _ := child.Line()
	require.False(t, child.Wait())
	t.Logf("%.1f million reads a second beside %s rounds of 4 writes in %s; %d hot reads had a change of their bucket in them or beside them",
		float64(h.reads)/d.Seconds()/1e6, writes, d, h.beside)
}

type hunter struct {
	t             *testing.T
	fixed         *Map[uint64, sealed]
	raw           *Map[uint64, []byte]
	lastF, lastR  [hotKeys]uint64
	buffer        []byte
	reads, beside int
}

func (h *hunter) run(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		for range 200 {
			h.hot(rand.Uint64N(hotKeys))
			h.cold(hotKeys + rand.Uint64N(coldKeys))
		}
		h.all()
	}
	require.NoError(h.t, h.fixed.Err())
	require.NoError(h.t, h.raw.Err())
}

func (h *hunter) hot(k uint64) {
	for range 20 {
		h.reads += 2
		before := h.fixed.homeBucket(h.t, h.hash(k)).version.Load()
		s, ok := h.fixed.Load(k)
		if h.fixed.homeBucket(h.t, h.hash(k)).version.Load() != before {
			h.beside++
		}
		if !ok || !s.whole(k) || s[1] < h.lastF[k] {
			require.FailNow(h.t, fmt.Sprintf("key %d: found %v, %v after %d", k, ok, s, h.lastF[k]))
		}
		h.lastF[k] = s[1]

		b, ok := h.raw.LoadAppend(h.buffer[:0], k)
		seq, whole := wholeBytes(k, b)
		if !ok || !whole || seq < h.lastR[k] && len(b) >= 16 {
			require.FailNow(h.t, fmt.Sprintf("key %d: found %v, %d bytes, number %d after %d", k, ok, len(b), seq, h.lastR[k]))
		}
		h.lastR[k], h.buffer = max(seq, h.lastR[k]), b
	}
}

func (h *hunter) hash(k uint64) uint64 {
	key, n := h.fixed.key(&k)
	return hashKey(key, n, &h.fixed.secrets)
}

func (h *hunter) cold(k uint64) {
	h.reads += 2
	if s, ok := h.fixed.Load(k); ok && !s.whole(k) {
		require.FailNow(h.t, fmt.Sprintf("key %d: %v", k, s))
	}
	if b, ok := h.raw.Load(k); ok {
		if _, whole := wholeBytes(k, b); !whole {
			require.FailNow(h.t, fmt.Sprintf("key %d: %d bytes", k, len(b)))
		}
	}
}

func (h *hunter) all() {
	whole := func(k uint64, s sealed) bool { return s.whole(k) }
	require.NoError(h.t, everything(h.fixed, whole, hotKeys)(nil))
	wholeRaw := func(k uint64, b []byte) bool {
		_, ok := wholeBytes(k, b)
		return ok
	}
	require.NoError(h.t, everything(h.raw, wholeRaw, hotKeys)(nil))
	h.reads += 2 * (hotKeys + coldKeys/2)
}
