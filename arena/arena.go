package arena

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/shm"
)

// Arena is an open arena. It is safe for concurrent use by goroutines.
type Arena struct {
	*core
	name    string
	owned   bool // Close closes the segment
	onStall func(Stall)
	locks   psync.Bytes
	owner   *psync.Owner // nil: read-only
	pool    *intent.Pool // nil: read-only
	closed  atomic.Bool
	inside  atomic.Int64 // operations that Close waits for, beside those that have a record

	mu    sync.Mutex
	pins  [MaxObjects]int // open handles by object
	floor any             // what the floor above keeps for this attach
	above *Floor          // what it was given
}

// Create makes a new arena. The error wraps fs.ErrExist if the name is taken.
func Create(name string, o *Options) (*Arena, error) {
	d, err := o.withDefaults()
	if err == nil && d.ReadOnly {
		err = fmt.Errorf("create: %w", ErrReadOnly)
	}
	if err != nil {
		return nil, fmt.Errorf("arena %q: %w", name, err)
	}
	seg, err := createSegment(name, d)
	if err != nil {
		return nil, fmt.Errorf("arena %q: %w", name, err)
	}
	a, err := open(seg, d)
	if errors.Is(err, errGone) {
		return Create(name, o) // it was the last one of another process for a moment
	}
	return a, err
}

// createSegment formats a segment while it has no name, then gives it one.
func createSegment(name string, o *Options) (*shm.Segment, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	return shm.Create(name, &shm.Options{
		Size: int64(p.frontSize()), MaxSize: int64(p.maxSize), Mode: o.Mode, Dir: o.Dir,
		Prepare: func(seg *shm.Segment) error { return format(seg, p, o) },
	})
}

func format(seg *shm.Segment, p *plan, o *Options) error {
	locks, err := seg.Locks()
	if err != nil {
		return err
	}
	defer locks.Close()
	// The tables lie behind what is allocated so far; nothing reads them yet.
	seg.View().SetLimit(p.pages.DataOff)
	c, err := newCore(seg, p, locks)
	if err != nil {
		return err
	}
	return p.format(c, p.initialPages(uint64(o.Size)), o.Init == nil)
}

// Open opens an arena that exists; the error wraps fs.ErrNotExist if none does.
// Of the options only those apply that do not belong to the segment.
func Open(name string, o *Options) (*Arena, error) {
	if o == nil {
		o = new(Options)
	}
	for {
		seg, err := openSegment(name, o)
		if err != nil {
			return nil, fmt.Errorf("arena %q: %w", name, err)
		}
		a, err := open(seg, o)
		if !errors.Is(err, errGone) {
			return a, err
		}
	}
}

func openSegment(name string, o *Options) (*shm.Segment, error) {
	return shm.Open(name, &shm.OpenOptions{
		ReadOnly: o.ReadOnly, Dir: o.Dir,
		Verify: func(r io.ReaderAt, size int64) (int64, error) {
			p, _, err := readPlan(r)
			if err != nil {
				return 0, err
			}
			return int64(max(p.maxSize, uint64(size))), nil
		},
	})
}

// OpenOrCreate opens the arena, or creates it if there is none. Of several
// processes that start together one creates it and the others open it. An
// arena that exists must have the MaxSize and PageSize asked for, if any: the
// same name means the same arena.
func OpenOrCreate(name string, o *Options) (*Arena, error) {
	for {
		a, err := Open(name, o)
		switch {
		case err == nil:
			if err := a.sameAs(o); err != nil {
				return nil, errors.Join(err, a.Close())
			}
			return a, nil
		case errors.Is(err, ErrNotReady) || errors.Is(err, errInit) || !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		if a, err = Create(name, o); errors.Is(err, errInit) || !errors.Is(err, fs.ErrExist) {
			return a, err
		}
	}
}

// sameAs compares what the caller asked for with what there is.
func (a *Arena) sameAs(o *Options) error {
	if o == nil {
		return nil
	}
	if o.MaxSize != 0 && uint64(o.MaxSize) != a.plan.maxSize {
		return fmt.Errorf("arena %q: %w: it can grow to %d bytes, want %d", a.name, ErrTypeMismatch, a.plan.maxSize, o.MaxSize)
	}
	if o.PageSize != 0 && uint64(o.PageSize) != a.plan.pages.PageSize() {
		return fmt.Errorf("arena %q: %w: its pages have %d bytes, want %d", a.name, ErrTypeMismatch, a.plan.pages.PageSize(), o.PageSize)
	}
	return nil
}

// Format makes an arena in a segment that holds none, such as one on the heap,
// without attaching to it.
func Format(seg *shm.Segment, o *Options) error {
	d, err := o.withDefaults()
	if err != nil {
		return err
	}
	p, err := newPlan(d)
	if err != nil {
		return err
	}
	if p.maxSize > uint64(seg.Reserved()) {
		return fmt.Errorf("arena of at most %d bytes: the segment has room for %d", p.maxSize, seg.Reserved())
	}
	return format(seg, p, d)
}

// Attach opens the arena in a segment that the caller has opened and closes
// after the arena.
func Attach(seg *shm.Segment, o *Options) (*Arena, error) {
	if o == nil {
		o = new(Options)
	}
	return attach(seg, o, false)
}

// open attaches a segment that the arena owns.
func open(seg *shm.Segment, o *Options) (*Arena, error) {
	a, err := attach(seg, o, true)
	if err != nil {
		err = errors.Join(err, seg.Close())
	}
	return a, err
}

func attach(seg *shm.Segment, o *Options, owned bool) (*Arena, error) {
	a := &Arena{name: seg.Name(), owned: owned, onStall: o.OnStall}
	returned := false
	defer func() {
		if !returned {
			_ = a.withdraw() // init panicked
		}
	}()
	err := a.attach(seg, o)
	returned = true
	if err == nil {
		return a, nil
	}
	err = errors.Join(err, a.withdraw())
	if errors.Is(err, errGone) {
		return nil, err
	}
	return nil, fmt.Errorf("arena %q: %w", a.name, err)
}

// withdraw undoes half an attach. What init left running finds the arena closed.
func (a *Arena) withdraw() error {
	switch {
	case a.owner != nil:
		return a.Close()
	case a.locks != nil:
		return a.locks.Close()
	}
	return nil
}

func (a *Arena) attach(seg *shm.Segment, o *Options) error {
	p, err := survey(seg)
	if err != nil {
		return err
	}
	if a.locks, err = seg.Locks(); err != nil {
		return err
	}
	if a.core, err = newCore(seg, p, a.locks); err != nil {
		return err
	}
	if o.ReadOnly || seg.ReadOnly() {
		return a.joinReadOnly()
	}
	if err := a.join(); err != nil {
		return err
	}
	if _, err := a.slots.Recover(a.owner, a.settle); err != nil && errors.Is(err, ErrCorrupt) {
		return err
	}
	if err := a.sweep(); err != nil && errors.Is(err, ErrCorrupt) {
		return err
	}
	return a.initialise(o.Init)
}

// survey reads the plan of a mapped segment and sets the limit of its view to
// what is committed; another attach on the same mapping may be raising it.
func survey(seg *shm.Segment) (*plan, error) {
	raising.Lock()
	defer raising.Unlock()
	p, committed, err := readPlan(viewReader{seg.View()})
	if err != nil {
		return nil, err
	}
	size, err := seg.Committed()
	if err != nil {
		return nil, err
	}
	if err := p.checkSize(committed, uint64(size)); err != nil {
		return nil, err
	}
	if p.maxSize > uint64(seg.Reserved()) {
		return nil, fmt.Errorf("%w: it can grow to %d bytes, but %d are mapped", ErrCorrupt, p.maxSize, seg.Reserved())
	}
	seg.View().SetLimit(committed)
	return p, nil
}

// viewReader reads the start of a mapped segment.
type viewReader struct{ v *mem.View }

func (r viewReader) ReadAt(b []byte, off int64) (int, error) {
	n := min(uint64(len(b)), r.v.Limit()-min(r.v.Limit(), uint64(off)))
	src, err := r.v.Slice(uint64(off), n)
	if err != nil {
		return 0, err
	}
	mem.CopyOut(b[:n], mem.PtrOf(src))
	if int(n) < len(b) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// describe notes in the slot who we are, for people.
func (a *Arena) describe() {
	s := a.slot(a.owner.ID().Slot())
	s.pid.Store(uint64(os.Getpid()))
	s.started.Store(uint64(time.Now().UnixNano()))
	text := filepath.Base(os.Args[0])
	for i := range s.name {
		s.name[i].Store(packText(text, i*8))
	}
}

// packText returns the 8 bytes of text from off on, padded with zeros.
func packText(text string, off int) uint64 {
	var w uint64
	for i := 0; i < 8 && off+i < len(text); i++ {
		w |= uint64(text[off+i]) << (8 * i)
	}
	return w
}

// Name returns the name of the arena.
func (a *Arena) Name() string { return a.name }

// Size returns the number of bytes in use by the segment now.
func (a *Arena) Size() int64 {
	a.refresh()
	return int64(a.view.Limit())
}

// MaxSize returns the number of bytes the arena may grow to.
func (a *Arena) MaxSize() int64 { return int64(a.plan.maxSize) }

// PageSize returns the unit of allocation.
func (a *Arena) PageSize() int { return int(a.plan.pages.PageSize()) }

// ReadOnly reports whether the arena was opened read-only.
func (a *Arena) ReadOnly() bool { return a.owner == nil }

// Removed reports whether the name no longer leads to this arena: it was
// removed, and perhaps created anew. It is two system calls.
func (a *Arena) Removed() (bool, error) {
	if a.closed.Load() {
		return false, ErrClosed
	}
	linked, err := a.seg.Linked()
	return !linked, err
}

// String returns name and sizes, for messages.
func (a *Arena) String() string {
	return fmt.Sprintf("arena %q (%d of at most %d bytes)", a.name, a.view.Limit(), a.plan.maxSize)
}
