//go:build crash

package hashmap

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// pauses is a reader, held on the fast path of Load after it has compared the key and
// before it copies the value out, and a writer on another attach.
type pauses struct {
	t      *testing.T
	arena  *arena.Arena // of the writer
	reader *Map[uint64, sealed]
	writer *Map[uint64, sealed]
	other  *Map[uint64, sealed] // of the writer's attach: its entries get blocks that become free
	old    uint64               // the entry that the reader has found
}

const wanted uint64 = 1 // the key that the reader looks for

func newPauses(t *testing.T) *pauses {
	o := &arena.Options{Size: 256 << 10, Processes: 4, Objects: 8}
	seg := shmtest.Segment(t, o)
	p := &pauses{t: t, arena: shmtest.OnSegment(t, seg, o)}
	p.writer = create[uint64, sealed](t, p.arena, "m", nil)
	p.other = create[uint64, sealed](t, p.arena, "other", nil)
	p.reader = open[uint64, sealed](t, shmtest.OnSegment(t, seg, o), "m")
	require.NoError(t, p.writer.Store(wanted, seal(wanted, 1)))
	key := wanted
	at, n := p.reader.key(&key)
	p.old = p.reader.placeOf(t, at, n).old & offsetMask
	_, ok := p.reader.Load(wanted) // and the directory is known
	require.True(t, ok)
	return p
}

// load has the reader look for the key, and op run meanwhile.
func (p *pauses) load(op func()) (sealed, bool) {
	p.t.Helper()
	defer fault.SetPause(nil)
	paused := false
	fault.SetPause(func() {
		paused = true
		op()
	})
	v, ok := p.reader.Load(wanted)
	require.True(p.t, paused, "the fast path was not taken")
	return v, ok
}

// reuse has the block of the entry get another one.
func (p *pauses) reuse() {
	key := p.other.base.Add(p.old + entryHeader)
	for k := wanted + 1; mem.Load64(key) == wanted; k++ {
		require.NoError(p.t, p.other.Store(k, seal(k, 3)), "no entry gets the block")
	}
}

// The value is another one's before it is copied; the reader must see that what it has
// found does not stand any more. Each of the words that say so is the only one here.
func TestCrash_Load_Held(t *testing.T) {
	t.Run("bucket", func(t *testing.T) {
		p := newPauses(t)
		v, ok := p.load(func() {
			p.writer.mostSpare = 0 // the old block becomes free
			require.NoError(t, p.writer.Store(wanted, seal(wanted, 2)))
			p.reuse()
		})
		require.True(t, ok)
		require.Equal(t, seal(wanted, 2), v)
	})
	t.Run("tree", func(t *testing.T) {
		p := newPauses(t)
		key := wanted
		at, n := p.reader.key(&key)
		bucket := p.reader.homeBucket(t, hashKey(at, n, &p.reader.secrets))
		version := bucket.version.Load()
		v, ok := p.load(func() {
			for range 2 { // the second one takes the old content down, and builds its own in its memory
				require.NoError(t, p.writer.ReplaceAll(maps.All(map[uint64]sealed{wanted: seal(wanted, 2)})))
			}
			p.reuse()
			require.Equal(t, version, bucket.version.Load())
		})
		require.True(t, ok)
		require.Equal(t, seal(wanted, 2), v)
	})
	t.Run("object", func(t *testing.T) {
		p := newPauses(t)
		v, ok := p.load(func() {
			require.NoError(t, p.arena.Remove("m"))
		})
		require.False(t, ok)
		require.Zero(t, v)
		require.Error(t, p.reader.Err())
	})
}
