package hashmap

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// A spare that another writer has left meanwhile, for entries of another size, is not
// taken.
func TestSpare_OfAnotherSize(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, roomy), "m", nil)
	for _, v := range []string{"1", "2", "3"} {
		require.NoError(t, m.Store("k", []byte(v)))
	}
	k := "k"
	key, n := m.key(&k)
	h := hashKey(key, n, &m.secrets)
	stripe := m.stripe(m.stripeAt(h))
	spare := stripe.spare.Load()
	require.NotZero(t, spare)
	var w overwrite
	defer w.end()
	require.False(t, m.overwrite(&w, key, n, h, 400))
	require.True(t, w.held)
	require.False(t, m.hasSpare(n, h, 400))
	require.Equal(t, spare, stripe.spare.Load())
}

// A value of another length goes into the spare too, if the block is large enough and
// of no larger class; and so on, to and fro.
func TestSpare_OfOtherLengths(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, roomy), "m", nil)
	key, n := m.key(new("k"))
	spare := &m.stripe(m.stripeAt(hashKey(key, n, &m.secrets))).spare
	for range 2 {
		require.NoError(t, m.Store("k", make([]byte, 56)))
	}
	for i, length := range []int{50, 56, 49, 53} {
		was := spare.Load()
		require.NotZero(t, was)
		require.NoError(t, m.Store("k", make([]byte, length)))
		require.NotEqual(t, was, spare.Load(), "write %d", i)
		require.Equal(t, was&^offsetMask, spare.Load()&^offsetMask)
	}
}

// A spare that a damaged word says to lie at the end of the segment is not written to:
// nothing is beyond it that is ours.
func TestSpare_AtTheEnd(t *testing.T) {
	a := shmtest.Heap(t, &arena.Options{Size: 256 << 10, MaxSize: 1 << 20, Processes: 4, Objects: 8}, shmtest.Unchecked)
	m, err := Create[string, []byte](a, "m", nil)
	require.NoError(t, err)
	v := make([]byte, 400)
	for i := range v {
		v[i] = 1
	}
	for range 3 {
		require.NoError(t, m.Store("k", v))
	}
	key, n := m.key(new("k"))
	h := hashKey(key, n, &m.secrets)
	spare, limit := &m.stripe(m.stripeAt(h)).spare, m.limit.Load()
	kind := spare.Load() &^ offsetMask
	require.NotZero(t, kind)
	for before := uint64(8); before <= 512; before += 8 {
		spare.Store(kind | (limit - before))
		require.NoError(t, m.Store("k", v))
		if before >= 16+8+400 {
			break // from here on it could be one
		}
	}
	for off := limit; off < limit+512; off++ {
		require.Zero(t, mem.Load8(m.base.Add(off)))
	}
}

// Values of many sizes, over each other: no block is written that is too small.
func TestSpare_Sizes(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(spacious)
		handles := []*Map[string, []byte]{create[string, []byte](t, a, "m", nil), open[string, []byte](t, b, "m")}
		r := seeded(t)
		want := make(map[string]string)
		for range 20_000 {
			k := fmt.Sprint("k", r.IntN(50))
			v := make([]byte, r.IntN(mostSpare*5/4))
			for i := range v {
				v[i] = byte(len(v))
			}
			require.NoError(t, handles[r.IntN(2)].Store(k, v))
			want[k] = string(v)
		}
		for k, v := range want {
			got, ok := handles[r.IntN(2)].Load(k)
			require.True(t, ok)
			require.Equal(t, v, string(got))
		}
		require.NoError(t, handles[0].Check())
		shmtest.Clean(t, a)
		require.True(t, handles[0].freeSpares(0))
		require.False(t, handles[1].freeSpares(0))
		shmtest.Clean(t, a)
	})
}

// What spares have is had by a write that finds no room.
func TestSpare_IsWanted(t *testing.T) {
	o := &arena.Options{Size: 256 << 10, MaxSize: 256 << 10, Processes: 2, Objects: 4}
	m := create[string, uint64](t, shmtest.Heap(t, o), "m", nil)
	n := 0
	for ; m.Store(key16(n), 1) == nil; n++ {
	}
	for i := 0; i < n; i += 2 {
		require.True(t, yes(t)(m.Delete(key16(i))))
	}
	for i := 1; i < n; i += 2 {
		require.NoError(t, m.Store(key16(i), 2))
	}
	spares := 0
	for i := range m.plan.stripes() {
		if m.stripe(m.stripeOff+i*stripeSize).spare.Load() != 0 {
			spares++
		}
	}
	require.Positive(t, spares)
	for i := 0; i < n; i += 2 {
		require.NoError(t, m.Store(key16(i), 3), "%d of %d", i, n)
	}
	require.Equal(t, n, m.Len())
}

// What is built has no stripe locked, and leaves the spares alone, also where an entry
// takes the place of one that has expired since.
func TestSpare_NotWhileBuilding(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, spacious), "m", &Options{Capacity: 10, TTL: time.Millisecond})
	now := origin
	m.clock.fake = func() uint64 {
		now += uint64(time.Millisecond)
		return now
	}
	require.NoError(t, m.ReplaceAll(maps.All(numbered(2000, 1))))
	require.Less(t, m.Len(), 2000, "none has taken the place of another")
	for i := range m.plan.stripes() {
		require.Zero(t, m.stripe(m.stripeOff+i*stripeSize).spare.Load())
	}
}

// There are more free blocks than writers, who write over entries of one size: nobody is
// refused, though others keep and free the blocks.
func TestSpare_NobodyIsRefused(t *testing.T) {
	const writers, room = 4, 16
	o := &arena.Options{Size: 1 << 20, MaxSize: 1 << 20, Processes: 2, Objects: 4}
	m := create[string, uint64](t, shmtest.Heap(t, o), "m", &Options{Capacity: 10_000})
	n := 0
	for ; m.Store(key16(n), 1) == nil; n++ {
	}
	for i := range room {
		require.True(t, yes(t)(m.Delete(key16(i))))
	}
	errs := make(chan error, writers)
	for range writers {
		r := seeded(t)
		go func() {
			var err error
			for i := 0; i < 20_000 && err == nil; i++ {
				err = m.Store(key16(room+r.IntN(n-room)), 2)
			}
			errs <- err
		}()
	}
	for range writers {
		require.NoError(t, <-errs)
	}
}

// A process is stopped with the lock of a stripe, which has a spare. A write elsewhere
// that finds no room leaves him that.
func TestSpare_OfAStoppedOne(t *testing.T) {
	o := &arena.Options{Size: 256 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 4}
	seg := shmtest.Segment(t, o)
	m := create[string, uint64](t, shmtest.OnSegment(t, seg, o), "m", nil)
	stopped := open[string, uint64](t, shmtest.OnSegment(t, seg, o), "m")
	require.NoError(t, m.Store("k", 1))
	require.NoError(t, m.Store("k", 2))
	stripeOf := func(k string) (h, off uint64) {
		key, n := m.key(&k)
		h = hashKey(key, n, &m.secrets)
		return h, m.stripeAt(h)
	}
	h, off := stripeOf("k")
	spare := m.stripe(off).spare.Load()
	require.NotZero(t, spare)
	var g guard
	require.NoError(t, stopped.lock(h, &g))
	var err error
	for i := 0; err == nil; i++ {
		if _, at := stripeOf(key16(i)); at != off {
			err = m.Store(key16(i), 1)
		}
	}
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, spare, m.stripe(off).spare.Load())
	g.unlock()
}

// over begins a write over the entry of a key in the spare of its stripe, as Store does,
// and ends it; look is called in between.
func over[V any](m *Map[string, V], k string, size uint64, look func(w *overwrite, begun bool)) {
	key, n := m.key(&k)
	h := hashKey(key, n, &m.secrets)
	var w overwrite
	defer w.end()
	look(&w, m.overwrite(&w, key, n, h, size))
}

// The content is exchanged, and the old one is still kept, when a handle that has not
// seen it writes over an entry: in the new content, where it is none any more.
func TestSpare_Exchanged(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m, other := create[string, uint64](t, a, "m", nil), open[string, uint64](t, a, "m")
	for i := range uint64(3) {
		require.NoError(t, m.Store("k", i))
	}
	other.keepFor = func(uint64) time.Duration {
		require.NoError(t, m.Store("k", 7))
		return 0
	}
	require.NoError(t, other.Clear())
	require.Equal(t, map[string]uint64{"k": 7}, contents(t, other))
}

// A write over an entry does what earlier writes have left to do.
func TestSpare_Tends(t *testing.T) {
	m := create[string, uint64](t, shmtest.Heap(t, roomy), "m", nil)
	for i := range uint64(3) {
		require.NoError(t, m.Store("k", i))
	}
	m.crowded.Store(1)
	over(m, "k", 8, func(_ *overwrite, begun bool) { require.True(t, begun) })
	require.Zero(t, m.crowded.Load())
}

// An entry is not written over in place, though a damaged word says that its block is
// the spare: somebody may be reading it.
func TestSpare_IsTheEntry(t *testing.T) {
	m, err := Create[string, uint64](shmtest.Heap(t, roomy, shmtest.Unchecked), "m", nil)
	require.NoError(t, err)
	for i := range uint64(3) {
		require.NoError(t, m.Store("k", i))
	}
	over(m, "k", 8, func(w *overwrite, begun bool) {
		require.True(t, begun)
		w.stripe.spare.Store(w.kind | w.old&offsetMask)
	})
	over(m, "k", 8, func(_ *overwrite, begun bool) { require.False(t, begun) })
}

// Long keys of one hash: each has its own entry written over.
func TestSpare_OneHash(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	collide(t, 40, &m.table)
	want := make(map[string]int)
	for i := range 12 {
		k := fmt.Sprintf("%040d", i%3)
		require.NoError(t, m.Store(k, i))
		want[k] = i
	}
	require.Equal(t, want, contents(t, m))
}

// A panic in the middle of a write leaves the stripe to be mended, and it is.
func TestSpare_Panic(t *testing.T) {
	m := create[string, uint64](t, shmtest.Heap(t, roomy), "m", nil)
	for i := range uint64(3) {
		require.NoError(t, m.Store("k", i))
	}
	over(m, "k", 8, func(w *overwrite, begun bool) {
		require.True(t, begun)
		k, v := "k", uint64(7)
		key, n := m.key(&k)
		m.fill(w.ref, key, n, &v, 0)
		w.version, w.begun = nil, false
		require.Panics(t, func() {
			defer w.end()
			w.commit(hashKey(key, n, &m.secrets))
		})
		w.begun, w.held = true, false
		require.False(t, w.stripe.lock.Consistent())
	})
	require.EqualValues(t, 7, must2(m.Load("k")))
	require.NoError(t, m.Store("k", 8))
}

// A sum that could not be made, since the entry is damaged, is not stored.
func TestSpare_DamagedSum(t *testing.T) {
	m, err := Create[string, int](shmtest.Heap(t, roomy, shmtest.Unchecked), "m", nil)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, second(Add(m, "k", 1)))
	}
	var was uint64
	over(m, "k", 8, func(w *overwrite, begun bool) {
		require.True(t, begun)
		was = w.old
		mem.Cast[psync.Word64](m.base.Add(w.old & offsetMask)).Store(1 | 9<<32)
	})
	require.ErrorIs(t, second(Add(m, "k", 1)), ErrCorrupt)
	over(m, "k", 8, func(w *overwrite, _ bool) { require.Equal(t, was, w.old) })
}

// Who looks for spares over a closed handle leaves the memory alone, which may be
// somebody else's.
func TestSpare_Closed(t *testing.T) {
	afterRemoval(t, func(m *Map[string, int], gone func()) {
		for i := range 3 {
			require.NoError(t, m.Store("k", i))
		}
		gone()
		spare := &m.stripe(m.stripeOff).spare
		spare.Store(1 << offsetBits)
		defer spare.Store(0)
		require.False(t, m.freeSpares(0))
		require.EqualValues(t, 1<<offsetBits, spare.Load())
	})
}
