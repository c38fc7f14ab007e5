package hashmap

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// The hunts: readers of one process look for an answer that cannot be, while other
// processes do to the map what makes it most likely. What they show is the number of
// reads among which there was none. They last as long as they are given; and if they
// are given time, as those of `make torture`, until they have made enough reads.

func init() {
	roles["churner"] = churner
	roles["mover"] = mover
	roles["litterer"] = litterer
	roles["lookout"] = lookout
}

// enough is how many reads a hunt makes that is given time, over all mappings.
const enough = 100_000_000

// hunt is how long one over one mapping lasts.
type hunt struct {
	t           *testing.T
	begun, told time.Time
	time        time.Duration
	least       int // reads
}

// hunts has a hunt over each mapping, which returns the reads it has made.
func hunts(t *testing.T, over func(t *testing.T, o *arena.Options, h *hunt) (reads int)) {
	sum, least := 0, 0
	if givenTime() {
		least = enough / len(mappings)
	}
	for name, o := range mappings {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			reads := over(t, o, &hunt{t, now, now, patience(t, 1600*time.Millisecond) / time.Duration(len(mappings)), least})
			require.GreaterOrEqual(t, reads, least)
			sum += reads
		})
	}
	if !t.Failed() {
		t.Logf("0 of %d reads", sum)
	}
}

// goesOn reports whether a hunt that has made so many reads goes on, and says now and
// then how far it is.
func (h *hunt) goesOn(reads int) bool {
	if time.Since(h.told) > 10*time.Second {
		h.told = time.Now()
		h.t.Logf("%d reads in %s", reads, h.lasts())
	}
	return reads < h.least || h.lasts() < h.time
}

func (h *hunt) lasts() time.Duration { return time.Since(h.begun).Round(time.Millisecond) }

// mappings are what readers are hunting over.
var mappings = map[string]*arena.Options{"read-only": {ReadOnly: true}, "read-write": nil}

// Keys of the hunt for torn reads: the first ones are always there.
const (
	hotKeys  = 4
	coldKeys = 60
	churners = 2
)

// untilTold runs f again and again, until the parent says something.
func untilTold(f func(seq uint64)) int {
	shmtest.Say("ready")
	stop := make(chan string)
	go func() { stop <- shmtest.Hear() }()
	for seq := uint64(1); ; seq++ {
		f(seq)
		select {
		case <-stop:
			shmtest.Say("%d", seq)
			return 0
		default:
		}
	}
}

// churner replaces its share of the hot keys, and has others of the same size class
// come and go.
func churner(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	fixed, err := Open[uint64, sealed](a, "fixed", nil)
	shmtest.Must(err)
	raw, err := Open[uint64, []byte](a, "raw", nil)
	shmtest.Must(err)
	me, _ := strconv.ParseUint(args[1], 10, 64)
	return untilTold(func(seq uint64) {
		hot, cold := me+seq%(hotKeys/churners)*churners, hotKeys+rand.Uint64N(coldKeys)
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
	})
}

// roomless ends a child for any error but that there is no room: the arena is
// meant to be full.
func roomless(err error) {
	if !errors.Is(err, ErrFull) {
		shmtest.Must(err)
	}
}

// TestHunt_Torn reads what other processes are replacing as fast as they can, in an
// arena so small that freed blocks are used again at once. No value is torn, none is
// another key's, no key that is always there is missed, and nothing goes back in
// time.
func TestHunt_Torn(t *testing.T) {
	hunts(t, func(t *testing.T, o *arena.Options, long *hunt) int {
		a := shmtest.Named(t, &arena.Options{Size: 160 << 10, Processes: 8, Objects: 8})
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
		var all helpers
		for i := range churners {
			all.start(t, "churner", a.Name(), fmt.Sprint(i))
		}
		r := shmtest.Again(t, a, o)
		h := hunter{t: t, fixed: open[uint64, sealed](t, r, "fixed"), raw: open[uint64, []byte](t, r, "raw")}
		h.run(long)
		took := long.lasts()
		t.Logf("0 of %d reads torn, %.1f million a second, beside %d rounds of 4 writes in %s; of 20 hot reads one was watched, and %d of those had a change of their bucket in them or beside them",
			h.reads, float64(h.reads)/took.Seconds()/1e6, all.stop(), took, h.beside)
		return h.reads
	})
}

// helpers are the children of a hunt.
type helpers []*shmtest.Child

func (all *helpers) start(t *testing.T, role string, args ...string) {
	c := shmtest.Start(t, role, args...)
	c.Expect("ready")
	*all = append(*all, c)
}

// stop ends them, and returns how many rounds they have made.
func (all helpers) stop() (rounds int) {
	for _, c := range all {
		c.Tell("stop")
		line, _ := c.Line()
		c.Wait()
		n, _ := strconv.Atoi(line)
		rounds += n
	}
	return rounds
}

type hunter struct {
	t             *testing.T
	fixed         *Map[uint64, sealed]
	raw           *Map[uint64, []byte]
	lastF, lastR  [hotKeys]uint64
	buffer        []byte
	reads, beside int
}

func (h *hunter) run(long *hunt) {
	for long.goesOn(h.reads) {
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
	version := func() uint64 { return h.fixed.homeBucket(h.t, h.hash(k)).version.Load() }
	for i := range 20 {
		h.reads += 2
		before := uint64(0)
		if i == 0 {
			before = version()
		}
		s, ok := h.fixed.Load(k)
		if i == 0 && version() != before {
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

// estate is two maps with keys that are always there, one of each way to read, and
// a third one for what else there is in the arena.
type estate struct {
	fixed  *Map[uint64, sealed]
	text   *Map[string, []byte]
	litter *Map[uint64, sealed]
}

// stayers are the keys that are always there: few, so that a block which is used
// again is often used for the same key.
const stayers = 8

// settle makes an estate, whose tables are as small as can be.
func settle(t *testing.T) (*arena.Arena, *estate) {
	a := shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: 24 << 20, Processes: 8, Objects: 8})
	o := &Options{Capacity: 1}
	e := &estate{create[uint64, sealed](t, a, "fixed", o), create[string, []byte](t, a, "text", o), create[uint64, sealed](t, a, "litter", o)}
	require.NoError(t, e.exchange(0, 0))
	return a, e
}

// inherit opens the estate in a child.
func inherit(name string, o *arena.Options) *estate {
	a, err := arena.Open(name, o)
	shmtest.Must(err)
	return estateIn(a)
}

func estateIn(a *arena.Arena) *estate {
	fixed, err := Open[uint64, sealed](a, "fixed", nil)
	shmtest.Must(err)
	text, err := Open[string, []byte](a, "text", nil)
	shmtest.Must(err)
	litter, err := Open[uint64, sealed](a, "litter", nil)
	shmtest.Must(err)
	return &estate{fixed, text, litter}
}

// exchange has ReplaceAll bring new values of all keys that stay, and some others:
// the tables are small again then.
func (e *estate) exchange(seq, others uint64) error {
	fixed, text := make(map[uint64]sealed), make(map[string][]byte)
	for k := range stayers + others {
		fixed[k], text[key16(int(k))] = seal(k, seq), sealBytes(k, seq)
	}
	return errors.Join(e.fixed.ReplaceAll(maps.All(fixed)), e.text.ReplaceAll(maps.All(text)))
}

// replace stores new values of all keys that stay, one by one.
func (e *estate) replace(seq uint64) (err error) {
	for k := range uint64(stayers) {
		err = errors.Join(err, e.fixed.Store(k, seal(k, seq)), e.text.Store(key16(int(k)), sealBytes(k, seq)))
	}
	return err
}

// grow stores so many others.
func (e *estate) grow(seq, from, n uint64) (err error) {
	for k := stayers + from; k < stayers+from+n && err == nil; k++ {
		if err = e.fixed.Store(k, seal(k, seq)); err == nil && k%8 == 0 {
			err = e.text.Store(key16(int(k)), nil)
		}
	}
	return err
}

// Words of the journal of a hunt.
const (
	noteFloor = iota // reads begun now find no older number
	noteReads        // that were made
	watchWords
)

// watcher is a reader of an estate. For it nothing may go back in time.
type watcher struct {
	*estate
	r           *rand.Rand
	fixed, text [stayers]uint64 // numbers of what was found last
}

// read loads a key that stays, which must be there, whole, and no older than floor
// and what was found before. Once in 16 times it does so in the other map.
func (w *watcher) read(floor uint64) error {
	k := w.r.Uint64N(stayers)
	s, ok := w.estate.fixed.Load(k)
	if floor := max(floor, w.fixed[k]); !ok || !s.whole(k) || s[1] < floor {
		return fmt.Errorf("key %d: found %v, %v, want number %d or later; %v", k, ok, s, floor, w.estate.fixed.Err())
	}
	w.fixed[k] = s[1]
	if w.r.IntN(16) != 0 {
		return nil
	}
	b, ok := w.estate.text.Load(key16(int(k)))
	seq, whole := wholeBytes(k, b)
	if floor := max(floor, w.text[k]); !ok || !whole || len(b) >= 16 && seq < floor {
		return fmt.Errorf("text key %d: found %v, %d bytes of number %d, want %d or later; %v", k, ok, len(b), seq, floor, w.estate.text.Err())
	}
	w.text[k] = max(w.text[k], seq)
	return nil
}

func growths(t *testing.T, e *estate) uint64 {
	s, err := e.fixed.Stats()
	require.NoError(t, err)
	return s.Growths
}

// mover does to the two maps what moves keys about.
func mover(args []string) int {
	e, journal := inherit(args[0], nil), shmtest.OpenJournal(args[1])
	return untilTold(func(seq uint64) {
		shmtest.Must(e.replace(seq))
		journal.Word(noteFloor).Store(seq)
		n := 1 << rand.Uint64N(14)
		shmtest.Must(e.grow(seq, 0, uint64(n)))
		if seq%4 != 0 {
			shmtest.Must(e.exchange(seq, rand.Uint64N(100)))
			return
		}
		for k := stayers; k < stayers+n; k++ {
			_, err := e.fixed.Delete(uint64(k))
			shmtest.Must(err)
		}
	})
}

// litterer has another map grow and be cleared, so that blocks and tables that were
// freed are something else at once.
func litterer(args []string) int {
	e := inherit(args[0], nil)
	return untilTold(func(seq uint64) {
		for i := range uint64(1) << rand.Uint64N(13) {
			shmtest.Must(e.drop(i, seq))
			shmtest.Must(e.drop(i%stayers, seq))
		}
		shmtest.Must(e.litter.Clear())
	})
}

// drop stores what must never be found as one of the others: it may have a key of
// theirs, but the value is nobody's.
func (e *estate) drop(k, seq uint64) error { return e.litter.Store(k, seal(^uint64(0), seq)) }

// TestHunt_Missed looks for keys that are always there, and for values that are not
// there any more, while values are replaced, segments split, the directory doubled,
// the content exchanged, and all that was freed used again.
func TestHunt_Missed(t *testing.T) {
	hunts(t, func(t *testing.T, o *arena.Options, long *hunt) (reads int) {
		a, e := settle(t)
		journal := shmtest.NewJournal(t, watchWords)
		floor := journal.Word(noteFloor)
		var all helpers
		all.start(t, "mover", a.Name(), journal.Path())
		all.start(t, "litterer", a.Name())
		w := watcher{estate: estateIn(shmtest.Again(t, a, o)), r: seeded(t)}
		for ; long.goesOn(reads) || growths(t, e) == 0; reads += 1000 {
			for range 1000 {
				if err := w.read(floor.Load()); err != nil {
					require.NoError(t, err, "after %d reads", reads)
				}
			}
		}
		rounds := all.stop()
		s, err := e.fixed.Stats()
		require.NoError(t, err)
		t.Logf("0 of %d reads missed, in %d rounds with %d growths and %d exchanges of the map most of them read", reads, rounds, s.Growths, s.Exchanges)
		return reads
	})
}

// lookout reads all the time, and counts.
func lookout(args []string) int {
	w := watcher{estate: inherit(args[0], mappings[args[2]]), r: rand.New(rand.NewPCG(rand.Uint64(), 0))}
	journal := shmtest.OpenJournal(args[1])
	return untilTold(func(seq uint64) {
		shmtest.Must(w.read(journal.Word(noteFloor).Load()))
		journal.Word(noteReads).Store(seq)
	})
}

// TestHunt_Stopped stops a reader wherever it is, has the directory doubled twice
// and the memory it was looking at used again a million times, and lets it go on.
func TestHunt_Stopped(t *testing.T) {
	d := patience(t, 1600*time.Millisecond) / time.Duration(len(mappings))
	reuses := 1_000_000
	if d < 10*time.Second {
		reuses = 20_000
	}
	for name := range mappings {
		t.Run(name, func(t *testing.T) {
			a, e := settle(t)
			journal := shmtest.NewJournal(t, watchWords)
			child := shmtest.Start(t, "lookout", a.Name(), journal.Path(), name)
			child.Expect("ready")
			h := siege{t: t, estate: e, child: child, journal: journal, reuses: reuses}
			for start := time.Now(); h.rounds < 2 || time.Since(start) < d; h.rounds++ {
				h.round()
			}
			t.Logf("%d times stopped for two doublings, every other time for %d reuses, of %d in all; right each time, and in all of %d reads",
				h.rounds, reuses, h.total, helpers{child}.stop())
		})
	}
}

// siege is a lookout and those who change what it looks at.
type siege struct {
	*estate
	t       *testing.T
	child   *shmtest.Child
	journal *shmtest.Journal
	reuses  int
	total   int // of them
	seq     uint64
	rounds  int
}

// round is one stop. In every other one the memory is used again as often as can be;
// in the rest less, so that it may also be just free. In every third the new tables
// go too.
func (h *siege) round() {
	h.await(1 + rand.Uint64N(5000))
	h.child.Stop()
	h.doubleTwice()
	n := h.reuses
	if h.rounds%2 == 1 {
		n = 1 << rand.IntN(12)
	}
	h.reuse(n)
	if h.rounds%3 == 2 {
		h.seq++
		require.NoError(h.t, h.exchange(h.seq, 0))
		h.reuse(n)
	}
	h.journal.Word(noteFloor).Store(h.seq)
	h.child.Cont()
	h.await(5000)
	h.seq++
	require.NoError(h.t, h.exchange(h.seq, 0))
}

// await returns when the lookout has made so many more reads.
func (h *siege) await(n uint64) {
	h.t.Helper()
	reads := h.journal.Word(noteReads)
	want, limit := reads.Load()+n, time.Now().Add(time.Minute)
	for ; reads.Load() < want; time.Sleep(10 * time.Microsecond) {
		if h.child.Ended() {
			h.child.Wait()
		}
		require.True(h.t, time.Now().Before(limit), "the lookout does not get on")
	}
}

// doubleTwice inserts keys until the directory has been doubled twice.
func (h *siege) doubleTwice() {
	h.seq++
	d, err := h.fixed.look()
	require.NoError(h.t, err)
	for from, bits := uint64(0), d.Bits; d.Bits < bits+2; from += 100 {
		require.NoError(h.t, h.grow(h.seq, from, 100))
		d, err = h.fixed.look()
		require.NoError(h.t, err)
	}
}

// reuse has freed blocks used again, for the keys that are read and for others, n
// times or a few times more.
func (h *siege) reuse(n int) {
	for range n/(3*stayers) + 1 {
		h.seq++
		require.NoError(h.t, h.replace(h.seq))
		for k := range uint64(stayers) {
			require.NoError(h.t, h.drop(k, h.seq))
		}
		h.total += 3 * stayers
	}
	require.NoError(h.t, h.litter.Clear())
}
