package hashmap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// What a process of the storm does. It has a few hands, which are goroutines, and
// each hand has cells: what is in the maps that nobody else changes, and whose state
// is a number therefore. A hand writes into the journal what a cell will be, changes
// the cell, and writes down that it is so. Whatever the verb returns is compared with
// what the cell was.

func init() { roles["stormer"] = stormer }

const (
	stormers   = 8   // processes at a time
	hands      = 2   // of each
	textCells  = 300 // of a hand, in a map of bytes
	codeCells  = 10  // in an encoded map
	countCells = 10  // in a map of numbers
	cells      = textCells + codeCells + countCells + 1

	sharedKeys  = 4   // that all store, and nobody removes
	boundedKeys = 600 // of the map with a limit
	stormLimit  = 300
	loadedKeys  = 40 // that are fetched
)

// Words of a hand in the journal; the states of the cells follow.
const (
	noteSeq    = iota // number of the last change that was begun
	noteCell          // the first cell that is being changed, and 1; 0 is nothing
	noteMany          // how many are, that follow each other
	noteNext          // the state of the first one then; see stateOf
	noteWrites        // changes that have ended
	noteLooks         // reads that were compared
	noteFull          // changes for which there was no room
	noteBegun         // additions to the number that all add to
	noteAdded         // those that have ended
	noteCells
	noteWords = noteCells + cells
)

// stage is all the maps of the storm, as one process has them.
type stage struct {
	text    *Map[string, []byte]
	code    *Encoded[string, config]
	counts  *Map[string, int]
	loaded  *Map[string, int]
	bounded *Map[string, []byte]
	own     [stormers * hands]*Map[uint64, uint64] // of each hand; nil for those of others
}

func ownMap(hand int) string { return fmt.Sprint("own ", hand) }

func openStage(a *arena.Arena, me int) (s *stage, err error) {
	s = new(stage)
	var errs [6]error
	s.text, errs[0] = Open[string, []byte](a, "text", nil)
	s.code, errs[1] = OpenEncoded[string](a, "code", JSON[config](), nil)
	s.counts, errs[2] = Open[string, int](a, "counts", nil)
	s.loaded, errs[3] = Open[string, int](a, "loaded", nil)
	s.bounded, errs[4] = Open[string, []byte](a, "bounded", nil)
	for i := me * hands; i < (me+1)*hands && errs[5] == nil; i++ {
		s.own[i], errs[5] = Open[uint64, uint64](a, ownMap(i), nil)
	}
	return s, errors.Join(errs[:]...)
}

// hand is what changes cells.
type hand struct {
	*stage
	id      int
	journal *shmtest.Journal
	r       *rand.Rand
}

func (h *hand) note(word int) *psync.Word64 {
	return h.journal.Word(h.id*noteWords + word)
}

func (h *hand) raise(word int) { h.note(word).Store(h.note(word).Load() + 1) }

// stormer is a process of the storm: arguments are the arena, the journal, and its
// number.
func stormer(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	me, _ := strconv.Atoi(args[2])
	s, err := openStage(a, me)
	shmtest.Must(err)
	journal := shmtest.OpenJournal(args[1])
	for i := range hands {
		h := &hand{s, me*hands + i, journal, rand.New(rand.NewPCG(rand.Uint64(), 0))}
		go h.storm()
	}
	select {}
}

func (h *hand) storm() {
	for {
		err := h.act()
		if err != nil {
			shmtest.Fail("hand %d: %v", h.id, err)
		}
	}
}

// act does one thing: a change of a cell in most cases.
func (h *hand) act() error {
	switch p := h.r.IntN(1000); {
	case p < 300:
		return h.change(cells - 1)
	case p < 595:
		return h.change(h.r.IntN(cells))
	case p < 600:
		return h.changeMany()
	case p < 800:
		h.raise(noteLooks)
		return h.look(h.r.IntN(cells))
	case p < 803:
		h.raise(noteLooks)
		return h.lookAround()
	default:
		return h.mingle()
	}
}

// lacksRoom is what a change may fail with: then nothing has changed.
func lacksRoom(err error) bool { return errors.Is(err, ErrFull) || errors.Is(err, arena.ErrNoSpace) }

// change changes a cell, and writes it down.
func (h *hand) change(i int) error {
	was, seq := h.note(noteCells+i).Load(), h.note(noteSeq).Load()+1
	next, do := h.changeOf(i, was, seq)
	h.note(noteSeq).Store(seq)
	h.note(noteNext).Store(next)
	h.note(noteMany).Store(1)
	h.note(noteCell).Store(uint64(i) + 1)
	noticed := h.noticing(i)
	err := do()
	if err == nil && next != was {
		err = noticed()
	}
	switch {
	case err == nil:
		h.note(noteCells + i).Store(next)
		h.raise(noteWrites)
	case lacksRoom(err):
		h.raise(noteFull)
	default:
		return fmt.Errorf("cell %d, of state %d to %d: %w", i, was, next, err)
	}
	h.note(noteCell).Store(0)
	return nil
}

// changeOf chooses what becomes of a cell, and how.
func (h *hand) changeOf(i int, was, seq uint64) (next uint64, do func() error) {
	switch {
	case i < textCells:
		if h.r.IntN(2) == 0 {
			return h.changeText(h.key(i), was, seq)
		}
		return h.changeTextIf(h.key(i), was, seq)
	case i < textCells+codeCells:
		return h.changeCode(h.key(i), was, seq)
	case i < textCells+codeCells+countCells:
		return h.changeCount(h.key(i), was)
	default:
		return h.changeOwn(was)
	}
}

func (h *hand) key(i int) string { return fmt.Sprintf("own:%d:%010d", h.id, i) }

// The state of a cell of bytes is 0, or twice the number of its value, and 1 if it
// has a deadline; there is time enough until that.
func (h *hand) value(state uint64) []byte {
	if state == 0 {
		return nil
	}
	return sealBytes(uint64(h.id), state>>1)
}

// same compares what a verb has returned with what is known.
func same(what string, got, want any, ok, there bool, err error) error {
	if err == nil && (ok != there || there && !alike(got, want)) {
		return fmt.Errorf("%s = %v, %v; want %v, %v", what, got, ok, want, there)
	}
	return err
}

func alike(a, b any) bool {
	if bytesA, ok := a.([]byte); ok { // empty is empty
		return bytes.Equal(bytesA, b.([]byte))
	}
	return reflect.DeepEqual(a, b)
}

// needsNone is same for a verb that needs no room.
func needsNone(what string, got, want any, ok, there bool, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %v", what, err)
	}
	return same(what, got, want, ok, there, nil)
}

// changeText changes a cell whatever it is.
func (h *hand) changeText(k string, was, seq uint64) (next uint64, do func() error) {
	m, v, old, there := h.text, h.value(2*seq), h.value(was), was != 0
	switch h.r.IntN(8) {
	case 0, 1:
		return 2 * seq, func() error { return m.Store(k, v) }
	case 2:
		return 2*seq + 1, func() error { return m.StoreTTL(k, v, time.Hour) }
	case 3:
		return 0, func() error { return m.StoreTTL(k, v, 1) }
	case 4:
		return 2 * seq, func() error {
			got, ok, err := m.Swap(k, v)
			return same("Swap", got, old, ok, there, err)
		}
	case 5:
		return 0, func() error {
			got, ok, err := m.LoadAndDelete(k)
			return needsNone("LoadAndDelete", got, old, ok, there, err)
		}
	case 6:
		return 0, func() error {
			ok, err := m.Delete(k)
			return needsNone("Delete", nil, nil, ok, there, err)
		}
	default:
		return 0, func() error {
			ok, err := m.Expire(k, 1)
			return needsNone("Expire", nil, nil, ok, there, err)
		}
	}
}

// changeTextIf changes a cell by what it is.
func (h *hand) changeTextIf(k string, was, seq uint64) (next uint64, do func() error) {
	m, v, old, there := h.text, h.value(2*seq), h.value(was), was != 0
	guess := old
	if h.r.IntN(4) == 0 {
		guess = h.value(2 * (seq + h.r.Uint64N(1000)))
	}
	equal := there && bytes.Equal(guess, old)
	switch h.r.IntN(6) {
	case 0:
		return either(equal, 2*seq|was&1, was), func() error {
			ok, err := m.CompareAndSwap(k, guess, v)
			return same("CompareAndSwap", nil, nil, ok, equal, err)
		}
	case 1:
		return either(equal, 0, was), func() error {
			ok, err := m.CompareAndDelete(k, guess)
			return needsNone("CompareAndDelete", nil, nil, ok, equal, err)
		}
	case 2:
		return either(there, was, 2*seq), func() error {
			got, ok, err := m.LoadOrStore(k, v)
			return same("LoadOrStore", got, old, ok, there, err)
		}
	case 3:
		return either(there, was|1, 0), func() error {
			ok, err := m.Expire(k, time.Hour)
			return needsNone("Expire", nil, nil, ok, there, err)
		}
	case 4:
		return was &^ 1, func() error {
			ok, err := m.Persist(k)
			return needsNone("Persist", nil, nil, ok, there, err)
		}
	default:
		what := Action(h.r.IntN(4))
		next := map[Action]uint64{Cancel: was, Store: 2*seq | was&1, Delete: 0, Renew: 2 * seq}[what]
		return next, func() error {
			var wrong error
			got, ok, err := m.Compute(k, func(b []byte, ok bool) ([]byte, Action) {
				wrong = same("Compute's old value", b, old, ok, there, nil)
				return v, what
			})
			return errors.Join(wrong, same("Compute", got, h.value(next), ok, next != 0, err))
		}
	}
}

func either(first bool, a, b uint64) uint64 {
	if first {
		return a
	}
	return b
}

// changeCode changes a cell of an encoded value, whose state is its number.
func (h *hand) changeCode(k string, was, seq uint64) (next uint64, do func() error) {
	old, v, there := configOf(int(was)), configOf(int(seq)), was != 0
	switch h.r.IntN(8) {
	case 0:
		return 0, func() error {
			got, ok, err := h.code.LoadAndDelete(k)
			return needsNone("Encoded.LoadAndDelete", got, old, ok, there, err)
		}
	case 1:
		return seq, func() error {
			got, ok, err := h.code.Swap(k, v)
			return same("Encoded.Swap", got, old, ok, there, err)
		}
	case 2:
		return seq, func() error {
			got, ok, err := h.code.Compute(k, func(c config, ok bool) (config, Action) { return v, Store })
			return same("Encoded.Compute", got, v, ok, true, err)
		}
	case 3:
		return 0, func() error {
			ok, err := h.code.Delete(k)
			return needsNone("Encoded.Delete", nil, nil, ok, there, err)
		}
	case 4:
		return either(there, was, seq), func() error {
			got, ok, err := h.code.LoadOrStore(k, v)
			return same("Encoded.LoadOrStore", got, old, ok, there, err)
		}
	case 5:
		return either(there, seq, 0), func() error {
			ok, err := h.code.CompareAndSwap(k, old, v)
			return same("Encoded.CompareAndSwap", nil, nil, ok, there, err)
		}
	default:
		return seq, func() error { return h.code.Store(k, v) }
	}
}

// changeCount changes a cell that is a number, and whose state is that number.
func (h *hand) changeCount(k string, was uint64) (next uint64, do func() error) {
	if h.r.IntN(10) == 0 {
		return 0, func() error {
			ok, err := h.counts.Delete(k)
			return needsNone("Delete of a number", nil, nil, ok, was != 0, err)
		}
	}
	delta, initial := 1+h.r.Uint64N(9), uint64(0)
	if h.r.IntN(2) == 0 {
		initial = 100
	}
	if next = was + delta; was == 0 {
		next += initial
	}
	return next, func() error {
		got, err := AddInitial(h.counts, k, int(delta), int(initial), time.Hour)
		return same("Add", got, int(next), true, true, err)
	}
}

// The last cell is a map of the hand's own. Its state is the number of the exchange
// that it has its content of, and how many entries it has; they are numbered.
const ownBits = 20

func (h *hand) changeOwn(was uint64) (next uint64, do func() error) {
	content, n := was>>ownBits, was&(1<<ownBits-1)
	own := h.own[h.id]
	switch p := h.r.IntN(3000); {
	case p == 0:
		return (content + 1) << ownBits, func() error { return own.Clear() }
	case p == 1:
		n = h.r.Uint64N(1000)
		return (content+1)<<ownBits | n, func() error { return own.ReplaceAll(maps.All(ownContent(content+1, n))) }
	default:
		return was + 1, func() error { return own.Store(n, content) }
	}
}

func ownContent(content, n uint64) map[uint64]uint64 {
	all := make(map[uint64]uint64)
	for i := range n {
		all[i] = content
	}
	return all
}

// look compares a cell with its state.
func (h *hand) look(i int) error { return h.isOf(i, h.note(noteCells+i).Load()) }

// isOf compares a cell with a state.
func (h *hand) isOf(i int, state uint64) error {
	k := h.key(i)
	switch {
	case i < textCells:
		return h.isText(k, state)
	case i < textCells+codeCells:
		got, ok, err := h.loadCode(k)
		return same("an encoded value", got, configOf(int(state)), ok, state != 0, err)
	case i < textCells+codeCells+countCells:
		got := -1
		ok := h.counts.LoadInto(k, &got)
		left, has := h.counts.TTL(k)
		return errors.Join(same("LoadInto of a number", got, int(state), ok, state != 0, h.counts.Err()),
			same("a number with a deadline", left > 0 && left <= time.Hour, true, has, state != 0, nil))
	default:
		content, n := state>>ownBits, state&(1<<ownBits-1)
		if h.r.IntN(100) != 0 { // a part will do
			got, ok := h.own[h.id].Load(n / 2)
			return same("Load of an own map", got, content, ok, n != 0, h.own[h.id].Err())
		}
		return h.isOwn(state)
	}
}

func (h *hand) isOwn(state uint64) error {
	content, n := state>>ownBits, state&(1<<ownBits-1)
	got, wrong := uint64(0), uint64(0)
	err := h.own[h.id].Range(func(k, v uint64) bool {
		if got++; k >= n || v != content {
			wrong++
		}
		return true
	})
	if err == nil && (got != n || wrong != 0) {
		return fmt.Errorf("an own map has %d entries, %d of them wrong, want %d of content %d", got, wrong, n, content)
	}
	return err
}

func (h *hand) isText(k string, state uint64) error {
	m, want, there := h.text, h.value(state), state != 0
	left, has := m.TTL(k)
	if timed := state&1 != 0; has != there || timed != (left > 0) || left > time.Hour {
		return fmt.Errorf("TTL = %v, %v; want %v, %v", left, has, timed, there)
	}
	got, ok, err := h.load(k)
	return errors.Join(same("a read", got, want, ok, there, err), m.Err(),
		same("Contains", nil, nil, m.Contains(k), there, nil))
}

// lookAround looks for the hand's own entries in one of the ways to get at all.
func (h *hand) lookAround() error {
	m, got, prefix := h.text, make(map[string]int), fmt.Sprintf("own:%d:", h.id)
	var wrong error
	see := func(k string, v []byte) bool {
		if strings.HasPrefix(k, prefix) {
			i, _ := strconv.Atoi(k[len(prefix):])
			got[k]++
			wrong = errors.Join(wrong, same("a walk", v, h.value(h.note(noteCells+i).Load()), true, got[k] == 1, nil))
		}
		return true
	}
	var err error
	switch h.r.IntN(7) {
	case 0:
		err = m.Range(see)
	case 1:
		err = m.RangePrefix(prefix, see)
	case 2:
		var all map[string][]byte
		all, err = m.Snapshot()
		for k, v := range all {
			see(k, v)
		}
	case 3:
		m.All()(see)
	case 4:
		m.AllPrefix(prefix)(see)
	case 5:
		return h.lookAtHalves()
	default:
		err = h.scan(see)
	}
	want := 0
	for i := range textCells {
		want += int(either(h.note(noteCells+i).Load() != 0, 1, 0))
	}
	return errors.Join(err, wrong, same("entries of a walk", len(got), want, true, true, nil))
}

func (h *hand) scan(see func(k string, v []byte) bool) error {
	for c := Cursor(0); ; {
		entries, next, err := h.text.Scan(c, 100)
		if err != nil {
			return err
		}
		for _, e := range entries {
			see(e.Key, e.Value)
		}
		if c = next; c == 0 {
			return nil
		}
	}
}

// mingle does something where others do it too.
func (h *hand) mingle() error {
	err := error(nil)
	switch seq := h.r.Uint64(); h.r.IntN(25) / 4 {
	case 0:
		k := h.r.Uint64N(sharedKeys)
		err = h.text.Store(fmt.Sprint("shared", k), sealBytes(k, seq))
	case 1:
		err = h.isShared(h.r.Uint64N(sharedKeys))
	case 2:
		err = h.fetch(h.r.IntN(loadedKeys))
	case 3:
		h.raise(noteBegun)
		if _, err = Add(h.counts, "sum", 1); err == nil {
			h.raise(noteAdded)
		}
	case 4:
		_, err = h.text.PurgeExpired(h.r.IntN(20))
	case 5:
		err = h.crowd(h.r.Uint64N(boundedKeys), seq)
	default: // takes long, so seldom
		err = h.wait()
	}
	if lacksRoom(err) {
		h.raise(noteFull)
		return nil
	}
	return err
}

// isShared looks at a key that all store and nobody removes.
func (s *stage) isShared(k uint64) error {
	v, ok := s.text.Load(fmt.Sprint("shared", k))
	_, whole := wholeBytes(k, v)
	return same("Load of a shared key", whole, true, ok, true, s.text.Err())
}

// fetch has the value of a key loaded: three times the key.
func (h *hand) fetch(k int) error {
	if h.r.IntN(4) == 0 {
		_, err := h.loaded.Delete(strconv.Itoa(k))
		return err
	}
	o := &FetchOptions{TTL: time.Millisecond, Stale: 4 * time.Millisecond}
	got, err := h.loaded.Fetch(context.Background(), strconv.Itoa(k), func(context.Context, string) (int, error) { return 3 * k, nil }, o)
	if lacksRoom(err) { // the value is returned nevertheless
		return same("Fetch", got, 3*k, true, true, nil)
	}
	return same("Fetch", got, 3*k, true, true, err)
}

// crowd uses the map that evicts.
func (h *hand) crowd(k, seq uint64) error {
	m, key := h.bounded, boundedKey(k)
	if n := m.Len(); n > stormLimit {
		return fmt.Errorf("%d entries in a map with limit %d", n, stormLimit)
	}
	if v, ok := m.Load(key); ok {
		if _, whole := wholeBytes(k, v); !whole {
			return fmt.Errorf("key %d of the map with a limit: %d bytes", k, len(v))
		}
	}
	switch h.r.IntN(8) {
	case 0, 1:
		return m.StoreTTL(key, sealBytes(k, seq), time.Millisecond)
	case 2, 3:
		_, err := m.Delete(key)
		return err
	case 4:
		return h.crowdAll(seq)
	default:
		return m.Store(key, sealBytes(k, seq))
	}
}

func boundedKey(k uint64) string {
	return string(binary.LittleEndian.AppendUint64([]byte("12345678"), k))
}
