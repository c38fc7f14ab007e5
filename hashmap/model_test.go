package hashmap

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// model drives a map and a builtin one with the same operations.
type model[K comparable, V any] struct {
	t       testing.TB
	handles []verbal[K, V]  // all on one map; used in turn
	pick    func(n int) int // nil; or which of n handles is used
	want    map[K]V
	same    func(V, V) bool
	add     func(h verbal[K, V], k K) (sum, delta V, err error) // nil: V is no number
	sum     func(V, V) V
	grows   bool // so that a write of a new key may have to be tried again
	full    int  // operations that found no room
	step    int
}

func newModel[K comparable, V any](t testing.TB, same func(V, V) bool, handles ...verbal[K, V]) *model[K, V] {
	return &model[K, V]{t: t, handles: handles, want: make(map[K]V), same: same}
}

func (m *model[K, V]) handle() verbal[K, V] {
	m.step++
	if m.pick != nil {
		return m.handles[m.pick(len(m.handles))]
	}
	return m.handles[m.step%len(m.handles)]
}

// tables are those of handles that are maps themselves.
func (m *model[K, V]) tables() (all []*table) {
	for _, h := range m.handles {
		all = append(all, &h.(*Map[K, V]).table)
	}
	return all
}

// claim fails the test if it is false. It saves the time of require where
// that is most of a step.
func (m *model[K, V]) claim(ok bool, format string, args ...any) {
	if !ok {
		m.t.Helper()
		require.FailNow(m.t, fmt.Sprintf("step %d: ", m.step)+fmt.Sprintf(format, args...))
	}
}

func (m *model[K, V]) load(k K) {
	got, ok := m.handle().Load(k)
	want, there := m.want[k]
	m.claim(ok == there, "Load(%v): found %v, want %v", k, ok, there)
	m.claim(m.same(got, want), "Load(%v) = %v, want %v", k, got, want)
}

func (m *model[K, V]) store(k K, v V) {
	err := m.handle().Store(k, v)
	if errors.Is(err, ErrFull) {
		m.full++
		m.load(k)
		return
	}
	m.claim(err == nil, "Store(%v): %v", k, err)
	m.want[k] = v
}

func (m *model[K, V]) delete(k K) {
	ok, err := m.handle().Delete(k)
	_, there := m.want[k]
	m.claim(err == nil && ok == there, "Delete(%v) = %v, %v, want %v", k, ok, err, there)
	delete(m.want, k)
}

// failed reports whether a verb has found no room; then nothing has changed.
func (m *model[K, V]) failed(what string, k K, err error) bool {
	if errors.Is(err, ErrFull) {
		m.full++
		m.load(k)
		return true
	}
	m.claim(err == nil, "%s(%v): %v", what, k, err)
	return false
}

// verb carries out one of the verbs that look before they write.
func (m *model[K, V]) verb(which int, k K, v V) {
	h := m.handle()
	want, there := m.want[k]
	m.claim(h.Contains(k) == there, "Contains(%v), want %v", k, there)
	switch which % 8 {
	case 0:
		got, loaded, err := h.LoadOrStore(k, v)
		if m.failed("LoadOrStore", k, err) {
			m.claim(!there, "LoadOrStore(%v): ErrFull, and it is there", k)
			return
		}
		if !there {
			want, m.want[k] = v, v
		}
		m.claim(loaded == there && m.same(got, want), "LoadOrStore(%v) = %v, %v, want %v, %v", k, got, loaded, want, there)
	case 1:
		got, loaded, err := h.Swap(k, v)
		if m.failed("Swap", k, err) {
			return
		}
		m.claim(loaded == there && m.same(got, want), "Swap(%v) = %v, %v, want %v, %v", k, got, loaded, want, there)
		m.want[k] = v
	case 2:
		got, loaded, err := h.LoadAndDelete(k)
		m.claim(err == nil && loaded == there && m.same(got, want), "LoadAndDelete(%v) = %v, %v, %v, want %v, %v", k, got, loaded, err, want, there)
		delete(m.want, k)
	case 3, 4:
		m.compare(h, k, v, which%8 == 3)
	case 5, 6:
		m.compute(h, k, v, Action(which/8%3))
	case 7:
		m.count(h, k)
	}
}

// compare compares with the value that is there and with v, which may be it.
func (m *model[K, V]) compare(h verbal[K, V], k K, v V, swap bool) {
	want, there := m.want[k]
	for _, old := range []V{v, want} {
		equal := there && m.same(old, want)
		if !swap {
			ok, err := h.CompareAndDelete(k, old)
			m.claim(err == nil && ok == equal, "CompareAndDelete(%v) = %v, %v, want %v", k, ok, err, equal)
			if ok {
				delete(m.want, k)
				return
			}
			continue
		}
		ok, err := h.CompareAndSwap(k, old, v)
		if m.failed("CompareAndSwap", k, err) {
			m.claim(equal, "CompareAndSwap(%v): ErrFull for a value that is not there", k)
			return
		}
		m.claim(ok == equal, "CompareAndSwap(%v) = %v, want %v", k, ok, equal)
		if ok {
			m.want[k] = v
			return
		}
	}
}

func (m *model[K, V]) compute(h verbal[K, V], k K, v V, what Action) {
	want, there := m.want[k]
	calls := 0
	got, ok, err := h.Compute(k, func(old V, ok bool) (V, Action) {
		calls++
		m.claim(ok == there && m.same(old, want), "Compute(%v) gives %v, %v, want %v, %v", k, old, ok, want, there)
		return v, what
	})
	m.claim(calls == 1 || calls > 1 && m.grows, "Compute(%v): %d calls", k, calls)
	if m.failed("Compute", k, err) {
		return
	}
	switch what {
	case Store:
		want, there = v, true
		m.want[k] = v
	case Delete:
		want, there = *new(V), false
		delete(m.want, k)
	}
	m.claim(ok == there && m.same(got, want), "Compute(%v) = %v, %v, want %v, %v", k, got, ok, want, there)
}

func (m *model[K, V]) count(h verbal[K, V], k K) {
	if m.add == nil {
		return
	}
	got, delta, err := m.add(h, k)
	if m.failed("Add", k, err) {
		return
	}
	want := m.sum(m.want[k], delta)
	m.claim(m.same(got, want), "Add(%v) = %v, want %v", k, got, want)
	m.want[k] = want
}

func (m *model[K, V]) all() {
	h := m.handle()
	got := maps.Collect(h.All())
	m.claim(maps.EqualFunc(m.want, got, m.same), "All: %d entries, want %d", len(got), len(m.want))
	m.claim(h.Len() == len(m.want), "Len() = %d, want %d", h.Len(), len(m.want))
	n := 0
	for k := range h.Keys() {
		_, there := m.want[k]
		m.claim(there, "Keys: %v, which is not there", k)
		n++
	}
	for range h.Values() {
		n++
	}
	m.claim(n == 2*len(m.want), "Keys and Values: %d, want %d of each", n, len(m.want))
	require.NoError(m.t, h.Check())
}

// run carries n random operations out. Most keys live for a while: the share of
// deletes swings.
func (m *model[K, V]) run(r *rand.Rand, n int, key func() K, value func() V) {
	for i := range n {
		k := key()
		switch p := r.IntN(100); {
		case p < 20:
			m.load(k)
		case p < 45:
			m.verb(r.IntN(8*3), k, value())
		case p < 70+15*(i/2000%2):
			m.store(k, value())
		default:
			m.delete(k)
		}
		if i%2500 == 0 {
			m.all()
		}
	}
	m.all()
}

func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// randomBytes returns values of up to n bytes, most of them short.
func randomBytes(r *rand.Rand, n int) func() []byte {
	return func() []byte {
		return bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(1+r.IntN(n)))
	}
}

func TestModel_Bytes(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		r := seeded(t)
		a, b := opener(roomy)
		m := newModel(t, bytes.Equal, create[string, []byte](t, a, "m", &Options{Capacity: 10_000}), open[string, []byte](t, b, "m"))
		m.run(r, 30_000, func() string { return textOf(r.IntN(41), r.IntN(100)) }, randomBytes(r, 1500))
		require.Zero(t, m.full)
	})
}

func TestModel_Fixed(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		r := seeded(t)
		a, b := opener(roomy)
		same := func(a, b sealed) bool { return a == b }
		m := newModel(t, same, create[point, sealed](t, a, "m", &Options{Capacity: 1000}), open[point, sealed](t, b, "m"))
		m.run(r, 40_000, func() point { return point{X: r.Int32N(1000), Z: 9} }, func() sealed { return seal(r.Uint64(), 1) })
		require.Zero(t, m.full)
	})
}

func sameInt(a, b uint32) bool { return a == b }

// counted has the model add numbers.
func counted[K comparable](r *rand.Rand, m *model[K, uint32]) *model[K, uint32] {
	m.sum = func(a, b uint32) uint32 { return a + b }
	m.add = func(h verbal[K, uint32], k K) (sum, delta uint32, err error) {
		delta = r.Uint32()
		sum, err = Add(h.(*Map[K, uint32]), k, delta)
		return sum, delta, err
	}
	return m
}

// Every key has the same hash: one chain, whose segment is full most of the time.
func TestModel_ConstantHash(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		r := seeded(t)
		a, b := opener(roomy)
		o := &Options{Capacity: 20}
		m := counted(r, newModel(t, sameInt, create[string, uint32](t, a, "m", o), open[string, uint32](t, b, "m")))
		oneChain(t, m.tables()...)
		m.grows = true
		m.run(r, 20_000, func() string { return key16(r.IntN(150)) }, r.Uint32)
		require.NotZero(t, m.full)
	})
}

// oneChain has all keys of 16 bytes in one segment, of 7 buckets and no larger.
func oneChain(t testing.TB, tables ...*table) {
	t.Helper()
	collide(t, 16, tables...)
	for _, h := range tables {
		h.plan.most = h.plan.buckets
	}
}

// A hash that knows little of the key: long chains in every stripe, many equal
// tags, and keys that differ where a comparison could be careless.
func TestModel_WeakHash(t *testing.T) {
	for _, weak := range []secrets{{}, {2: 1}, {2: 1 << 60}, {2: 1 << 20}} {
		r := seeded(t)
		a := shmtest.Heap(t, roomy)
		m := counted(r, newModel(t, sameInt, create[[2]uint64, uint32](t, a, "m", &Options{Capacity: 400})))
		weaken(t, weak, m.tables()...)
		m.run(r, 20_000, func() [2]uint64 { return [2]uint64{r.Uint64N(16), r.Uint64N(16)} }, r.Uint32)
	}
}

// Keys of one hash that differ in a few bits of their first or last word.
func TestModel_NearKeys(t *testing.T) {
	r := seeded(t)
	a := shmtest.Heap(t, roomy)
	m := counted(r, newModel(t, sameInt, create[[2]uint64, uint32](t, a, "m", nil)))
	collide(t, 16, m.tables()...)
	m.run(r, 50_000, func() [2]uint64 { return [2]uint64{r.Uint64N(8), r.Uint64N(8)} }, r.Uint32)
	require.Zero(t, m.full)
}

// An arena that is full most of the time, and values that need all kinds of
// blocks of it.
func TestModel_FullArena(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		r := seeded(t)
		a, b := opener(&arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 8})
		m := newModel(t, bytes.Equal, create[string, []byte](t, a, "m", &Options{Capacity: 400}), open[string, []byte](t, b, "m"))
		m.run(r, 20_000, func() string { return key16(r.IntN(400)) }, randomBytes(r, 10_000))
		require.NotZero(t, m.full)
	})
}

// FuzzMapOps reads operations of two bytes each: which one, and with what key.
// The first byte of all chooses the hash, the second one the room there is.
func FuzzMapOps(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 1, 2, 2, 1, 3, 0})
	f.Add(append([]byte{1, 0}, bytes.Repeat([]byte{1, 7, 1, 8, 2, 7}, 40)...))
	long := []byte{1, 1}
	for i := range 200 {
		long = append(long, byte(i%6), byte(i*3))
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) < 2 || len(ops) > 4000 {
			return
		}
		a := shmtest.Heap(t, &arena.Options{Size: 48 << 10, MaxSize: 64<<10 + int64(ops[1])<<10, Processes: 4, Objects: 8})
		m := newModel(t, bytes.Equal, create[string, []byte](t, a, "m", &Options{Capacity: 100}), open[string, []byte](t, a, "m"))
		if ops[0]%2 == 1 {
			collide(t, 16, m.tables()...)
		}
		m.grows = true
		for i := 2; i+1 < len(ops); i += 2 {
			k := textOf(int(ops[i+1])%41, int(ops[i+1]))
			if ops[0]%2 == 1 {
				k = key16(int(ops[i+1]))
			}
			switch ops[i] % 6 {
			case 0:
				m.load(k)
			case 1, 2:
				m.store(k, bytes.Repeat(ops[i+1:i+2], int(ops[i]>>2)*int(ops[i+1])))
			case 3:
				m.delete(k)
			case 4:
				m.all()
			case 5:
				m.verb(int(ops[i]/6), k, bytes.Repeat(ops[i+1:i+2], int(ops[i]>>2)))
			}
		}
		m.all()
	})
}
