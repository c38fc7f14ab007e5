//go:build crash

package hashmap

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/shm"
)

// crowdIt fills the map of a scene until a segment is to be replaced, by a larger
// one or by two. Their entries lie partly behind their home buckets.
func crowdIt(most uint64, deep bool) func(m *Map[string, []byte]) {
	return func(m *Map[string, []byte]) {
		if most != 0 {
			m.plan.most = most
		}
		for i := 0; ; i++ {
			d, s, err := m.peek(m.crowded.Load())
			if m.crowded.Load() != 0 && err == nil && (s.Depth == d.Bits) == deep {
				return
			}
			must(0, m.Store(fmt.Sprint("crowd", i), nil))
		}
	}
}

// splitting is a scene whose operation is one that has to split a segment first.
func splitting(enter func(m *Map[string, []byte])) *scene {
	s := &scene{before: several(2)}
	s.enter = func(m *Map[string, []byte]) {
		enter(m)
		s.after = textIn(m)
		s.after["new"] = "entry"
	}
	s.do = func(m *Map[string, []byte]) error {
		h := m.crowded.Load()
		_, was, _ := m.peek(h)
		err := m.Store("new", []byte("entry"))
		// The new entry may have filled another segment, whose turn comes next.
		if _, is, _ := m.peek(h); h == 0 || is.Word == was.Word {
			return fmt.Errorf("the segment was not split")
		}
		return err
	}
	return s
}

func textIn(m *Map[string, []byte]) map[string]string {
	all := make(map[string]string)
	for k, v := range m.All() {
		all[k] = string(v)
	}
	return all
}

func TestCrash_Map_Widen(t *testing.T) { eachTick(t, splitting(crowdIt(0, true))) }

// The directory has a word for each segment: it is doubled.
func TestCrash_Map_SplitAndDouble(t *testing.T) { eachTick(t, splitting(crowdIt(7, true))) }

func TestCrash_Map_Split(t *testing.T) { eachTick(t, splitting(crowdIt(7, false))) }

// There is no room to split: the write is done all the same.
func TestCrash_Map_CannotSplit(t *testing.T) {
	s := splitting(crowdIt(7, false))
	enter, do := s.enter, s.do
	s.enter = func(m *Map[string, []byte]) {
		enter(m)
		for n := 9000; n > 400; n -= 100 {
			for i := 0; m.object.Err() == nil && m.Store(fmt.Sprint("ballast", n, i), make([]byte, n)) == nil; i++ {
			}
		}
		m.crowded.Store(1)
		s.after = textIn(m)
		s.after[hot] = "entry"
	}
	s.do = func(m *Map[string, []byte]) error {
		_ = do
		return m.Store(hot, []byte("entry"))
	}
	eachTick(t, s)
}

func TestCrash_Map_Clear(t *testing.T) {
	clear := func(m *Map[string, []byte]) error { return m.Clear() }
	eachTick(t, &scene{before: several(9), do: clear, after: map[string]string{}})
}

func TestCrash_Map_ReplaceAll(t *testing.T) {
	after := map[string]string{hot: "new", "other": "entry", "third": "one"}
	content := make(map[string][]byte)
	for k, v := range after {
		content[k] = []byte(v)
	}
	exchange := func(m *Map[string, []byte]) error { return m.ReplaceAll(maps.All(content)) }
	eachTick(t, &scene{before: several(5), do: exchange, after: after})
}

// An exchange that fails leaves the content, wherever it is cut off.
func TestCrash_Map_ReplaceAllFull(t *testing.T) {
	content := map[string][]byte{"a": []byte("1"), "b": make([]byte, 200<<10)}
	exchange := func(m *Map[string, []byte]) error {
		if m.ReplaceAll(maps.All(content)) == nil {
			return fmt.Errorf("there was room")
		}
		return nil
	}
	eachTick(t, &scene{before: several(5), do: exchange, after: several(5)})
}

// Whoever exchanges the content is killed at every tick. The others read and
// write meanwhile, and their writes free what he has left, a piece at a time.
func TestCrash_Map_LeftoversGo(t *testing.T) {
	s := &scene{before: several(9), do: func(m *Map[string, []byte]) error { return m.Clear() }, after: map[string]string{}}
	run := s.setup(t)
	frames, _ := shmtest.Freeze(run.Segment, run.Do)
	for _, frame := range frames {
		seg := shm.HeapBytes(frame, run.Segment.Reserved())
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		m, err := Open[string, []byte](a, "m", nil)
		require.NoError(t, err)
		before := textIn(m)
		for range 300 {
			require.NoError(t, m.Store("mine", []byte("1")))
		}
		before["mine"] = "1"
		require.Equal(t, before, textIn(m))
		require.Zero(t, m.tree.Dir(1-tree.SideOf(m.version.Load())).Load(), "nothing is left of the other side")
		shmtest.Clean(t, a)
		require.NoError(t, m.Close())
		require.NoError(t, a.Close())
	}
	t.Logf("%d ticks", len(frames))
}

// A reader is stopped at every tick of a split, a doubling or an exchange that
// another one makes: he reads before it, after it, and across it.
func TestCrash_Map_ReadAtEveryTick(t *testing.T) {
	changes := map[string]func(m *Map[string, []byte]){
		"widen":  func(m *Map[string, []byte]) { crowdIt(0, true)(m); must(0, m.Store("new", nil)) },
		"double": func(m *Map[string, []byte]) { crowdIt(7, true)(m); must(0, m.Store("new", nil)) },
		"split":  func(m *Map[string, []byte]) { crowdIt(7, false)(m); must(0, m.Store("new", nil)) },
		"exchange": func(m *Map[string, []byte]) {
			must(0, m.ReplaceAll(func(yield func(string, []byte) bool) { yield(hot, []byte("value 0")) }))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			seg := shmtest.Segment(t, tiny)
			a, b := shmtest.OnSegment(t, seg, tiny), shmtest.OnSegment(t, seg, tiny)
			m := create[string, []byte](t, a, "m", &Options{Capacity: 50})
			reader := open[string, []byte](t, b, "m")
			require.NoError(t, m.Store(hot, []byte("value 0")))
			ticks := int64(0)
			fault.Reset()
			fault.SetHook(func(n int64) {
				ticks = n
				v, ok := reader.Load(hot)
				if !ok || string(v) != "value 0" {
					t.Errorf("tick %d: %q, %v, %v", n, v, ok, reader.Err())
				}
				times := 0
				for k := range reader.Keys() {
					if k == hot {
						times++
					}
				}
				if times != 1 {
					t.Errorf("tick %d: the key is yielded %d times", n, times)
				}
			})
			defer fault.Reset()
			change(m)
			fault.SetHook(nil)
			t.Logf("%d ticks", ticks)
		})
	}
}

// lapsing is a scene in which a key has expired; hot and "later" live on.
func lapsing(do func(m *Map[string, []byte]) error, changes ...string) *scene {
	dial := new(sundial)
	s := &scene{do: func(m *Map[string, []byte]) error { return do(m) }}
	s.enter = func(m *Map[string, []byte]) {
		dial.at = 0
		dial.rule(&m.table)
		must(0, m.StoreTTL("gone", []byte("1"), time.Second))
		must(0, m.StoreTTL("later", []byte("2"), time.Hour))
		must(0, m.Store(hot, []byte("3")))
		dial.at = time.Minute
		s.after = with(textIn(m), changes...)
	}
	s.opened = func(m *Map[string, []byte]) { dial.rule(&m.table) }
	return s
}

func TestCrash_Map_TTL(t *testing.T) {
	do := func(f func(m *Map[string, []byte]) error) func(m *Map[string, []byte]) error { return f }
	eachTick(t, lapsing(do(func(m *Map[string, []byte]) error { return m.StoreTTL("gone", []byte("4"), time.Hour) }), "gone", "4"))
	eachTick(t, lapsing(do(func(m *Map[string, []byte]) error { return second(m.Expire("later", time.Millisecond)) })))
	eachTick(t, lapsing(do(func(m *Map[string, []byte]) error { return second(m.Persist("later")) })))
	eachTick(t, lapsing(do(func(m *Map[string, []byte]) error { return second(m.PurgeExpired(5)) })))
	eachTick(t, lapsing(do(func(m *Map[string, []byte]) error { return second(m.Delete("gone")) })))
}

// The slot of an expired entry is taken for another key.
func TestCrash_Map_TTLSlot(t *testing.T) {
	s := lapsing(storing(key16(20), "entry"), key16(20), "entry")
	enter := s.enter
	s.chain = true
	s.enter = func(m *Map[string, []byte]) {
		for i := range bucketSlots - 1 {
			must(0, m.Store(key16(i), nil))
		}
		must(0, m.StoreTTL(key16(15), []byte("gone too"), time.Second))
		enter(m)
	}
	eachTick(t, s)
}

// Whoever exchanges the content is killed at every tick, and so taken to recovery;
// at every tick of that, another process exchanges the content and writes. What
// the dead one's records are about may not be used again before they are settled.
func TestCrash_Map_ExchangeInRecovery(t *testing.T) {
	o := &arena.Options{Size: 256 << 10, MaxSize: 256 << 10, Processes: 4, Objects: 4}
	seg := shmtest.Segment(t, o)
	m := create[uint64, uint64](t, shmtest.OnSegment(t, seg, o), "m", &Options{Capacity: 8})
	for i := range uint64(8) {
		require.NoError(t, m.Store(i, i))
	}
	frames, _ := shmtest.Freeze(seg, func() { require.NoError(t, m.Clear()) })
	total := 0
	for f, frame := range frames {
		ticks, err := recoverBesideExchange(shmtest.Thaw(frame, seg), 0)
		require.NoError(t, err, "frame %d", f)
		for k := int64(1); k <= ticks; k++ {
			_, err := recoverBesideExchange(shmtest.Thaw(frame, seg), k)
			require.NoError(t, err, "frame %d, tick %d of its recovery", f, k)
			total++
		}
	}
	t.Logf("%d ticks", total)
}

// recoverBesideExchange recovers a segment; at tick k of that, if there is one,
// another process comes, unless it would wait for a lock that is being held.
func recoverBesideExchange(seg *shm.Segment, k int64) (ticks int64, err error) {
	fault.Reset()
	defer fault.Reset()
	var other error
	fault.SetHook(func(n int64) {
		if ticks = n; n == k {
			other = exchangeBeside(seg)
		}
	})
	a, err := arena.Attach(seg, nil)
	fault.SetHook(nil)
	if err != nil {
		return ticks, errors.Join(err, other)
	}
	_, err = a.Recover()
	_, wrong := a.Check()
	return ticks, errors.Join(other, err, wrong)
}

func exchangeBeside(seg *shm.Segment) error {
	for off := uint64(0); off+8 <= seg.View().Limit(); off += 8 {
		word := mem.Must[psync.Word64](seg.View(), off).Load()
		if word&0xffff0 == 0 && psync.IDOf(word) == psync.MakeID(1, 1) {
			return nil // a lock of the one who recovers
		}
	}
	a, err := arena.Attach(seg, nil)
	if err != nil {
		return err
	}
	m, err := Open[uint64, uint64](a, "m", nil)
	for i := range uint64(200) {
		if i%50 == 0 && err == nil {
			err = m.Clear()
		}
		if err == nil {
			err = m.Store(i, i)
		}
	}
	return errors.Join(err, a.Close())
}
