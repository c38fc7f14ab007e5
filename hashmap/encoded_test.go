package hashmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// config is a value that only a codec can store.
type config struct {
	Name  string
	Hosts []string
	Limit map[string]int
	Next  *config
}

func configOf(i int) config {
	if i < 0 {
		return config{}
	}
	c := config{Name: fmt.Sprint("config ", i), Hosts: slices.Repeat([]string{fmt.Sprint(i)}, 1+i%50)}
	if i%2 == 0 {
		c.Limit = map[string]int{"a": i, "b": -i, "c": 0}
		c.Next = &config{Name: "next"}
	}
	return c
}

func sameConfig(a, b config) bool { return reflect.DeepEqual(a, b) }

// values are an Encoded map whose Load returns a copy, and compares what there is
// to read a key with.
type values[K comparable, V any] struct {
	*Encoded[K, V]
	t testing.TB
}

func (m values[K, V]) Load(k K) (v V, ok bool) {
	shared, ok := m.Encoded.Load(k)
	own := *new(V)
	there, err := m.LoadInto(k, &own)
	require.NoError(m.t, err)
	require.Equal(m.t, ok, there)
	if !ok {
		require.Nil(m.t, shared)
		return v, false
	}
	require.Equal(m.t, own, *shared)
	return *shared, true
}

func createEncoded[K comparable, V any](t testing.TB, a *arena.Arena, name string, c Codec[V], o *Options) values[K, V] {
	t.Helper()
	m, err := CreateEncoded[K](a, name, c, o)
	require.NoError(t, err)
	checked(t, m.raw)
	return values[K, V]{m, t}
}

func openEncoded[K comparable, V any](t testing.TB, a *arena.Arena, name string, c Codec[V], o *Options) values[K, V] {
	t.Helper()
	m, err := OpenEncoded[K](a, name, c, o)
	require.NoError(t, err)
	checked(t, m.raw)
	return values[K, V]{m, t}
}

func TestEncoded_Verbs(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := createEncoded[string](t, a, "m", JSON[config](), nil)
		verbs(t, m, openEncoded[string](t, b, "m", JSON[config](), nil), "k", configOf)
		p := createEncoded[string](t, a, "p", JSON[*config](), &Options{Cache: -1})
		verbs(t, p, openEncoded[string](t, b, "p", JSON[*config](), nil), "k", func(i int) *config { c := configOf(i); return &c })
		n := createEncoded[string](t, a, "n", Binary[netip.Addr](), nil)
		verbs(t, n, openEncoded[string](t, b, "n", Binary[netip.Addr](), nil), "k", func(i int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		})
	})
}

func TestEncoded_Model(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		for _, cached := range []int{0, -1, 1, 20} {
			r := seeded(t)
			a, b := opener(roomy)
			m := newModel(t, sameConfig,
				createEncoded[string](t, a, "m", JSON[config](), &Options{Cache: cached}),
				openEncoded[string](t, b, "m", JSON[config](), &Options{Cache: cached}))
			m.run(r, 1500, func() string { return textOf(r.IntN(41), r.IntN(60)) }, func() config { return configOf(r.IntN(300)) })
			require.Zero(t, m.full)
		}
	})
}

// All keys in one set of the cache, in one chain of the map.
func TestEncoded_ConstantHash(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, roomy)
	one := createEncoded[[2]uint64](t, a, "m", JSON[config](), nil)
	two := openEncoded[[2]uint64](t, a, "m", JSON[config](), &Options{Cache: 5})
	collide(t, 16, &one.raw.table, &two.raw.table)
	m := newModel(t, sameConfig, one, two)
	m.run(r, 5000, func() [2]uint64 { return [2]uint64{r.Uint64N(4), r.Uint64N(5)} }, func() config { return configOf(r.IntN(9)) })
}

func TestEncoded_FullArena(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8})
	m := newModel(t, sameConfig, createEncoded[int](t, a, "m", JSON[config](), &Options{Capacity: 400}))
	m.run(r, 4000, func() int { return r.IntN(400) }, func() config {
		return config{Name: strings.Repeat("x", r.IntN(10_000))}
	})
	require.NotZero(t, m.full)
}

// The whole content is exchanged, and what was remembered with it.
func TestEncoded_ReplaceAll(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := createEncoded[int](t, a, "m", JSON[config](), nil)
	for round := range 5 {
		want := make(map[int]config)
		for i := range 100 {
			want[i] = configOf(i + round)
		}
		require.NoError(t, m.ReplaceAll(maps.All(want)))
		require.Equal(t, want, contents(t, m))
		require.Equal(t, want, contents(t, m))
	}
	require.NoError(t, m.Clear())
	require.Empty(t, contents(t, m))
	for i := range 100 {
		_, ok := m.Load(i)
		require.False(t, ok)
	}
}

func TestEncoded_Types(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	createEncoded[string](t, a, "m", JSON[config](), nil)
	create[string, []byte](t, a, "plain", nil)
	refuse := func(err error, texts ...string) {
		t.Helper()
		require.ErrorIs(t, err, ErrTypeMismatch)
		for _, text := range texts {
			require.ErrorContains(t, err, text)
		}
	}
	is := `"json of hashmap.config`
	_, err := OpenEncoded[string](a, "m", JSON[point](), nil)
	refuse(err, is, `"json of hashmap.point`)
	_, err = OpenOrCreateEncoded[string](a, "m", named[config]{JSON[config](), "json 2"}, nil)
	refuse(err, is, `"json 2 of hashmap.config`)
	_, err = OpenEncoded[int](a, "m", JSON[config](), nil)
	refuse(err)
	_, err = OpenEncoded[string](a, "plain", JSON[config](), nil)
	refuse(err)
	_, err = Open[string, []byte](a, "m", nil)
	refuse(err)
	_, err = CreateEncoded[string, config](a, "new", nil, nil)
	refuse(err, "no codec for hashmap.config")
	_, err = CreateEncoded[string](a, "new", named[config]{JSON[config](), ""}, nil)
	refuse(err, "has no name")
	_, err = CreateEncoded[float64](a, "new", JSON[config](), nil)
	refuse(err)
	_, err = CreateEncoded[string](a, "m", JSON[config](), nil)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = OpenEncoded[string](a, "new", JSON[config](), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = CreateEncoded[string](a, "new", JSON[config](), &Options{Capacity: -1})
	require.Error(t, err)

	long := strings.Repeat("name ", 1000)
	createEncoded[string](t, a, "long", named[config]{JSON[config](), long + "a"}, nil)
	openEncoded[string](t, a, "long", named[config]{JSON[config](), long + "a"}, nil)
	_, err = OpenEncoded[string](a, "long", named[config]{JSON[config](), long + "b"}, nil)
	refuse(err)
	m, err := OpenOrCreateEncoded[string](a, "m", JSON[config](), nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, m.Cap(), defaultCapacity)
	require.NoError(t, m.Close())
}

// named is a codec by another name.
type named[V any] struct {
	Codec[V]
	name string
}

func (c named[V]) Name() string { return c.name }

// A fragile codec does what it is told to. It stores a text.
type fragile struct {
	encode, decode error
	panics         bool
	decoded        int
	meanwhile      func() // what happens in the next Decode
}

var errFragile = errors.New("fragile")

func (c *fragile) Name() string { return "fragile" }

func (c *fragile) Append(dst []byte, v string) ([]byte, error) {
	if c.panics {
		panic(errFragile)
	}
	return append(dst, v...), c.encode
}

func (c *fragile) Decode(src []byte, v *string) error {
	if c.panics {
		panic(errFragile)
	}
	c.decoded++
	if f := c.meanwhile; f != nil {
		c.meanwhile = nil
		f()
	}
	*v = string(src)
	return c.decode
}

// all are the verbs that a codec takes part in, by whether they encode or decode
// where the key is there.
func all(m *Encoded[string, string], k string) map[string]func() error {
	return map[string]func() error{
		"e Store": func() error { return m.Store(k, "new") },
		"d LoadInto": func() error {
			v := "before"
			ok, err := m.LoadInto(k, &v)
			return ended(v, ok, err)
		},
		"d LoadOrStore": func() error {
			v, loaded, err := m.LoadOrStore(k, "new")
			return ended(v, loaded, err)
		},
		"ed Swap":         func() error { return ended(m.Swap(k, "new")) },
		"d LoadAndDelete": func() error { return ended(m.LoadAndDelete(k)) },
		"e CompareAndSwap": func() error {
			ok, err := m.CompareAndSwap(k, "old", "new")
			return ended("", ok, err)
		},
		"e CompareAndDelete": func() error {
			ok, err := m.CompareAndDelete(k, "old")
			return ended("", ok, err)
		},
		"ed Compute":       func() error { return ended(m.Compute(k, to("new", Store))) },
		"d Compute delete": func() error { return ended(m.Compute(k, to("new", Delete))) },
		"e ReplaceAll":     func() error { return m.ReplaceAll(maps.All(map[string]string{k: "new"})) },
	}
}

// ended adds to an error what should not come with one.
func ended(v string, ok bool, err error) error {
	if err != nil && (ok || v != "") {
		return fmt.Errorf("with %q, %v: %s", v, ok, err)
	}
	return err
}

// A codec that fails, or panics, leaves everything as it is.
func TestEncoded_Fails(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	c := new(fragile)
	m := createEncoded[string](t, a, "m", Codec[string](c), nil).Encoded
	require.NoError(t, m.Store("k", "old"))
	used := shmtest.Clean(t, a).UsedBytes
	unchanged := func(what string) {
		t.Helper()
		*c = fragile{}
		b, ok := m.LoadAppend(nil, "k")
		require.True(t, ok, what)
		require.Equal(t, "old", string(b), what)
		require.Equal(t, 1, m.Len(), what)
		require.NoError(t, m.Check(), what)
		require.Equal(t, used, shmtest.Clean(t, a).UsedBytes, what)
	}
	for what, verb := range all(m, "k") {
		kind, _, _ := strings.Cut(what, " ")
		if strings.Contains(kind, "e") {
			c.encode = errFragile
			err := verb()
			require.ErrorIs(t, err, errFragile, what)
			require.ErrorIs(t, err, ErrCodec, what)
			require.ErrorContains(t, err, `hashmap "m": codec failed: encode the value of key k: fragile`, what)
			unchanged(what)
		}
		if strings.Contains(kind, "d") {
			c.decode = errFragile
			err := verb()
			require.ErrorIs(t, err, errFragile, what)
			require.ErrorIs(t, err, ErrCodec, what)
			require.ErrorContains(t, err, "decode the value of key k", what)
			unchanged(what)
		}
		c.panics = true
		require.PanicsWithValue(t, errFragile, func() { _ = verb() }, what)
		unchanged(what)
	}
	require.NoError(t, m.Err(), "each error was returned")

	c.panics = true
	require.PanicsWithValue(t, errFragile, func() { m.Load("k") })
	require.PanicsWithValue(t, errFragile, func() { contents(t, verbal[string, string](values[string, string]{m, t})) })
	unchanged("Load")
	c.decode = errFragile
	v, ok := m.Load("k")
	require.Nil(t, v)
	require.False(t, ok)
	require.ErrorIs(t, m.Err(), ErrCodec)
	require.True(t, m.Contains("k"))
	require.Empty(t, slices.Collect(m.Values()))
	require.Equal(t, []string{"k"}, slices.Collect(m.Keys()))
	unchanged("Load")
	v, ok = m.Load("k")
	require.True(t, ok, "the failure was not remembered")
	require.Equal(t, "old", *v)
	require.ErrorIs(t, m.Err(), errFragile, "the first failure stays")
	require.NoError(t, m.raw.Err())
}

// A value that does not decode is mended by those who do not look at it.
func TestEncoded_Mend(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := createEncoded[string](t, a, "m", JSON[config](), nil)
	for _, text := range []string{"", "{", `{"Name":7}`, "\x00", "null extra"} {
		require.NoError(t, m.raw.Store("k", []byte(text)))
		_, ok := m.Encoded.Load("k")
		require.False(t, ok)
		_, _, err := m.Swap("k", configOf(1))
		require.ErrorIs(t, err, ErrCodec)
		_, _, err = m.Compute("k", func(config, bool) (config, Action) {
			t.Fatal("the function was called")
			return config{}, Cancel
		})
		require.ErrorIs(t, err, ErrCodec)
		require.NoError(t, m.Store("k", configOf(2)))
		require.Equal(t, map[string]config{"k": configOf(2)}, contents(t, m))
	}
	require.NoError(t, m.raw.Store("k", nil))
	require.True(t, yes(t)(m.Delete("k")))
	require.ErrorIs(t, m.Err(), ErrCodec)
}

// What happens while an old value is decoded: the verb starts again.
func TestEncoded_Beside(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	c := new(fragile)
	m := createEncoded[string](t, a, "m", Codec[string](c), nil)
	again := func(meanwhile func()) {
		require.NoError(t, m.Store("k", "old"))
		c.meanwhile = meanwhile
	}
	remove := func() { require.True(t, yes(t)(m.Delete("k"))) }
	store := func() { require.NoError(t, m.Store("k", "other")) }
	result := got[string](t)
	again(remove)
	require.Equal(t, outcome{"", false}, result(m.Swap("k", "new")))
	again(store)
	require.Equal(t, outcome{"other", true}, result(m.Swap("k", "new")))
	again(remove)
	require.Equal(t, outcome{"", false}, result(m.LoadAndDelete("k")))
	again(store)
	require.Equal(t, outcome{"other", true}, result(m.LoadAndDelete("k")))
	for _, what := range []Action{Store, Delete, Cancel} {
		var seen []string
		again(store)
		_, _, err := m.Compute("k", func(old string, ok bool) (string, Action) {
			seen = append(seen, old)
			return old + "+", what
		})
		require.NoError(t, err)
		require.Equal(t, "old", seen[0])
		if what != Cancel {
			require.Equal(t, []string{"old", "other"}, seen)
		}
	}
	again(store)
	v, ok := m.Encoded.Load("k")
	require.True(t, ok)
	require.Equal(t, "old", *v, "as it was when it was read")
	v, _ = m.Encoded.Load("k")
	require.Equal(t, "other", *v)
}

// What LoadInto finds in *v does not shine through.
func TestEncoded_LoadInto(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := createEncoded[string](t, a, "m", JSON[config](), nil)
	require.NoError(t, m.Store("k", configOf(3)))
	v := configOf(2)
	require.True(t, yes(t)(m.LoadInto("k", &v)))
	require.Equal(t, configOf(3), v)
	require.False(t, yes(t)(m.LoadInto("other", &v)))
	require.Zero(t, v)
	long := strings.Repeat("x", keyLimit+1)
	require.False(t, yes(t)(m.LoadInto(long, &v)))
	_, ok := m.Load(long)
	require.False(t, ok)
	refusesUpdates(t, m, long, v, ErrTooLarge)
	require.ErrorIs(t, m.Store(long, v), ErrTooLarge)
}

// A function of Compute may change what it was given, and decide against it.
func TestEncoded_ComputeCancel(t *testing.T) {
	a := shmtest.Heap(t, roomy)
	m := createEncoded[string](t, a, "m", JSON[config](), nil)
	require.NoError(t, m.Store("k", configOf(2)))
	before, _ := m.Encoded.Load("k")
	spoil := func(c config, ok bool) (config, Action) {
		c.Limit["a"], c.Hosts[0], c.Next.Name = 99, "spoilt", "spoilt"
		return c, Cancel
	}
	require.Equal(t, outcome{configOf(2), true}, got[config](t)(m.Compute("k", spoil)))
	after, _ := m.Encoded.Load("k")
	require.Same(t, before, after)
	require.Equal(t, configOf(2), *after)
	require.PanicsWithValue(t, "hashmap: Compute: the function has returned Action(9)", func() {
		_, _, _ = m.Compute("k", to(config{}, Action(9)))
	})
	require.NoError(t, m.Store("k", configOf(3)))
}

func TestEncoded_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := createEncoded[string](t, a, "m", JSON[config](), nil)
	r := openEncoded[string](t, again(t, a), "m", JSON[config](), nil)
	for i := range 200 {
		k := key16(i % 50)
		require.NoError(t, m.Store(k, configOf(i)))
		one, ok := r.Encoded.Load(k)
		require.True(t, ok)
		require.Equal(t, configOf(i), *one)
		two, _ := r.Encoded.Load(k)
		require.Same(t, one, two)
	}
	require.Equal(t, contents(t, m), contents(t, r))
	refusesUpdates(t, r, key16(1), configOf(1), ErrReadOnly)
	refusesUpdates(t, r, "other", configOf(1), ErrReadOnly)
	require.ErrorIs(t, r.Store("k", configOf(1)), ErrReadOnly)
	require.ErrorIs(t, r.Clear(), ErrReadOnly)
	_, err := OpenOrCreateEncoded[string](again(t, a), "new", JSON[config](), nil)
	require.ErrorIs(t, err, ErrReadOnly)
}

// A handle or a map that has ended answers nothing, whatever it remembers.
func TestEncoded_Ended(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := createEncoded[string](t, a, "m", JSON[config](), nil)
		closed, late := openEncoded[string](t, a, "m", JSON[config](), nil), openEncoded[string](t, a, "m", JSON[config](), nil)
		far := openEncoded[string](t, b, "m", JSON[config](), nil)
		require.NoError(t, m.Store("k", configOf(1)))
		for _, h := range []values[string, config]{m, closed, late, far} {
			require.Len(t, contents(t, h), 1)
		}
		ended := func(h values[string, config], why error) {
			t.Helper()
			v, ok := h.Encoded.Load("k")
			require.Nil(t, v)
			require.False(t, ok)
			var own config
			ok, err := h.LoadInto("k", &own)
			require.False(t, ok)
			require.ErrorIs(t, err, why)
			require.ErrorIs(t, h.Err(), why)
			refusesUpdates(t, h, "k", configOf(1), why)
		}
		require.NoError(t, closed.Close())
		ended(closed, ErrClosed)
		was := late.raw.open.Swap(shut) // what Close does first
		ended(late, ErrClosed)
		late.raw.open.Store(was)
		require.NoError(t, a.Remove("m"))
		for _, h := range []values[string, config]{m, late, far} {
			ended(h, ErrRemoved)
		}
	})
}

// Any byte of the values and of the label may be another one.
func TestEncoded_Hostile(t *testing.T) {
	seg := shmtest.Segment(t, small)
	a := shmtest.OnSegment(t, seg, small)
	m := createEncoded[string](t, a, "m", JSON[config](), &Options{Capacity: 20})
	for i := range 20 {
		require.NoError(t, m.Store(key16(i), configOf(i)))
	}
	frame, err := a.Freeze()
	require.NoError(t, err)
	r := seeded(t)
	seen, refused := 0, 0
	tries := 700
	if mem.Race {
		tries = 200 // one goroutine
	}
	for range tries {
		damaged := bytes.Clone(frame)
		for range 1 + r.IntN(3) {
			at := r.IntN(len(damaged))
			if name := []byte(`config `); r.IntN(2) == 0 { // somewhere in a value or in the label
				at = nth(damaged, name, r.IntN(30)) + r.IntN(24) - 8
			}
			damaged[max(0, min(at, len(damaged)-1))] ^= 1 << r.IntN(8)
		}
		n, ok := exploreEncoded(damaged, seg.Reserved())
		if seen += n; !ok {
			refused++
		}
	}
	t.Logf("%d values, %d segments refused", seen, refused)
	require.NotZero(t, seen)
}

// nth is where b has text for the n-th time, or the last one.
func nth(b, text []byte, n int) (at int) {
	for range n + 1 {
		i := bytes.Index(b[at+1:], text)
		if i < 0 {
			break
		}
		at += 1 + i
	}
	return at
}

func exploreEncoded(frame []byte, size int64) (n int, ok bool) {
	a, err := arena.Attach(shm.HeapBytes(frame, size+4096), &arena.Options{ReadOnly: true})
	if err != nil {
		return 0, false
	}
	defer a.Close()
	m, err := OpenEncoded[string](a, "m", JSON[config](), nil)
	if err != nil {
		return 0, false
	}
	for range 2 {
		for i := range 22 {
			if _, ok := m.Load(key16(i)); ok {
				n++
			}
			var v config
			_, _ = m.LoadInto(key16(i), &v)
		}
	}
	for range m.All() {
		n++
	}
	_, _ = m.Err(), m.Check()
	return n, m.Close() == nil
}

// What concurrent readers remember is whole, of its key, and never older than
// what they have seen before.
func TestRace_Encoded(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := createEncoded[uint64](t, a, "m", Codec[[]uint64](words{}), &Options{Capacity: 30, Cache: 16})
		other := openEncoded[uint64](t, b, "m", Codec[[]uint64](words{}), &Options{Cache: 16})
		const keys = 20
		for k := range uint64(keys) {
			require.NoError(t, m.Store(k, []uint64{k, 0, 0}))
		}
		read := func(h values[uint64, []uint64]) func(r *rand.Rand) error {
			return func(r *rand.Rand) error {
				k, last := r.Uint64N(keys), uint64(0)
				for range 8 {
					v, ok := h.Encoded.Load(k)
					if !ok {
						return fmt.Errorf("key %d is missing: %w", k, h.Err())
					}
					if err := wholeWords(k, *v); err != nil {
						return err
					}
					if (*v)[1] < last {
						return fmt.Errorf("key %d: %d after %d", k, (*v)[1], last)
					}
					last = (*v)[1]
					var own []uint64
					if _, err := h.LoadInto(k, &own); err != nil {
						return err
					}
					if own[1] < last {
						return fmt.Errorf("key %d: own %d after %d", k, own[1], last)
					}
					last = own[1]
				}
				return nil
			}
		}
		write := func(h values[uint64, []uint64]) func(r *rand.Rand) error {
			return func(r *rand.Rand) error {
				k := r.Uint64N(keys)
				_, _, err := h.Compute(k, func(v []uint64, _ bool) ([]uint64, Action) {
					n := v[1] + 1
					v = append(v[:1], slices.Repeat([]uint64{n}, 2+int(n%400))...)
					return v, Store
				})
				return err
			}
		}
		crowd(t, 400*time.Millisecond, read(m), read(other), write(m), write(other))
	})
}

// words is a codec of its own for lists of numbers.
type words struct{}

func (words) Name() string { return "words" }

func (words) Append(dst []byte, v []uint64) ([]byte, error) {
	for _, w := range v {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst, nil
}

func (words) Decode(src []byte, v *[]uint64) error {
	if len(src)%8 != 0 {
		return errors.New("odd bytes")
	}
	for ; len(src) > 0; src = src[8:] {
		*v = append(*v, binary.LittleEndian.Uint64(src))
	}
	return nil
}

func wholeWords(k uint64, v []uint64) error {
	if len(v) < 3 || v[0] != k {
		return fmt.Errorf("key %d: wrong: %v", k, v)
	}
	for _, w := range v[2:] {
		if w != v[1] {
			return fmt.Errorf("key %d: torn: %v", k, v)
		}
	}
	return nil
}
