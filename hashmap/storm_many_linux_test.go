package hashmap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// What the hands of the storm do with many cells at once, and how they wait.

// stateOf returns the state of the j-th cell of a batch that gives the first one the
// state next.
func stateOf(next uint64, j int) uint64 {
	if next == 0 {
		return 0
	}
	return next + 2*uint64(j)
}

// changeMany stores or removes some cells of bytes in one batch: seldom more of them
// than go into a portion.
func (h *hand) changeMany() error {
	n := 1 + h.r.IntN(40)
	if h.r.IntN(30) == 0 {
		n = textCells
	}
	first, seq := h.r.IntN(textCells-n+1), h.note(noteSeq).Load()+1
	next := either(h.r.IntN(3) == 0, 0, 2*seq)
	h.note(noteSeq).Store(seq + uint64(n))
	h.note(noteNext).Store(next)
	h.note(noteMany).Store(uint64(n))
	h.note(noteCell).Store(uint64(first) + 1)
	if err := h.batch(first, n, next); err != nil {
		return fmt.Errorf("batch of cells %d to %d, to state %d: %w", first, first+n-1, next, err)
	}
	h.note(noteCell).Store(0)
	return nil
}

// batch has a batch done, and writes down what came of it.
func (h *hand) batch(first, n int, next uint64) error {
	if next == 0 {
		there := 0
		for i := first; i < first+n; i++ {
			there += int(either(h.note(noteCells+i).Load() != 0, 1, 0))
		}
		deleted, err := h.text.DeleteAll(h.keys(first, n))
		if err := needsNone("DeleteAll", deleted, there, true, true, err); err != nil {
			return err
		}
	} else if stored, err := h.text.StoreAll(h.pairs(first, n, next)); lacksRoom(err) {
		h.raise(noteFull)
		return h.findOut(first, n, next, stored)
	} else if err := same("StoreAll", stored, n, true, true, err); err != nil {
		return err
	}
	for j := range n {
		h.note(noteCells + first + j).Store(stateOf(next, j))
	}
	h.note(noteWrites).Store(h.note(noteWrites).Load() + uint64(n))
	return nil
}

// findOut looks which cells of a batch, for all of which there was no room, were stored.
func (h *hand) findOut(first, n int, next uint64, stored int) error {
	for j := range n {
		i := first + j
		if h.isText(h.key(i), stateOf(next, j)) == nil {
			h.note(noteCells + i).Store(stateOf(next, j))
			stored--
		} else if err := h.look(i); err != nil {
			return fmt.Errorf("a cell of a batch without room: %w", err)
		}
	}
	return same("StoreAll's number without room, less those that were stored", stored, 0, true, true, nil)
}

func (h *hand) keys(first, n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := first; i < first+n && yield(h.key(i)); i++ {
		}
	}
}

func (h *hand) pairs(first, n int, next uint64) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for j := 0; j < n && yield(h.key(first+j), h.value(stateOf(next, j))); j++ {
		}
	}
}

// noticing returns what tells, after a change of a cell, whether who waited for it hears
// of it. The context has ended: who would have to wait hears of that.
func (h *hand) noticing(i int) func() error {
	if i >= textCells || h.r.IntN(8) != 0 { // it takes a while
		return func() error { return nil }
	}
	k := h.key(i)
	since, version := h.text.Version(), h.text.KeyVersion(k)
	return func() error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		now, err := h.text.WaitChange(ctx, since)
		if err != nil || now <= since {
			return fmt.Errorf("WaitChange after a change = %d, %v; since %d", now, err, since)
		}
		if err = h.text.WaitKey(ctx, k, version); err != nil {
			return fmt.Errorf("WaitKey after a change: %w; %v, since %v", err, h.text.KeyVersion(k), version)
		}
		return nil
	}
}

// wait waits a moment for what others do, or nobody does.
func (h *hand) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.r.IntN(1000))*time.Microsecond)
	defer cancel()
	shared, own, err := fmt.Sprint("shared", h.r.IntN(sharedKeys)), h.key(textCells+h.r.IntN(codeCells)), error(nil)
	switch h.r.IntN(4) {
	case 0:
		var now uint64
		since := h.text.Version()
		if now, err = h.text.WaitChange(ctx, since); err == nil && now <= since {
			return fmt.Errorf("WaitChange = %d, since %d", now, since)
		}
	case 1:
		_, version, _ := h.text.LoadVersion(shared)
		err = h.text.WaitKey(ctx, shared, version)
	case 2:
		_, err = h.code.WaitChange(ctx, h.code.Version())
	default:
		err = h.code.WaitKey(ctx, own, h.code.KeyVersion(own))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// load reads a cell of bytes in one of the ways there are.
func (h *hand) load(k string) (got []byte, ok bool, err error) {
	const before = "before "
	switch m := h.text; h.r.IntN(4) {
	case 0:
		got, ok = m.Load(k)
	case 1:
		got = []byte("left over")
		ok = m.LoadInto(k, &got)
	case 2:
		got, ok = m.LoadAppend([]byte(before), k)
		if !strings.HasPrefix(string(got), before) {
			return got, ok, fmt.Errorf("LoadAppend leaves %q", got)
		}
		got = got[len(before):]
	default:
		got, _, ok = m.LoadVersion(k)
	}
	if !ok && len(got) != 0 {
		err = fmt.Errorf("what is not there has the value %q", got)
	}
	return got, ok, err
}

// loadCode reads a cell of an encoded value in one of the ways there are.
func (h *hand) loadCode(k string) (c config, ok bool, err error) {
	switch h.r.IntN(3) {
	case 0:
		v, ok := h.code.Load(k)
		if ok {
			c = *v
		}
		return c, ok, h.code.Err()
	case 1:
		ok, err = h.code.LoadInto(k, &c)
		return c, ok, err
	default:
		b, ok := h.code.LoadAppend(nil, k)
		if ok {
			err = json.Unmarshal(b, &c)
		}
		return c, ok, errors.Join(err, h.code.Err())
	}
}

// lookAtHalves looks for the hand's own entries among all keys, and among all values.
func (h *hand) lookAtHalves() error {
	keys, values := make(map[string]int), make(map[string]int)
	for k := range h.text.Keys() {
		keys[k]++
	}
	for v := range h.text.Values() {
		values[string(v)]++
	}
	for i := range textCells {
		state := h.note(noteCells + i).Load()
		k, v := h.key(i), string(h.value(state))
		if err := same("how often Keys yields "+k, keys[k], int(either(state != 0, 1, 0)), true, true, nil); err != nil {
			return err
		}
		if state == 0 {
			continue
		}
		if values[v] == 0 {
			return fmt.Errorf("Values does not yield the value of %s, of state %d", k, state)
		}
		values[v]-- // short ones may be equal
	}
	return h.text.Err()
}

// crowdAll stores some keys of the map that evicts in one batch.
func (h *hand) crowdAll(seq uint64) error {
	keys := make([]uint64, 1+h.r.IntN(20))
	for i := range keys {
		keys[i] = h.r.Uint64N(boundedKeys)
	}
	n, err := h.bounded.StoreAll(func(yield func(string, []byte) bool) {
		for _, k := range keys {
			if !yield(boundedKey(k), sealBytes(k, seq)) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return same("StoreAll with a limit", n, len(keys), true, true, nil)
}
