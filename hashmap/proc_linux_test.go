package hashmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["churner"] = churner
	roles["worker"] = worker
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

// Keys of a worker in the storm: its own, and some that all workers share.
const (
	ownKeys    = 50
	sharedKeys = 4
)

func ownKey(worker, i int) string { return fmt.Sprintf("own:%d:%010d", worker, i) }

// worker changes keys at random: its own ones, announced before and
// acknowledged after, and shared ones. Its number and its first sequence number
// are arguments.
func worker(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	m, err := Open[string, []byte](a, "m", nil)
	shmtest.Must(err)
	me, _ := strconv.Atoi(args[1])
	seq, _ := strconv.ParseUint(args[2], 10, 64)
	for ; ; seq++ {
		if seq%4 == 0 {
			k := rand.Uint64N(sharedKeys)
			shmtest.Must(m.Store(fmt.Sprint("shared", k), sealBytes(k, seq)))
		}
		i := rand.IntN(ownKeys)
		k := ownKey(me, i)
		if rand.IntN(3) == 0 {
			shmtest.Say("d %d %d", i, seq)
			_, err = m.Delete(k)
		} else {
			shmtest.Say("s %d %d", i, seq)
			err = m.Store(k, sealBytes(uint64(me), seq))
		}
		shmtest.Must(err)
		shmtest.Say("a")
	}
}

// ledger is what the parent knows of one worker: for each key the number of the
// last acknowledged store, 0 for a delete.
type ledger struct {
	me    int
	child *shmtest.Child
	acked [ownKeys]uint64
	key   int // of the operation in flight, -1: none
	next  uint64
	seq   uint64
	ops   int
}

// listen reads what the worker says, up to its end if it was killed.
func (l *ledger) listen(toTheEnd bool, n int) {
	for range n {
		line, ok := l.child.Line()
		if !ok {
			return
		}
		l.note(line)
	}
	for toTheEnd {
		line, ok := l.child.Line()
		if !ok {
			return
		}
		l.note(line)
	}
}

func (l *ledger) note(line string) {
	f := strings.Fields(line)
	if f[0] == "a" {
		l.acked[l.key], l.key = l.next, -1
		l.ops++
		return
	}
	l.key, _ = strconv.Atoi(f[1])
	l.seq, _ = strconv.ParseUint(f[2], 10, 64)
	if l.next = l.seq; f[0] == "d" {
		l.next = 0
	}
}

// verify compares the map with the ledger of a worker that is dead, and settles
// what became of the operation in flight.
func (l *ledger) verify(t *testing.T, m *Map[string, []byte]) {
	for i := range l.acked {
		v, ok := m.Load(ownKey(l.me, i))
		is := func(seq uint64) bool {
			if seq == 0 {
				return !ok
			}
			return ok && string(v) == string(sealBytes(uint64(l.me), seq))
		}
		switch {
		case is(l.acked[i]):
		case i == l.key && is(l.next):
			l.acked[i] = l.next
		default:
			require.FailNow(t, fmt.Sprintf("key %d of worker %d: found %v, %d bytes; acknowledged was %d, in flight %d for key %d",
				i, l.me, ok, len(v), l.acked[i], l.next, l.key))
		}
	}
	l.key = -1
}

// TestTorture_Map kills writers at random and starts others in their place.
// Whatever one of them acknowledged stays; what it had in flight has happened or
// not; and at the end not a byte is lost.
func TestTorture_Map(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 128 << 10, MaxSize: 2 << 20, Processes: 8, Objects: 8})
	m := create[string, []byte](t, a, "m", &Options{Capacity: 400})
	used := shmtest.Clean(t, a).UsedBytes
	for k := range uint64(sharedKeys) {
		require.NoError(t, m.Store(fmt.Sprint("shared", k), sealBytes(k, 4)))
	}
	var workers [4]*ledger
	for i := range workers {
		workers[i] = &ledger{me: i, key: -1}
		workers[i].start(t, a.Name())
	}
	kills, d := 0, patience(t, 2*time.Second)
	for start := time.Now(); time.Since(start) < d; kills++ {
		for _, l := range workers {
			l.listen(false, 1+rand.IntN(200))
		}
		l := workers[rand.IntN(len(workers))]
		l.kill()
		l.verify(t, m)
		requireShared(t, m)
		require.NoError(t, m.Store(fmt.Sprint("shared", rand.IntN(sharedKeys)), nil))
		l.start(t, a.Name())
	}
	ops := 0
	for _, l := range workers {
		l.kill()
		ops += l.ops
	}
	n, err := a.Recover()
	require.NoError(t, err)
	require.LessOrEqual(t, n, len(workers))
	for _, l := range workers {
		l.verify(t, m)
	}
	require.NoError(t, m.Check())
	t.Logf("%d kills, %d acknowledged operations", kills, ops)
	for k := range m.All() {
		_, err := m.Delete(k)
		require.NoError(t, err)
	}
	require.Equal(t, used, shmtest.Clean(t, a).UsedBytes)
}

func (l *ledger) start(t *testing.T, name string) {
	l.child = shmtest.Start(t, "worker", name, fmt.Sprint(l.me), fmt.Sprint(l.seq+1))
}

// kill ends the worker, and then reads what it had still said.
func (l *ledger) kill() {
	_ = unix.Kill(l.child.PID(), unix.SIGKILL)
	l.listen(true, 0)
	l.child.Wait()
}

func requireShared(t *testing.T, m *Map[string, []byte]) {
	for k := range uint64(sharedKeys) {
		v, ok := m.Load(fmt.Sprint("shared", k))
		require.True(t, ok)
		if len(v) != 0 {
			_, whole := wholeBytes(k, v)
			require.True(t, whole, "shared key %d", k)
		}
	}
}
