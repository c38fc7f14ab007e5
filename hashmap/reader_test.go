package hashmap

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// The interleavings that the draft of the protocol did not survive (B3), one by
// one. A reader is held between two of its steps while a writer of another
// attach goes on, and the memory it is looking at gets other contents at once.
//
// The place to hold a reader is where it finds an entry beyond what it has
// verified of the segment and looks for more: before it reads the head of the
// entry, or before it compares the key.

// step is where a reader is held.
type step int

const (
	beforeHead step = iota
	beforeKey
)

var steps = map[string]step{"before head": beforeHead, "before key": beforeKey}

// meanwhile has op run when the next reader of tb comes to the step, at the
// entry at off or, before a head, at whatever comes first if off is 0.
func meanwhile(tb *table, at step, off uint64, op func()) (happened *bool) {
	happened = new(bool)
	real := *tb.floor
	floor := real
	floor.Refresh = func() {
		if tb.floor = &real; !*happened {
			*happened = true
			op()
		}
		real.Refresh()
	}
	tb.floor = &floor
	tb.end.Store(0) // nothing for the fast path
	switch limit := max(off, tb.low); at {
	case beforeHead:
		tb.limit.Store(limit)
	case beforeKey:
		tb.limit.Store(limit + entryHeader)
	}
	return happened
}

// entryOf returns the offset of the entry of a key.
func entryOf(t testing.TB, tb *table, k string) uint64 {
	t.Helper()
	key := mem.PtrOf([]byte(k))
	n := uint64(len(k))
	at := tb.placeOf(t, key, n)
	return at.old & offsetMask
}

// duel is a reader and a writer of one map, on two attaches, and the means to
// reuse memory.
type duel struct {
	t      *testing.T
	reader *Map[string, []byte]
	writer *Map[string, []byte]
	arena  *arena.Arena         // of the writer
	other  *Map[string, []byte] // takes blocks that become free
	kept   int
	spares uint64 // what mostSpare of the writer was
	beside string // a key that respare has stored
}

func newDuel(t *testing.T) *duel {
	o := &arena.Options{Size: 160 << 10, Processes: 4, Objects: 8}
	seg := shmtest.Segment(t, o)
	a, b := shmtest.OnSegment(t, seg, o), shmtest.OnSegment(t, seg, o)
	d := &duel{t: t, arena: b, writer: create[string, []byte](t, b, "m", nil), other: create[string, []byte](t, b, "other", &Options{Capacity: 3000})}
	d.reader = open[string, []byte](t, a, "m")
	d.spares, d.writer.mostSpare = d.writer.mostSpare, 0
	return d
}

func (d *duel) collide() { collide(d.t, 16, &d.reader.table, &d.writer.table) }

func (d *duel) store(k, v string) { require.NoError(d.t, d.writer.Store(k, []byte(v))) }

func (d *duel) delete(k string) {
	ok, err := d.writer.Delete(k)
	require.NoError(d.t, err)
	require.True(d.t, ok)
}

// reuse makes the block at off an entry of the other map with this key, as
// large as the one it was: it takes every block there is, and gives back this
// one alone. If it is an entry of the map again already, it stays that.
func (d *duel) reuse(off uint64, k, v string) {
	d.t.Helper()
	for again := range d.writer.All() {
		if entryOf(d.t, &d.writer.table, again) == off {
			return
		}
	}
	first, last := d.kept, ""
	for d.other.Store(key16(1000+d.kept), []byte("as large!")) == nil {
		if kept := key16(1000 + d.kept); entryOf(d.t, &d.other.table, kept) == off {
			last = kept
		}
		d.kept++
	}
	_, err := d.other.Delete(last)
	require.NoError(d.t, err)
	require.NoError(d.t, d.other.Store(k, []byte(v)))
	require.Equal(d.t, off, entryOf(d.t, &d.other.table, k), "the block is not reused")
	for i := first; i < d.kept; i += 2 { // room for what comes
		_, err := d.other.Delete(key16(1000 + i))
		require.NoError(d.t, err)
	}
}

// respare makes the block at off, which the next write leaves, an entry of another key of
// its stripe, by way of the stripe's spare.
func (d *duel) respare(off uint64, leave func()) {
	d.t.Helper()
	for i := 0; d.beside == "" || d.stripeOf(d.beside) != d.stripeOf(hot); i++ {
		d.beside = fmt.Sprintf("key:%012d", 1000+i)
	}
	d.store(d.beside, "foreign v")
	d.writer.mostSpare = d.spares
	leave()
	d.store(d.beside, "foreign v")
	require.Equal(d.t, off, entryOf(d.t, &d.writer.table, d.beside), "the block is not reused")
	d.writer.mostSpare = 0
}

func (d *duel) stripeOf(k string) uint64 {
	key, n := d.writer.key(&k)
	return d.writer.stripeAt(hashKey(key, n, &d.writer.secrets))
}

// recut gives every free page of the arena to a class the map does not use.
func (d *duel) recut() {
	for i := range 1000 {
		if d.other.Store(fmt.Sprintf("noise:%010d", i), bytes.Repeat([]byte{byte(i), 0xff}, 700)) != nil {
			return
		}
	}
	require.FailNow(d.t, "the arena does not fill")
}

const (
	hot  = "key:000000000000"
	cold = "key:000000000001" // another one, of the same length
)

// changes are what can happen to a key that is there all the while, and to the
// block of its old value.
var changes = map[string]func(d *duel, old uint64){
	"replaced":                    func(d *duel, _ uint64) { d.store(hot, "new value") },
	"replaced, reused":            func(d *duel, old uint64) { d.store(hot, "new value"); d.reuse(old, cold, "foreign v") },
	"replaced, reused, same key":  func(d *duel, old uint64) { d.store(hot, "new value"); d.reuse(old, hot, "foreign v") },
	"replaced, reused, other key": func(d *duel, old uint64) { d.store(hot, "new value"); d.reuse(old, "0123456789abcdefg", "longer k") },
	"replaced, reused as a spare": func(d *duel, old uint64) { d.respare(old, func() { d.store(hot, "new value") }) },
	"replaced twice": func(d *duel, old uint64) {
		d.store(hot, "new value")
		d.reuse(old, cold, "foreign v")
		d.store(hot, "new value")
	},
	"replaced, page of another class": func(d *duel, _ uint64) { d.store(hot, "new"); d.store(hot, "new value"); d.recut() },
	"neighbour inserted":              func(d *duel, _ uint64) { d.store(cold, "cold"); d.store(hot, "new value") },
}

// requireHot looks for the key that is there all the while.
func (d *duel) requireHot(happened *bool) {
	d.t.Helper()
	v, ok := d.reader.Load(hot)
	require.True(d.t, *happened, "the reader was not held")
	require.True(d.t, ok, "a key that is there all the while was missed")
	require.Equal(d.t, "new value", string(v))
	require.NoError(d.t, d.reader.Err())
}

func TestB3_Load(t *testing.T) {
	for what, change := range changes {
		for where, at := range steps {
			t.Run(what+" "+where, func(t *testing.T) {
				d := newDuel(t)
				d.store(hot, "old value")
				old := entryOf(t, &d.reader.table, hot)
				d.requireHot(meanwhile(&d.reader.table, at, old, func() { change(d, old) }))
			})
		}
	}
}

// All keys in one chain of four buckets: the reader is held in the first bucket
// or in the last one. Were the first one's version not compared before it is
// left, the reader would find nothing in the others.
func TestB3_Chain(t *testing.T) {
	for what, change := range changes {
		for where, at := range steps {
			for _, before := range []int{0, 3, bucketSlots, 3*bucketSlots + 1} {
				t.Run(fmt.Sprintf("%s %s, behind %d", what, where, before), func(t *testing.T) {
					d := newDuel(t)
					d.collide()
					for i := range 4*bucketSlots - 2 {
						k := key16(100 + i)
						if i == before {
							k = hot
						}
						d.store(k, "old value")
					}
					old := entryOf(t, &d.reader.table, hot)
					d.requireHot(meanwhile(&d.reader.table, at, old, func() { change(d, old) }))
				})
			}
		}
	}
}

// A key that is deleted and comes back may be missed, but what is found is its
// own.
func TestB3_Deleted(t *testing.T) {
	ends := map[string]func(d *duel, old uint64){
		"deleted":          func(d *duel, _ uint64) { d.delete(hot) },
		"deleted, reused":  func(d *duel, old uint64) { d.delete(hot); d.reuse(old, hot, "foreign v") },
		"deleted, another": func(d *duel, old uint64) { d.delete(hot); d.store(cold, "foreign v"); d.reuse(old, cold, "foreign v") },
		"and back": func(d *duel, old uint64) {
			d.delete(hot)
			d.reuse(old, hot, "foreign v")
			d.store(hot, "new value")
		},
		"moved": func(d *duel, old uint64) {
			d.delete(hot)
			d.store(cold, "cold here!") // takes the slot
			d.reuse(old, hot, "foreign v")
			d.store(hot, "new value")
		},
	}
	for what, end := range ends {
		for where, at := range steps {
			for _, chain := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s, chain %v", what, where, chain), func(t *testing.T) {
					d := newDuel(t)
					if chain {
						d.collide()
						for i := range 2*bucketSlots + 1 {
							d.store(key16(100+i), "old value")
						}
					}
					d.store(hot, "old value")
					old := entryOf(t, &d.reader.table, hot)
					happened := meanwhile(&d.reader.table, at, old, func() { end(d, old) })
					v, ok := d.reader.Load(hot)
					require.True(t, *happened)
					if ok {
						require.Equal(t, "new value", string(v))
					}
					_, there := d.writer.Load(hot)
					require.Equal(t, there, ok)
					require.NoError(t, d.reader.Err())
				})
			}
		}
	}
}

// The same for iteration, which copies whole buckets.
func TestB3_All(t *testing.T) {
	for what, change := range changes {
		for where, at := range steps {
			t.Run(what+" "+where, func(t *testing.T) {
				d := newDuel(t)
				d.collide()
				for i := range 3 {
					d.store(key16(100+i), "old value")
				}
				d.store(hot, "old value")
				old := entryOf(t, &d.reader.table, hot)
				happened := meanwhile(&d.reader.table, at, old, func() { change(d, old) })
				got := make(map[string]string)
				for k, v := range d.reader.All() {
					require.NotContains(t, got, k)
					got[k] = string(v)
				}
				require.True(t, *happened)
				require.Equal(t, "new value", got[hot])
				delete(got, hot)
				delete(got, cold)
				delete(got, d.beside)
				require.Equal(t, map[string]string{key16(100): "old value", key16(101): "old value", key16(102): "old value"}, got)
				require.NoError(t, d.reader.Err())
			})
		}
	}
}

// What a search has come to does not stand after any change of its bucket, hit
// or miss, before the value is copied or after.
func TestB3_Stands(t *testing.T) {
	d := newDuel(t)
	d.collide()
	search := func(k string) *found {
		key := mem.PtrOf([]byte(k))
		f := d.reader.find(key, uint64(len(k)), hashKey(key, uint64(len(k)), &d.reader.secrets))
		require.False(t, f.retry)
		require.True(t, d.reader.stands(&f))
		return &f
	}
	miss := search(hot)
	d.store(hot, "value")
	require.False(t, d.reader.stands(miss), "a miss, and an insert")
	require.False(t, miss.hit)

	hit := search(hot)
	d.store(hot, "other")
	require.False(t, d.reader.stands(hit), "a hit, and a replace")

	hit, miss = search(hot), search(cold)
	d.delete(hot)
	require.False(t, d.reader.stands(hit), "a hit, and a delete")
	require.False(t, d.reader.stands(miss))
	require.False(t, search(hot).hit)

	for i := range bucketSlots {
		d.store(key16(i), "full")
	}
	miss = search(key16(9))
	d.store(key16(9), "overflow") // the bucket itself keeps its slots
	require.False(t, d.reader.stands(miss), "a miss, and an insert behind the bucket")

	hit, miss = search(key16(2)), search(key16(77))
	require.NoError(t, d.arena.Remove("m"))
	require.False(t, d.reader.stands(hit), "a hit, and the end of the map")
	require.False(t, d.reader.stands(miss))
}

// TestB4_Removed: a reader is held while the map goes and its memory, buckets
// and all, gets other contents. The versions it compares may be the same then.
func TestB4_Removed(t *testing.T) {
	for where, at := range steps {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, all %v", where, all), func(t *testing.T) {
				a := shmtest.Named(t, small)
				m := create[string, []byte](t, a, "m", nil)
				for i := range 30 {
					require.NoError(t, m.Store(key16(i), []byte("old value")))
				}
				r := open[string, []byte](t, again(t, a), "m")
				old := entryOf(t, &r.table, hot)
				happened := meanwhile(&r.table, at, old, func() {
					require.NoError(t, a.Remove("m"))
					require.NoError(t, m.Close())
					next := create[string, []byte](t, a, "m", nil)
					for i := 0; next.Store(key16(i), []byte("foreign v")) == nil; i++ {
					}
				})
				if all {
					for k, v := range r.All() {
						require.Equal(t, "old value", string(v), k)
					}
				} else {
					_, ok := r.Load(hot)
					require.False(t, ok)
				}
				require.True(t, *happened)
				require.ErrorIs(t, r.Err(), ErrRemoved)
				require.Nil(t, r.damage.Load())
			})
		}
	}
}
