package slab

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/psync"
)

// Handle is a hold on an object, and the knowledge whether it is still there. It
// is for structures whose writes are single atomic stores outside any intent
// record: nobody can wait for such a store, since nobody knows of it. So the
// object is let go when no goroutine can reach the handle any more, not when the
// handle is closed: a store that is late hits what it was meant for (B5).
//
// The rules for the structure that has one: a writer asks Barred, stores, and
// returns what Kept says; a reader reads, asks Gone, and keeps the handle
// reachable until then.
type Handle struct {
	object   *arena.Object
	live     atomic.Pointer[psync.Word64] // holds open as long as the object is there
	open     uint64
	shut     *atomic.Bool // the arena is closed
	readOnly bool
}

// nowhere is where live points after Close. It never holds what an object's word
// does.
var nowhere psync.Word64

// Hold makes h the handle on an object. On a writable arena it keeps the object's
// memory until what h is part of is collected; a read-only one pins nothing.
func (h *Handle) Hold(s *Slab, o *arena.Object) {
	live, open := o.Live()
	h.object, h.open, h.shut, h.readOnly = o, open, s.f.Closed, s.f.Owner == nil
	h.live.Store(live)
	if !h.readOnly {
		runtime.AddCleanup(h, func(o *arena.Object) { go o.Close() }, o)
	}
}

// ReadOnly reports whether the arena was opened read-only.
func (h *Handle) ReadOnly() bool { return h.readOnly }

// Shut reports whether the arena is closed.
func (h *Handle) Shut() bool { return h.shut.Load() }

// Gone reports that reads are worth nothing: the handle or the arena is closed,
// or the object was removed. A reader asks after it has read: the block of a
// removed object may be something else by then, and a read-only handle does not
// keep it.
func (h *Handle) Gone() bool {
	return h.live.Load().Load() != h.open || h.shut.Load()
}

// Barred reports that writes must not be done. Of a writable handle the block
// stays what it is, so a writer asks before.
func (h *Handle) Barred() bool { return h.readOnly || h.Gone() }

// Kept ends a write. It returns ErrClosed if the arena was closed meanwhile: what
// was stored may not have reached the segment.
func (h *Handle) Kept() (err error) {
	if h.shut.Load() {
		err = arena.ErrClosed
	}
	runtime.KeepAlive(h) // keeps the object open, and the memory mapped
	return err
}

// Refusal says why writes are barred.
func (h *Handle) Refusal() error {
	if err := h.Err(); err != nil || !h.readOnly {
		return err
	}
	return fmt.Errorf("%q: %w", h.object.Name(), arena.ErrReadOnly)
}

// Err returns why reads return zero and writes fail: ErrClosed, ErrRemoved, or
// nil if they do not.
func (h *Handle) Err() error {
	if h.live.Load() == &nowhere && !h.shut.Load() {
		return fmt.Errorf("handle on %q: %w", h.object.Name(), arena.ErrClosed)
	}
	return h.object.Err()
}

// Close marks the handle as closed, whatever runs on it. The object is let go
// later; see above.
func (h *Handle) Close() { h.live.Store(&nowhere) }

// OpenThenCreate opens what exists, or creates it; of several who try at the same
// time one creates it and the others open that.
func OpenThenCreate[H any](open, create func() (H, error)) (H, error) {
	for {
		h, err := open()
		if !errors.Is(err, fs.ErrNotExist) {
			return h, err
		}
		if h, err = create(); !errors.Is(err, fs.ErrExist) {
			return h, err
		}
	}
}
