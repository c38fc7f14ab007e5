package hashmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// The model, with handles in other processes: each operation goes to one of them, and
// its result comes back, in a line of JSON each.

func init() { roles["modeler"] = modeler }

// order is an operation on its way to a process.
type order[V any] struct {
	Verb       string
	Key        []byte // not a string: those of JSON are no bytes
	Value, Old V
	Action     Action
	Pairs      []keyed[V]
}

type keyed[V any] struct {
	Key   []byte
	Value V
}

// reply is what comes back; with More it is not yet the result.
type reply[V any] struct {
	keyed[V]
	OK, More, Full bool
	N              int
	Err            string
}

// modeler is a process that does operations: arguments are the arena, its directory,
// the kind of value, and what the hash is.
func modeler(args []string) int {
	a, err := arena.Open(args[0], &arena.Options{Dir: args[1]})
	shmtest.Must(err)
	if args[2] == "numbers" {
		return serve(openModel[uint32](a, args[3]), func(m *Map[string, uint32], k string, delta uint32) (uint32, error) { return Add(m, k, delta) })
	}
	return serve[[]byte](openModel[[]byte](a, args[3]), nil)
}

func openModel[V any](a *arena.Arena, hash string) *Map[string, V] {
	m, err := Open[string, V](a, "m", nil)
	shmtest.Must(err)
	if hash == "constant" {
		m.secrets, m.plan.most = colliding(16), m.plan.buckets
	}
	return m
}

func serve[V any](m *Map[string, V], add func(*Map[string, V], string, V) (V, error)) int {
	for {
		line := shmtest.Hear()
		if line == "" {
			shmtest.Must(m.Close())
			return 0
		}
		var o order[V]
		shmtest.Must(json.Unmarshal([]byte(line), &o))
		r, err := carryOut(m, &o, add)
		if err != nil {
			r.Err, r.Full = err.Error(), errors.Is(err, ErrFull)
		}
		say(r)
	}
}

func say[V any](r reply[V]) {
	line, err := json.Marshal(r)
	shmtest.Must(err)
	shmtest.Say("%s", line)
}

// carryOut does one operation.
func carryOut[V any](m *Map[string, V], o *order[V], add func(*Map[string, V], string, V) (V, error)) (r reply[V], err error) {
	k := string(o.Key)
	switch o.Verb {
	case "Load":
		r.Value, r.OK = m.Load(k)
	case "Store":
		err = m.Store(k, o.Value)
	case "Delete":
		r.OK, err = m.Delete(k)
	case "Contains":
		r.OK = m.Contains(k)
	case "LoadOrStore":
		r.Value, r.OK, err = m.LoadOrStore(k, o.Value)
	case "Swap":
		r.Value, r.OK, err = m.Swap(k, o.Value)
	case "LoadAndDelete":
		r.Value, r.OK, err = m.LoadAndDelete(k)
	case "CompareAndSwap":
		r.OK, err = m.CompareAndSwap(k, o.Old, o.Value)
	case "CompareAndDelete":
		r.OK, err = m.CompareAndDelete(k, o.Old)
	case "Compute":
		r.Value, r.OK, err = m.Compute(k, asked[V])
	case "Add":
		r.Value, err = add(m, k, o.Value)
	default:
		return carryOutAll(m, o)
	}
	return r, err
}

// asked has the other process say what becomes of a value.
func asked[V any](old V, ok bool) (V, Action) {
	say(reply[V]{keyed: keyed[V]{Value: old}, OK: ok, More: true})
	var o order[V]
	shmtest.Must(json.Unmarshal([]byte(shmtest.Hear()), &o))
	return o.Value, o.Action
}

// carryOutAll does one that is about all entries.
func carryOutAll[V any](m *Map[string, V], o *order[V]) (r reply[V], err error) {
	switch o.Verb {
	case "All":
		for k, v := range m.All() {
			say(reply[V]{keyed: keyed[V]{[]byte(k), v}, More: true})
		}
	case "Keys":
		for k := range m.Keys() {
			say(reply[V]{keyed: keyed[V]{Key: []byte(k)}, More: true})
		}
	case "Values":
		for v := range m.Values() {
			say(reply[V]{keyed: keyed[V]{Value: v}, More: true})
		}
	case "ReplaceAll":
		err = m.ReplaceAll(func(yield func(string, V) bool) {
			for _, p := range o.Pairs {
				if !yield(string(p.Key), p.Value) {
					return
				}
			}
		})
	case "Clear":
		err = m.Clear()
	case "Len":
		r.N = m.Len()
	case "Check":
		err = m.Check()
	case "Err":
		err = m.Err()
	default:
		shmtest.Fail("there is no verb %q", o.Verb)
	}
	return r, err
}

// remote is a handle of another process.
type remote[V any] struct {
	t     testing.TB
	child *shmtest.Child
}

func (m *remote[V]) send(o order[V]) {
	line, err := json.Marshal(o)
	require.NoError(m.t, err)
	m.child.Tell(string(line))
}

func (m *remote[V]) hear() (r reply[V]) {
	line, ok := m.child.Line()
	if !ok {
		m.child.Wait() // says why
		require.FailNow(m.t, "a process has ended")
	}
	require.NoError(m.t, json.Unmarshal([]byte(line), &r), line)
	return r
}

func (m *remote[V]) do(o order[V]) (r reply[V], err error) {
	m.send(o)
	r = m.hear()
	return r, r.err()
}

// err is the error that the operation has returned, as far as the model wants to know.
func (r *reply[V]) err() error {
	switch {
	case r.Full:
		return fmt.Errorf("%w: %s", ErrFull, r.Err)
	case r.Err != "":
		return errors.New(r.Err)
	}
	return nil
}

// about does an operation on a key.
func (m *remote[V]) about(verb, k string, v, old V) (V, bool, error) {
	r, err := m.do(order[V]{Verb: verb, Key: []byte(k), Value: v, Old: old})
	return r.Value, r.OK, err
}

// each returns what comes back of all entries.
func (m *remote[V]) each(verb string) iter.Seq[keyed[V]] {
	m.send(order[V]{Verb: verb})
	var all []keyed[V]
	r := m.hear()
	for ; r.More; r = m.hear() {
		all = append(all, r.keyed)
	}
	require.Empty(m.t, r.Err)
	return slices.Values(all)
}

func (m *remote[V]) Load(k string) (V, bool) {
	v, ok, err := m.about("Load", k, *new(V), *new(V))
	require.NoError(m.t, err)
	return v, ok
}

func (m *remote[V]) Store(k string, v V) error {
	_, _, err := m.about("Store", k, v, v)
	return err
}

func (m *remote[V]) Delete(k string) (bool, error) {
	_, ok, err := m.about("Delete", k, *new(V), *new(V))
	return ok, err
}

func (m *remote[V]) Contains(k string) bool {
	_, ok, err := m.about("Contains", k, *new(V), *new(V))
	require.NoError(m.t, err)
	return ok
}

func (m *remote[V]) LoadOrStore(k string, v V) (V, bool, error) {
	return m.about("LoadOrStore", k, v, v)
}

func (m *remote[V]) Swap(k string, v V) (V, bool, error) { return m.about("Swap", k, v, v) }

func (m *remote[V]) LoadAndDelete(k string) (V, bool, error) {
	return m.about("LoadAndDelete", k, *new(V), *new(V))
}

func (m *remote[V]) CompareAndSwap(k string, old, v V) (bool, error) {
	_, ok, err := m.about("CompareAndSwap", k, v, old)
	return ok, err
}

func (m *remote[V]) CompareAndDelete(k string, old V) (bool, error) {
	_, ok, err := m.about("CompareAndDelete", k, old, old)
	return ok, err
}

func (m *remote[V]) Compute(k string, f func(V, bool) (V, Action)) (V, bool, error) {
	m.send(order[V]{Verb: "Compute", Key: []byte(k)})
	r := m.hear()
	for r.More {
		v, action := f(r.Value, r.OK)
		m.send(order[V]{Value: v, Action: action})
		r = m.hear()
	}
	return r.Value, r.OK, r.err()
}

func (m *remote[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for p := range m.each("All") {
			if !yield(string(p.Key), p.Value) {
				return
			}
		}
	}
}

func (m *remote[V]) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range m.each("Keys") {
			if !yield(string(p.Key)) {
				return
			}
		}
	}
}

func (m *remote[V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		for p := range m.each("Values") {
			if !yield(p.Value) {
				return
			}
		}
	}
}

func (m *remote[V]) ReplaceAll(seq iter.Seq2[string, V]) error {
	o := order[V]{Verb: "ReplaceAll"}
	for k, v := range seq {
		o.Pairs = append(o.Pairs, keyed[V]{[]byte(k), v})
	}
	_, err := m.do(o)
	return err
}

func (m *remote[V]) Clear() error { return m.tell("Clear") }
func (m *remote[V]) Check() error { return m.tell("Check") }
func (m *remote[V]) Err() error   { return m.tell("Err") }

func (m *remote[V]) tell(verb string) error {
	_, err := m.do(order[V]{Verb: verb})
	return err
}

func (m *remote[V]) Len() int {
	r, err := m.do(order[V]{Verb: "Len"})
	require.NoError(m.t, err)
	return r.N
}

// workers are how many processes do the operations of a list.
const workers = 3

// modelWorld is what the processes of one list work on.
type modelWorld struct {
	t    *testing.T
	a    *arena.Arena
	dir  string
	kind string // of values
	hash string
}

// handles starts the processes.
func handles[V any](w *modelWorld) (all []verbal[string, V]) {
	for range workers {
		all = append(all, &remote[V]{w.t, shmtest.Start(w.t, "modeler", w.a.Name(), w.dir, w.kind, w.hash)})
	}
	return all
}

// dismiss ends them.
func dismiss[V any](all []verbal[string, V]) {
	for _, h := range all {
		child := h.(*remote[V]).child
		child.Tell("")
		child.Wait()
	}
}

// lists runs lists of operations in those processes, and now and then exchanges the
// content. It returns how many found no room.
func lists[V any](w *modelWorld, m *model[string, V], r *rand.Rand, key func() string, value func() V) (full int) {
	m.pick, m.grows = r.IntN, true
	for begun, again := time.Now(), true; again; again = time.Since(begun) < patience(w.t, 0)/6 { // for each that there is
		m.run(r, 500, key, value)
		m.exchange(r.IntN(5), key, value) // all of it is one line
		m.run(r, 500, key, value)
	}
	dismiss(m.handles)
	return m.full
}

// exchange replaces the whole content by n entries, or none.
func (m *model[K, V]) exchange(n int, key func() K, value func() V) {
	all := make(map[K]V)
	for range n {
		all[key()] = value()
	}
	var err error
	if h := m.handle(); n == 0 {
		err = h.Clear()
	} else {
		err = h.ReplaceAll(maps.All(all))
	}
	if errors.Is(err, ErrFull) {
		m.full++
		return
	}
	m.claim(err == nil, "exchange for %d entries: %v", n, err)
	m.want = all
}

var modelWorlds = map[string]func(t *testing.T, dir string){
	"bytes": func(t *testing.T, dir string) {
		r, w := seeded(t), &modelWorld{t, nil, dir, "bytes", "usual"}
		w.a = shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: 8 << 20, Dir: dir})
		create[string, []byte](t, w.a, "m", &Options{Capacity: 1})
		m := newModel(t, bytes.Equal, handles[[]byte](w)...)
		require.Zero(t, lists(w, m, r, func() string { return textOf(r.IntN(41), r.IntN(100)) }, randomBytes(r, 1500)))
	},
	"a full arena": func(t *testing.T, dir string) {
		r, w := seeded(t), &modelWorld{t, nil, dir, "bytes", "usual"}
		w.a = shmtest.Named(t, &arena.Options{Size: 64 << 10, MaxSize: 256 << 10, Processes: 6, Objects: 8, Dir: dir})
		create[string, []byte](t, w.a, "m", &Options{Capacity: 400})
		m := newModel(t, bytes.Equal, handles[[]byte](w)...)
		require.NotZero(t, lists(w, m, r, func() string { return key16(r.IntN(400)) }, randomBytes(r, 10_000)))
	},
	"one chain": func(t *testing.T, dir string) {
		r, w := seeded(t), &modelWorld{t, nil, dir, "numbers", "constant"}
		w.a = shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: 1 << 20, Dir: dir})
		oneChain(t, &create[string, uint32](t, w.a, "m", &Options{Capacity: 20}).table)
		m := newModel(t, sameInt, handles[uint32](w)...)
		m.sum = func(a, b uint32) uint32 { return a + b }
		m.add = func(h verbal[string, uint32], k string) (sum, delta uint32, err error) {
			delta = r.Uint32()
			sum, _, err = h.(*remote[uint32]).about("Add", k, delta, 0)
			return sum, delta, err
		}
		require.NotZero(t, lists(w, m, r, func() string { return key16(r.IntN(150)) }, r.Uint32))
	},
}

// TestModel_Processes is the model with each operation done by another process, chosen at
// random: over shared memory, and over a file in any other place.
func TestModel_Processes(t *testing.T) {
	for name, world := range modelWorlds {
		t.Run(name, func(t *testing.T) {
			t.Run("shared memory", func(t *testing.T) { world(t, "") })
			t.Run("file", func(t *testing.T) { world(t, t.TempDir()) })
		})
	}
}
