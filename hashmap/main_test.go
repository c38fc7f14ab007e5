package hashmap

import (
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
)

// roles are what a child process of these tests can be.
var roles = map[string]func(args []string) int{}

func TestMain(m *testing.M) { shmtest.Main(m, roles) }

// small is an arena for a few entries: quick to copy, quick to fill.
var small = &arena.Options{Size: 128 << 10, Processes: 4, Objects: 8}

// create makes a map that is checked when the test ends, unless it has ended
// before.
func create[K comparable, V any](t testing.TB, a *arena.Arena, name string, o *Options) *Map[K, V] {
	t.Helper()
	m, err := Create[K, V](a, name, o)
	require.NoError(t, err)
	return checked(t, m)
}

func open[K comparable, V any](t testing.TB, a *arena.Arena, name string) *Map[K, V] {
	t.Helper()
	m, err := Open[K, V](a, name, nil)
	require.NoError(t, err)
	return checked(t, m)
}

func checked[K comparable, V any](t testing.TB, m *Map[K, V]) *Map[K, V] {
	t.Cleanup(func() {
		if m.object.Err() == nil {
			require.NoError(t, m.Err())
			require.NoError(t, m.Check())
		}
	})
	return m
}

// verbal is what has the verbs of a map.
type verbal[K comparable, V any] interface {
	Load(k K) (V, bool)
	Store(k K, v V) error
	Delete(k K) (bool, error)
	Contains(k K) bool
	LoadOrStore(k K, v V) (V, bool, error)
	Swap(k K, v V) (V, bool, error)
	LoadAndDelete(k K) (V, bool, error)
	CompareAndSwap(k K, old, v V) (bool, error)
	CompareAndDelete(k K, old V) (bool, error)
	Compute(k K, f func(V, bool) (V, Action)) (V, bool, error)
	All() iter.Seq2[K, V]
	Keys() iter.Seq[K]
	Values() iter.Seq[V]
	ReplaceAll(seq iter.Seq2[K, V]) error
	Clear() error
	Len() int
	Check() error
	Err() error
}

// contents returns all of a map, through All, compared with Len and Load.
func contents[K comparable, V any](t testing.TB, m verbal[K, V]) map[K]V {
	t.Helper()
	all := make(map[K]V)
	for k, v := range m.All() {
		_, twice := all[k]
		require.False(t, twice, "key %v was yielded twice", k)
		all[k] = v
		got, ok := m.Load(k)
		require.True(t, ok, "key %v", k)
		require.True(t, assert.ObjectsAreEqual(v, got) || fmt.Sprint(v) == fmt.Sprint(got), "key %v: Load finds %v, All %v", k, got, v)
	}
	require.Equal(t, len(all), m.Len())
	return all
}

// collide makes every key of n bytes hash to zero, for these handles on an empty
// map: a factor of the hash depends on secret 2 and n alone.
func collide(t testing.TB, n uint64, tables ...*table) {
	t.Helper()
	weaken(t, colliding(n), tables...)
	key := make([]byte, n)
	for i := range 9 {
		key[i%len(key)] = byte(i)
		require.Zero(t, hashKey(mem.PtrOf(key), n, &tables[0].secrets), "the hash has changed: find another weakness")
	}
}

func colliding(n uint64) secrets { return secrets{2: -(2 * n)} }

// weaken has handles hash with other secrets than those of the map.
func weaken(t testing.TB, s secrets, tables ...*table) {
	t.Helper()
	for _, tb := range tables {
		tb.secrets = s
	}
}

// timeVariable says how long the tests run that look for what happens rarely.
const timeVariable = "SHMKIT_TORTURE"

// givenTime reports whether it was said.
func givenTime() bool { return os.Getenv(timeVariable) != "" }

// patience is how long a test runs that looks for what happens rarely.
func patience(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	if !givenTime() {
		return usual
	}
	d, err := time.ParseDuration(os.Getenv(timeVariable))
	require.NoError(t, err, timeVariable)
	return d
}

// sealed is a value that shows whether it is whole, and of which key it is.
type sealed [8]uint64

func mix(a, b uint64) uint64 { return fold(a^0x9e3779b97f4a7c15, b^0xd1342543de82ef95) }

func seal(id, seq uint64) (s sealed) {
	s[0], s[1] = id, seq
	for i := 2; i < len(s); i++ {
		s[i] = mix(id*8+uint64(i), seq)
	}
	return s
}

func (s *sealed) whole(id uint64) bool { return s[0] == id && *s == seal(id, s[1]) }

// sealBytes is the same for a value of 0 to 3000 bytes, whose length follows
// from its number; short ones carry no number.
func sealBytes(id, seq uint64) []byte {
	b := make([]byte, mix(id, seq)%3001)
	if len(b) < 16 {
		for i := range b {
			b[i] = byte(id)*31 + byte(len(b))
		}
		return b
	}
	binary.LittleEndian.PutUint64(b, id)
	binary.LittleEndian.PutUint64(b[8:], seq)
	for i := 16; i < len(b); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], mix(seq, uint64(i)))
		copy(b[i:], word[:])
	}
	return b
}

// wholeBytes returns the number of a value too, 0 of a short one. It is most of what
// a hunt does, so it makes no other value to compare with.
func wholeBytes(id uint64, b []byte) (seq uint64, ok bool) {
	if len(b) < 16 {
		for _, c := range b {
			if c != byte(id)*31+byte(len(b)) {
				return 0, false
			}
		}
		return 0, true
	}
	seq = binary.LittleEndian.Uint64(b[8:])
	ok = binary.LittleEndian.Uint64(b) == id && uint64(len(b)) == mix(id, seq)%3001
	for i := 16; i < len(b) && ok; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], mix(seq, uint64(i)))
		n := min(8, len(b)-i)
		ok = string(b[i:i+n]) == string(word[:n])
	}
	return seq, ok
}

// segmentOf returns the segment of a hash.
func (t *table) segmentOf(tb testing.TB, h uint64) tree.Segment {
	tb.Helper()
	_, s, err := t.peek(h)
	require.NoError(tb, err)
	require.NotZero(tb, s.Buckets)
	return s
}

func (t *table) homeBucket(tb testing.TB, h uint64) *bucket {
	s := t.segmentOf(tb, h)
	return t.bucket(&s, homeOf(h, s.Buckets))
}

// placeOf finds a key as a writer does, but without a lock.
func (t *table) placeOf(tb testing.TB, key mem.Ptr, n uint64) place {
	tb.Helper()
	h := hashKey(key, n, &t.secrets)
	g := guard{t: t, seg: t.segmentOf(tb, h)}
	at, err := g.locate(key, n, h)
	require.NoError(tb, err)
	return *at
}
