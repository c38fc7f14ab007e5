//go:build crash

package hashmap

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/shm"
)

// tiny is the arena of the frozen frames: they are copied and hashed by the
// thousand.
var tiny = &arena.Options{Size: 40 << 10, MaxSize: 128 << 10, Processes: 3, Objects: 4}

// scene is one operation on a map "m", to be cut off at every tick.
type scene struct {
	chain  bool                               // all keys of 16 bytes in one chain
	before map[string]string                  // what is in the map
	size   int64                              // at most, of the arena; 0: that of tiny
	enter  func(m *Map[string, []byte])       // further preparation
	opened func(m *Map[string, []byte])       // what is done to the handle of a survivor
	do     func(m *Map[string, []byte]) error // the operation
	after  map[string]string                  // what is in the map then
	apart  bool                               // until then each key by itself is as before or as after
}

func (s *scene) handle(t *testing.T, m *Map[string, []byte]) *Map[string, []byte] {
	if s.chain {
		collide(t, 16, &m.table)
	}
	return m
}

func (s *scene) setup(t *testing.T) *shmtest.Run {
	o := *tiny
	if s.size != 0 {
		o.MaxSize = s.size
	}
	seg := shmtest.Segment(t, &o)
	a := shmtest.OnSegment(t, seg, &o)
	m, err := Create[string, []byte](a, "m", &Options{Capacity: 50})
	require.NoError(t, err)
	s.handle(t, m)
	for _, k := range slices.Sorted(maps.Keys(s.before)) {
		require.NoError(t, m.Store(k, []byte(s.before[k])))
	}
	if s.enter != nil {
		s.enter(m)
		s.before = textOfAll(t, m)
	}
	return &shmtest.Run{
		Segment: seg,
		Do:      func() { require.NoError(t, s.do(m)) },
		Verify:  s.verify,
	}
}

// verify finds the map as it was before or as it is after, and uses it.
func (s *scene) verify(t *testing.T, a *arena.Arena, whole bool) {
	m, err := Open[string, []byte](a, "m", nil)
	require.NoError(t, err)
	s.handle(t, m)
	if s.opened != nil {
		s.opened(m)
	}
	require.NoError(t, m.Check())
	got := textOfAll(t, m)
	if s.apart && !whole {
		s.eitherWay(t, got)
	} else if whole || !maps.Equal(s.before, got) {
		require.Equal(t, brief(s.after), brief(got))
	}
	tryOut(t, m, hot)
	require.Equal(t, brief(got), brief(textOfAll(t, m)))
	require.NoError(t, m.Check())
	require.NoError(t, m.Close())
}

// eitherWay finds each key as it was before or as it is after, there or not.
func (s *scene) eitherWay(t *testing.T, got map[string]string) {
	t.Helper()
	for _, all := range []map[string]string{s.before, s.after, got} {
		for k := range all {
			before, was := s.before[k]
			after, is := s.after[k]
			v, ok := got[k]
			require.True(t, ok == was && v == before || ok == is && v == after,
				"%s: %v %.40q; before %v %.40q, after %v %.40q", k, ok, v, was, before, is, after)
		}
	}
}

// brief makes messages readable.
func brief(all map[string]string) map[string]string {
	short := maps.Clone(all)
	for k, v := range all {
		if len(v) > 40 {
			short[k] = fmt.Sprintf("%d bytes, hash %x", len(v), xxhash.Sum64String(v))
		}
	}
	return short
}

// textOfAll returns what is in the map, by All, by Load and by Len.
func textOfAll(t *testing.T, m *Map[string, []byte]) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for k, v := range m.All() {
		all[k] = string(v)
		got, ok := m.Load(k)
		require.True(t, ok)
		require.Equal(t, string(v), string(got))
	}
	if m.head.expiring.Load() == 0 {
		require.Equal(t, len(all), m.Len())
	}
	return all
}

// tryOut changes a key and changes it back, as far as there is room.
func tryOut(t *testing.T, m *Map[string, []byte], k string) {
	t.Helper()
	old, was := m.Load(k)
	err := m.Store(k, []byte("another value"))
	if errors.Is(err, ErrFull) {
		return
	}
	require.NoError(t, err)
	if was {
		require.NoError(t, m.Store(k, old))
		return
	}
	_, err = m.Delete(k)
	require.NoError(t, err)
}

// with returns before with changes: "" deletes.
func with(before map[string]string, changes ...string) map[string]string {
	after := maps.Clone(before)
	for i := 0; i < len(changes); i += 2 {
		if after[changes[i]] = changes[i+1]; changes[i+1] == "" {
			delete(after, changes[i])
		}
	}
	return after
}

// several returns n keys of 16 bytes, the first of them hot.
func several(n int) map[string]string {
	all := make(map[string]string)
	for i := range n {
		all[key16(i)] = fmt.Sprint("value ", i)
	}
	return all
}

func storing(k, v string) func(*Map[string, []byte]) error {
	return func(m *Map[string, []byte]) error { return m.Store(k, []byte(v)) }
}

func deleting(k string) func(*Map[string, []byte]) error {
	return func(m *Map[string, []byte]) error {
		ok, err := m.Delete(k)
		if err == nil && !ok {
			err = fmt.Errorf("%s was not there", k)
		}
		return err
	}
}

func eachTick(t *testing.T, s *scene) {
	t.Helper()
	shmtest.EachTick(t, s.setup)
}

func TestCrash_Map_Insert(t *testing.T) {
	eachTick(t, &scene{before: several(3), do: storing("new", "entry"), after: with(several(3), "new", "entry")})
}

func TestCrash_Map_InsertFirst(t *testing.T) {
	eachTick(t, &scene{do: storing(hot, "entry"), after: map[string]string{hot: "entry"}})
}

func TestCrash_Map_Replace(t *testing.T) {
	eachTick(t, &scene{before: several(3), do: storing(hot, "other"), after: with(several(3), hot, "other")})
}

// The old and the new block are of different sizes; one of them is a run.
func TestCrash_Map_ReplaceLarge(t *testing.T) {
	large := strings.Repeat("large", 1200)
	before := with(several(2), hot, large)
	eachTick(t, &scene{before: before, do: storing(cold, large), after: with(before, cold, large)})
	eachTick(t, &scene{before: before, do: storing(hot, "small"), after: with(before, hot, "small")})
}

func TestCrash_Map_Delete(t *testing.T) {
	eachTick(t, &scene{before: several(3), do: deleting(hot), after: with(several(3), hot, "")})
	eachTick(t, &scene{before: several(1), do: deleting(hot), after: map[string]string{}})
}

// A slot that held an entry with another tag is used again.
func TestCrash_Map_InsertAfterDelete(t *testing.T) {
	enter := func(m *Map[string, []byte]) {
		for i := range 40 {
			_ = m.Store(fmt.Sprint("gone", i), nil)
		}
		for i := range 40 {
			_, _ = m.Delete(fmt.Sprint("gone", i))
		}
	}
	eachTick(t, &scene{before: several(2), enter: enter, do: storing("new", "entry"), after: with(several(2), "new", "entry")})
}

// The home bucket is full: it is marked, and the entry goes further; once by
// one bucket and once by three.
func TestCrash_Map_Overflow(t *testing.T) {
	for _, n := range []int{bucketSlots, 3 * bucketSlots} {
		eachTick(t, &scene{chain: true, before: several(n), do: storing(key16(n), "entry"), after: with(several(n), key16(n), "entry")})
	}
}

// Entries behind the home bucket change and go.
func TestCrash_Map_Overflowed(t *testing.T) {
	n := 2*bucketSlots + 1
	last := key16(n - 1)
	eachTick(t, &scene{chain: true, before: several(n), do: storing(last, "other"), after: with(several(n), last, "other")})
	eachTick(t, &scene{chain: true, before: several(n), do: deleting(last), after: with(several(n), last, "")})
	eachTick(t, &scene{chain: true, before: several(n), do: deleting(hot), after: with(several(n), hot, "")})
}

// A key goes and comes back.
func TestCrash_Map_DeleteAndInsert(t *testing.T) {
	n := 2 * bucketSlots
	do := func(m *Map[string, []byte]) error {
		return errors.Join(deleting(cold)(m), storing(cold, "entry")(m))
	}
	s := scene{chain: true, before: several(n), do: do, after: with(several(n), cold, "entry")}
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		run := s.setup(t)
		run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			s.handle(t, m)
			require.NoError(t, m.Check())
			got := textOfAll(t, m)
			if _, there := got[cold]; !there && !whole {
				require.Equal(t, with(s.before, cold, ""), got)
			} else if whole || !maps.Equal(s.before, got) {
				require.Equal(t, s.after, got)
			}
			require.NoError(t, m.Close())
		}
		return run
	})
}

// The slab has no page of the class: it takes one, and the segment grows.
func TestCrash_Map_Refill(t *testing.T) {
	fat := strings.Repeat("fat", 300)
	eachTick(t, &scene{before: several(2), do: storing("new", fat), after: with(several(2), "new", fat)})
}

func TestCrash_Map_Grow(t *testing.T) {
	huge := strings.Repeat("huge", 12_000)
	s := scene{before: several(2), do: storing("new", huge), after: with(several(2), "new", huge)}
	s.enter = func(m *Map[string, []byte]) {
		require.Less(t, m.floor.View.Limit(), uint64(len(huge)), "it must grow")
	}
	eachTick(t, &s)
}

// The arena is full of blocks that were freed and are collected only now.
func TestCrash_Map_Collect(t *testing.T) {
	fat := strings.Repeat("fat", 200)
	s := scene{before: several(2), size: 64 << 10, do: storing("new", fat)}
	s.enter = func(m *Map[string, []byte]) {
		n := 0
		for ; m.Store(fmt.Sprint("fat", n), []byte(fat)) == nil; n++ {
		}
		for i := range n {
			if i%3 == 0 {
				_, _ = m.Delete(fmt.Sprint("fat", i))
			}
		}
		s.after = with(textOfAll(t, m), "new", fat)
	}
	eachTick(t, &s)
}

// An operation that fails leaves nothing, wherever it is cut off.
func TestCrash_Map_Full(t *testing.T) {
	n := fullSegment(t)
	full := several(n)
	do := func(m *Map[string, []byte]) error {
		if err := m.Store(key16(n), nil); !errors.Is(err, ErrFull) {
			return fmt.Errorf("want ErrFull, found %w", err)
		}
		return nil
	}
	eachTick(t, &scene{chain: true, before: full, do: do, after: full})
}

// fullSegment returns how many keys with one hash go into the map of a scene.
func fullSegment(t *testing.T) int {
	m, err := Create[string, []byte](shmtest.Heap(t, tiny, shmtest.Unchecked), "m", &Options{Capacity: 50})
	require.NoError(t, err)
	return int(bucketSlots * m.plan.most)
}

func TestCrash_Map_Create(t *testing.T) {
	setup := func(t *testing.T) *shmtest.Run {
		seg := shmtest.Segment(t, tiny)
		a := shmtest.OnSegment(t, seg, tiny)
		return &shmtest.Run{
			Segment: seg,
			Do: func() {
				_, err := Create[string, []byte](a, "m", nil)
				require.NoError(t, err)
			},
			Verify: func(t *testing.T, a *arena.Arena, whole bool) {
				m, err := Open[string, []byte](a, "m", nil)
				if errors.Is(err, fs.ErrNotExist) {
					require.False(t, whole)
					m, err = Create[string, []byte](a, "m", nil)
				}
				require.NoError(t, err)
				require.Empty(t, textOfAll(t, m))
				require.NoError(t, m.Check())
				tryOut(t, m, hot)
				require.NoError(t, m.Close())
			},
		}
	}
	shmtest.EachTick(t, setup)
}

// Removal: the map with all its entries is there, or nothing of it.
func TestCrash_Map_Remove(t *testing.T) {
	for _, closed := range []bool{false, true} {
		s := scene{before: several(12), do: func(*Map[string, []byte]) error { return nil }}
		shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
			run := s.setup(t)
			a := shmtest.OnSegment(t, run.Segment, tiny)
			for _, o := range a.Objects() {
				require.Equal(t, 1, o.Handles)
			}
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			run.Do = func() {
				if closed {
					require.NoError(t, m.Close())
				}
				require.NoError(t, a.Remove("m"))
			}
			run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
				m, err := Open[string, []byte](a, "m", nil)
				if errors.Is(err, fs.ErrNotExist) {
					require.Zero(t, shmtest.Clean(t, a).UsedBytes)
					return
				}
				require.NoError(t, err)
				require.False(t, whole)
				require.Equal(t, s.before, textOfAll(t, m))
				require.NoError(t, m.Close())
			}
			return run
		})
	}
}

// The map of a name is replaced by another one.
func TestCrash_Map_Rename(t *testing.T) {
	s := scene{before: several(5)}
	shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
		run := s.setup(t)
		a := shmtest.OnSegment(t, run.Segment, tiny)
		next, err := Create[string, []byte](a, "next", &Options{Capacity: 20})
		require.NoError(t, err)
		require.NoError(t, next.Store("k", []byte("next")))
		run.Do = func() { require.NoError(t, a.Rename("next", "m")) }
		run.Verify = func(t *testing.T, a *arena.Arena, whole bool) {
			m, err := Open[string, []byte](a, "m", nil)
			require.NoError(t, err)
			if got := textOfAll(t, m); whole || !maps.Equal(s.before, got) {
				require.Equal(t, map[string]string{"k": "next"}, got)
				_, err = Open[string, []byte](a, "next", nil)
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
			require.NoError(t, m.Close())
		}
		return run
	})
}

// moment is what was true when a frame was taken.
type moment struct {
	frame []byte
	acked int // stores of B that had returned
}

// Two processes die at once: A at tick k of a replace, and B, which wants the
// same stripe, wherever it is then: waiting for the lock if A has it.
func TestCrash_Map_TwoDead(t *testing.T) {
	seg := shmtest.Segment(t, tiny)
	a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
	ma, mb := create[string, []byte](t, a, "m", &Options{Capacity: 50}), open[string, []byte](t, b, "m")
	collide(t, 16, &ma.table, &mb.table)
	require.NoError(t, ma.Store(hot, []byte("old")))
	require.NoError(t, mb.Store(cold, []byte("0")))
	moments := freezeBoth(t, seg, func() error { return ma.Store(hot, []byte("new")) }, func(i int) error {
		return mb.Store(cold, fmt.Append(nil, i))
	}, &mb.table)
	var second int
	for _, m := range moments {
		frames := recoverBoth(t, seg, m)
		for _, f := range frames {
			recoverBoth(t, seg, moment{f, m.acked})
			second++
		}
	}
	t.Logf("%d ticks, and %d of their recoveries", len(moments), second)
}

// freezeBoth freezes the segment at every tick of one operation, when the other
// one, in another goroutine and by the handle tb, has returned or waits for the
// lock.
func freezeBoth(t *testing.T, seg *shm.Segment, one func() error, other func(i int) error, tb *table) (moments []moment) {
	done := make(chan error, 1)
	acked, begun := 0, 0
	settle := func() {
		if begun == acked {
			begun++
			go func() { done <- other(begun) }()
		}
		for limit := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
			select {
			case err := <-done:
				require.NoError(t, err)
				acked = begun
				return
			default:
			}
			if waiting(tb) {
				return
			}
			require.True(t, time.Now().Before(limit), "the other process neither returns nor waits")
		}
	}
	me := goroutine()
	fault.Reset()
	fault.SetHook(func(int64) {
		if goroutine() != me {
			return // the other one goes on, since it has the lock now
		}
		settle()
		moments = append(moments, moment{slices.Clone(must(seg.View().Slice(0, seg.View().Limit()))), acked})
	})
	require.NoError(t, one())
	fault.Reset()
	if begun != acked {
		require.NoError(t, <-done)
	}
	return moments
}

// goroutine names the one that asks.
func goroutine() string {
	text := make([]byte, 40)
	id, _, _ := strings.Cut(string(text[:runtime.Stack(text, false)]), "[")
	return id
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// waiting reports whether the handle's process sleeps on the lock of the first
// stripe. One that has slept takes the lock as its owner with the mark that
// somebody may sleep, and stores then: it does not wait.
func waiting(tb *table) bool {
	word := mem.Cast[psync.Word64](tb.base.Add(tb.stripeAt(0))).Load()
	holder := psync.IDOf(word)
	return word&1 != 0 && holder != 0 && holder != tb.floor.Owner.ID()
}

func recoverBoth(t *testing.T, seg *shm.Segment, at moment) (frames [][]byte) {
	t.Helper()
	copied := shm.HeapBytes(at.frame, seg.Reserved())
	fault.Reset()
	fault.SetHook(func(int64) {
		f := slices.Clone(must(copied.View().Slice(0, copied.View().Limit())))
		if len(frames) == 0 || !slices.Equal(f, frames[len(frames)-1]) {
			frames = append(frames, f)
		}
	})
	a, err := arena.Attach(copied, nil)
	fault.Reset()
	require.NoError(t, err)
	shmtest.Clean(t, a)
	m, err := Open[string, []byte](a, "m", nil)
	require.NoError(t, err)
	collide(t, 16, &m.table)
	require.NoError(t, m.Check())
	got := textOfAll(t, m)
	require.Len(t, got, 2)
	require.Contains(t, []string{"old", "new"}, got[hot])
	require.Contains(t, []string{fmt.Sprint(at.acked), fmt.Sprint(at.acked + 1)}, got[cold])
	tryOut(t, m, hot)
	tryOut(t, m, cold)
	require.NoError(t, m.Check())
	shmtest.Clean(t, a)
	require.NoError(t, a.Close())
	return frames
}

// TestCrash_Map_Stands: at every tick of an operation a search is made, which is
// asked at every later one whether it stands. None does whose entry has been
// freed: a version that was raised before its slot changed would let one. And
// when the operation is over, those that stand have found what is there now.
func TestCrash_Map_Stands(t *testing.T) {
	n := bucketSlots + 1 // one entry is behind the home bucket
	ops := map[string]struct {
		key string
		do  func(m *Map[string, []byte]) error
	}{
		"insert":         {key16(n), storing(key16(n), "value")},
		"replace":        {hot, storing(hot, "value")},
		"replace large":  {hot, storing(hot, strings.Repeat("large", 1200))},
		"replace behind": {key16(n - 1), storing(key16(n-1), "value")},
		"delete":         {hot, deleting(hot)},
		"delete behind":  {key16(n - 1), deleting(key16(n - 1))},
	}
	for what, op := range ops {
		seg := shmtest.Segment(t, tiny)
		a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
		m, r := create[string, []byte](t, a, "m", &Options{Capacity: 50}), open[string, []byte](t, b, "m")
		collide(t, 16, &m.table, &r.table)
		for _, k := range slices.Sorted(maps.Keys(several(n))) {
			require.NoError(t, m.Store(k, []byte("old")))
		}
		type search struct {
			found
			entry uint64 // 0: a miss
		}
		var made []search
		freed := make(map[int64]int) // by tick: searches that stand, and their entry is free
		key := mem.PtrOf([]byte(op.key))
		ask := func(tick int64) {
			for _, s := range made {
				if s.hit && r.stands(&s.found) && !r.floor.Pages.InUse(s.entry) {
					freed[tick]++
				}
			}
			f := r.find(key, 16, hashKey(key, 16, &r.secrets))
			made = append(made, search{f, entryOf(t, &r.table, op.key)})
		}
		fault.Reset()
		fault.SetHook(ask)
		err := op.do(m)
		ticks := fault.Count()
		fault.Reset()
		require.NoError(t, err)
		ask(ticks + 1)
		require.Empty(t, freed, what)
		now := entryOf(t, &r.table, op.key)
		for i, s := range made {
			if r.stands(&s.found) {
				require.Equal(t, now, s.entry, "%s: the search before tick %d", what, i+1)
			}
		}
		t.Logf("%s: %d ticks", what, ticks)
	}
}

// TestB5_StoppedWriter: a writer is stopped before each of its stores while
// another process removes the map and fills the arena with its own things. When
// it goes on, it touches nothing of them.
func TestB5_StoppedWriter(t *testing.T) {
	ops := map[string]func(m *Map[string, []byte]) error{
		"insert": storing("new", "value"), "replace": storing(hot, "value"), "delete": deleting(hot),
	}
	for what, op := range ops {
		ticks := int64(0)
		for k := int64(1); ; k++ {
			seg := shmtest.Segment(t, tiny)
			a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
			m, err := Create[string, []byte](a, "m", &Options{Capacity: 50})
			require.NoError(t, err)
			for key, v := range several(5) {
				require.NoError(t, m.Store(key, []byte(v)))
			}
			var next *Map[string, []byte]
			n := 0
			fault.Reset()
			fault.SetHook(func(tick int64) {
				if tick != k {
					return
				}
				require.NoError(t, b.Remove("m"))
				next = create[string, []byte](t, b, "next", &Options{Capacity: 200})
				for ; next.Store(key16(n), []byte("foreign value")) == nil; n++ {
				}
			})
			if err := op(m); err != nil {
				require.ErrorIs(t, err, ErrRemoved)
			}
			ticks = fault.Count()
			fault.Reset()
			if next == nil {
				break
			}
			require.NoError(t, m.Close())
			require.NoError(t, next.Check())
			require.Equal(t, n, next.Len())
			for i := range n {
				v, ok := next.Load(key16(i))
				require.True(t, ok)
				require.Equal(t, "foreign value", string(v))
			}
			shmtest.Clean(t, b)
		}
		t.Logf("%s: %d ticks", what, ticks)
	}
}

// TestB8_CloseUnder: a handle is closed, and its map removed, while an operation of
// this handle stands before each of its stores: Close waits for it.
func TestB8_CloseUnder(t *testing.T) {
	fill := func(m *Map[string, []byte]) {
		for i := range 60 {
			_ = m.Store(key16(i), []byte("a value"))
		}
	}
	for what, c := range map[string]struct {
		o      Options
		before func(m *Map[string, []byte])
		do     func(m *Map[string, []byte]) error
	}{
		"store": {do: func(m *Map[string, []byte]) error { return m.Store(hot, []byte("new")) }},
		"hits": {o: Options{Limit: 50}, do: func(m *Map[string, []byte]) error {
			for range 3 * ringSize {
				m.Load(hot)
			}
			return nil
		}},
		"counted reads": {o: Options{CountReads: true}, do: func(m *Map[string, []byte]) error {
			m.Load(hot)
			m.Contains("nothing")
			return nil
		}},
		"growth": {
			before: func(m *Map[string, []byte]) {
				for i := 0; m.crowded.Load() == 0; i++ {
					require.NoError(t, m.Store(key16(i), nil))
				}
			},
			do: func(m *Map[string, []byte]) error {
				m.tend()
				return nil
			},
		},
		"a larger directory": {before: fill, do: func(m *Map[string, []byte]) error {
			d, _ := m.look()
			return m.double(d)
		}},
		"clear": {before: fill, do: func(m *Map[string, []byte]) error { return m.Clear() }},
		"replace all": {before: fill, do: func(m *Map[string, []byte]) error {
			return m.ReplaceAll(maps.All(map[string][]byte{hot: nil, "b": nil}))
		}},
		"awaited store": {
			before: func(m *Map[string, []byte]) { m.announce() },
			do:     func(m *Map[string, []byte]) error { return m.Store(hot, []byte("new")) },
		},
		"wait": {
			before: func(m *Map[string, []byte]) { beginChange(&m.stripe(m.stripeOff).changes) },
			do: func(m *Map[string, []byte]) error {
				m.announce()
				m.complete()
				m.complete()
				return nil
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			for k := int64(1); closeUnder(t, k, &c.o, c.before, c.do); k++ {
			}
		})
	}
}

// closeUnder closes the handle before store k of an operation, and reports whether
// there is one.
func closeUnder(t *testing.T, k int64, o *Options, before func(*Map[string, []byte]), do func(*Map[string, []byte]) error) bool {
	if o.Limit == 0 {
		o.Capacity = 50
	}
	seg := shmtest.Segment(t, tiny)
	a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
	m, err := Create[string, []byte](a, "m", o)
	require.NoError(t, err)
	require.NoError(t, m.Store(hot, []byte("old")))
	if before != nil {
		before(m)
	}
	closed := make(chan error, 1)
	happened, early := false, false
	fault.Reset()
	fault.SetHook(func(tick int64) {
		if tick != k {
			return
		}
		happened = true
		go func() { closed <- errors.Join(m.Close(), b.Remove("m")) }()
		for m.open.Load() != shut {
			runtime.Gosched()
		}
		select {
		case err := <-closed: // a store may follow into memory that is not ours
			closed <- err
			early = true
		case <-time.After(2 * time.Millisecond):
		}
	})
	if err := do(m); err != nil {
		require.ErrorIs(t, err, ErrClosed)
	}
	fault.Reset()
	if !happened {
		t.Logf("%d ticks", k-1)
		require.Greater(t, k, int64(1))
		return false
	}
	require.NoError(t, <-closed)
	require.False(t, early, "Close did not wait at tick %d", k)
	require.Zero(t, shmtest.Clean(t, b).UsedBytes)
	return true
}
