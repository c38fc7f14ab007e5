package arena

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// What the structures build on. The types are internal to this module.

// Spec describes an object to create or to open.
type Spec struct {
	Kind        Kind
	Fingerprint uint64
	Types       string // in words, for messages
	Size        uint64 // of the root block in use
	Trace       Trace
}

// Trace says where in its root block an object keeps references to other
// blocks: Count groups, Stride bytes apart from First on, of Words reference
// words each. With Tree it keeps them in a tree, whose head is at First; then the
// groups begin behind that, and the reference words are the last ones of each. It is
// stored with the object, so that anybody can account for its blocks and free them,
// whatever structures he knows.
type Trace struct {
	First, Stride, Words, Count uint64
	Tree                        bool
}

// count is what the object entry says of groups.
func (t *Trace) count() uint64 {
	if t.Tree {
		return traceTree | t.Count
	}
	return t.Count
}

// Object is a handle on an object. On a writable arena it keeps the object's
// memory from being freed.
type Object struct {
	arena  *Arena
	index  int
	name   string
	ref    uint64
	state  *psync.Word64
	open   uint64 // what state holds while the object is live
	size   uint64
	closed atomic.Bool
}

// Ref returns the offset of the root block.
func (h *Object) Ref() uint64 { return h.ref }

// Size returns the bytes of the root block in use.
func (h *Object) Size() uint64 { return h.size }

// Name returns the name the handle was opened by.
func (h *Object) Name() string { return h.name }

// Live is the word that readers compare last, and what it must hold: it changes
// before the first block of the object is freed.
func (h *Object) Live() (*psync.Word64, uint64) { return h.state, h.open }

// Err returns why operations on the handle fail, nil if they should not. The
// state is read first: Close of the arena replaces it by zero, which means that
// the arena is closed and not that the object was removed.
func (h *Object) Err() error {
	removed := h.state.Load() != h.open
	switch {
	case h.arena.closed.Load():
		return ErrClosed
	case h.closed.Load():
		return fmt.Errorf("handle on %q: %w", h.name, ErrClosed)
	case removed:
		return fmt.Errorf("%q: %w", h.name, ErrRemoved)
	}
	return nil
}

// Close ends the handle. Closing the arena does so too.
func (h *Object) Close() error {
	if !h.closed.CompareAndSwap(false, true) || h.arena.owner == nil {
		return nil
	}
	a := h.arena
	_, i, err := a.take() // a record that is out keeps Close of the arena waiting
	if err != nil {
		return nil // the arena is closed, and all its pins with it
	}
	a.unpin(h.index)
	a.pool.Give(i)
	if !a.named(h.index) {
		return a.collect()
	}
	return nil
}

// pin marks the object as in use by this process.
func (a *Arena) pin(o int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pins[o]++; a.pins[o] == 1 {
		a.slot(a.owner.ID().Slot()).pins[o/64].Or(1 << (o % 64)) // survivor: dropped with the slot
	}
}

func (a *Arena) unpin(o int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pins[o]--; a.pins[o] == 0 {
		a.slot(a.owner.ID().Slot()).pins[o/64].And(^(uint64(1) << (o % 64)))
	}
}

// KeepsGarbage reports whether this process has a handle on an object that was
// removed: its memory is freed when the handle is let go.
func (a *Arena) KeepsGarbage() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for o, n := range a.pins {
		if n > 0 && a.object(o).ref.Load() != 0 && !a.named(o) {
			return true
		}
	}
	return false
}

// OpenObject opens an object by name.
func (a *Arena) OpenObject(text string, want Spec) (*Object, error) {
	if err := a.enter(); err != nil && !errors.Is(err, ErrReadOnly) {
		return nil, err
	} else if err == nil {
		defer a.exit()
	}
	for {
		n := a.find(text)
		if a.closed.Load() {
			return nil, ErrClosed // of a read-only arena: what was read is private zeros
		}
		if n < 0 {
			return nil, fmt.Errorf("object %q of %s: %w", text, a, fs.ErrNotExist)
		}
		if h, err := a.openName(n, text, want); h != nil || err != nil {
			if a.closed.Load() && h == nil {
				err = ErrClosed
			}
			return h, err
		}
		runtime.Gosched() // the name is being changed
	}
}

// openName opens the object that name n leads to. It is pinned first and the
// name is looked at again then: an object that still has its name after it was
// pinned is not freed before it is unpinned. Nil and no error: it lost it.
func (a *Arena) openName(n int, text string, want Spec) (*Object, error) {
	word := a.entry(n).word.Load()
	o, ok := objectOf(word, a.plan.objects)
	if _, now, _ := a.readName(n); !ok || now != text {
		return nil, nil // it was another word when the name was found
	}
	if a.owner != nil {
		a.pin(o)
	}
	h, err := a.handle(o, text, want)
	if a.entry(n).word.Load() != word {
		h, err = nil, nil
	} else if h == nil && err == nil {
		err = fmt.Errorf("%w: the name %q of %s leads to object %d, which is none", ErrCorrupt, text, a, o)
	}
	if h == nil && a.owner != nil {
		a.unpin(o)
		if !a.named(o) { // our pin may have kept the remover from freeing it
			err = errors.Join(err, a.sweep())
		}
	}
	return h, err
}

// handle reads the entry of an object and compares it with what is wanted. Nil
// and no error: the object is going.
func (a *Arena) handle(o int, text string, want Spec) (*Object, error) {
	e := a.object(o)
	state, ref := e.state.Load(), e.ref.Load()
	if state&stateMask != objectLive || ref == 0 {
		return nil, nil
	}
	kind, print, size := Kind(e.kind.Load()), e.fingerprint.Load(), e.size.Load()
	if kind != want.Kind {
		return nil, fmt.Errorf("object %q of %s: %w: it is a %s, want a %s", text, a, ErrTypeMismatch, kind, want.Kind)
	}
	if print != want.Fingerprint {
		return nil, fmt.Errorf("object %q of %s: %w: types have fingerprint %016x, want %016x for %s", text, a, ErrTypeMismatch, print, want.Fingerprint, want.Types)
	}
	a.refresh()
	if err := a.view.Check(ref, size, 8); err != nil {
		return nil, fmt.Errorf("object %q: %w", text, err)
	}
	return &Object{arena: a, index: o, name: text, ref: ref, state: &e.state, open: state, size: size}, nil
}

// Publish makes the filled block of an open alloc record an object with a name,
// and returns a handle on it. If the name is taken the error wraps fs.ErrExist,
// and the record is still open.
func (a *Arena) Publish(r *intent.Record, ref uint64, text string, s Spec) (*Object, error) {
	if err := checkObjectName(text); err != nil {
		return nil, err
	}
	h, err := a.publish(r, ref, text, &s)
	if !errors.Is(err, ErrFull) {
		return h, err
	}
	// What dead processes hold may be all that is in the way.
	if _, err := a.Recover(); err != nil && errors.Is(err, ErrClosed) {
		return nil, err
	}
	if err := a.collect(); err != nil {
		return nil, err
	}
	return a.publish(r, ref, text, &s)
}

func (a *Arena) publish(r *intent.Record, ref uint64, text string, s *Spec) (*Object, error) {
	var h *Object
	err := a.locked(func() error {
		if a.find(text) >= 0 {
			return fmt.Errorf("object %q of %s: %w", text, a, fs.ErrExist)
		}
		o, err := a.freeObject()
		if err != nil {
			return err
		}
		n, err := a.writeName(text)
		if err != nil {
			return err
		}
		a.pin(o)
		h = a.enterObject(r, o, ref, text, s)
		word := &a.entry(n).word
		word.Store(nameWord(word.Load()>>32, o)) // survivor: the object exists
		return nil
	})
	return h, err
}

// enterObject links a block to a free object entry and closes the record.
func (a *Arena) enterObject(r *intent.Record, o int, ref uint64, text string, s *Spec) *Object {
	e := a.object(o)
	e.kind.Store(uint64(s.Kind))
	e.fingerprint.Store(s.Fingerprint)
	e.size.Store(s.Size)
	e.traceOff.Store(s.Trace.First)
	e.traceShape.Store(s.Trace.Stride<<32 | s.Trace.Words)
	e.traceCount.Store(s.Trace.count())
	open := e.state.Load()&^stateMask + stateMask + 1 | objectLive
	e.state.Store(open)                                                               // survivor: a free entry, since ref is 0
	a.records.Apply(r, &intent.Change{Lock: dirOff, Target: a.objectAt(o), New: ref}) // survivor: garbage
	return &Object{arena: a, index: o, name: text, ref: ref, state: &e.state, open: open, size: s.Size}
}

// freeObject returns an entry that is free and that nobody is about to open.
func (a *Arena) freeObject() (int, error) {
	for o := range int(a.plan.objects) {
		if a.object(o).ref.Load() == 0 && !a.pinned(o) {
			return o, nil
		}
	}
	return 0, fmt.Errorf("%w: %s holds %d objects, its limit (removed ones that are still open count)", ErrFull, a, a.plan.objects)
}

// take returns a record of this process's slot. While it is out, Close waits.
func (a *Arena) take() (*intent.Record, int, error) {
	if a.pool == nil {
		return nil, 0, ErrReadOnly
	}
	r, i, ok := a.pool.Take()
	if !ok {
		return nil, 0, ErrClosed
	}
	return r, i, nil
}

// Floor is what the floor above needs of an arena, and what it keeps there.
type Floor struct {
	View    *mem.View
	Owner   *psync.Owner // nil: read-only
	Pool    *intent.Pool // nil: read-only
	Records *intent.Table
	Pages   *pages.Table
	RunLock *psync.Mutex
	RunOff  uint64        // of RunLock
	Deaths  *psync.Word64 // counts the dead whose hints may be lost
	DataOff uint64
	Closed  *atomic.Bool
	Refresh func()
	Grow    func(pages uint64) error // commits pages until n free ones are at the end
	Collect func() error             // frees objects without a name
	Tally   Tally
	Slots   *psync.Table
	Leave   func() // set by who is above: called when the arena closes, after the last operation
}

// Tally is what the allocator counts, by class, runs last.
type Tally struct {
	Handed             func(slot, kind int) *psync.Word64 // blocks handed out
	Refused, Cut, Most []psync.Word64                     // refusals; pages now; the most pages
}

// Floor calls open with the arena's insides, once for each attach, and returns
// what it returned.
func (a *Arena) Floor(open func(*Floor) any) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.floor == nil {
		f := &Floor{
			View: a.view, Owner: a.owner, Pool: a.pool, Records: a.records, Pages: a.pages,
			RunLock: &a.head.runLock, RunOff: runOff, Deaths: &a.head.deaths,
			DataOff: a.plan.pages.DataOff, Closed: &a.closed,
			Refresh: a.refresh, Grow: a.grow, Collect: a.collect, Slots: a.slots,
			Tally: Tally{
				Handed:  func(slot, kind int) *psync.Word64 { return &a.slot(slot).handed[kind] },
				Refused: a.head.refused[:], Cut: a.head.cut[:], Most: a.head.most[:],
			},
		}
		a.floor, a.above = open(f), f
	}
	return a.floor
}
