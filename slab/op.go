package slab

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Op is one operation of a structure that allocates or frees. It owns an intent
// record from Begin to End; what it has reserved and not published by then is
// free again, also when the process is killed in between.
type Op struct {
	s      *Slab
	Record *intent.Record
	lane   *lane
}

// Begin starts an operation. It waits while too many are in flight in this
// process.
func (s *Slab) Begin() (Op, error) {
	p := s.f.Pool
	if p == nil {
		return Op{}, arena.ErrReadOnly
	}
	i := p.Prefer()
	if !p.TryTake(i) {
		return s.beginSlow()
	}
	l := &s.lanes[i]
	return Op{s: s, Record: l.own, lane: l}, nil
}

//go:noinline
func (s *Slab) beginSlow() (Op, error) {
	r, i, ok := s.f.Pool.Take()
	if !ok {
		return Op{}, arena.ErrClosed
	}
	return Op{s: s, Record: r, lane: &s.lanes[i]}, nil
}

// Reserve allocates a block of at least n bytes for this operation and returns
// its offset. The block is named by the record; it becomes part of a structure
// by being published (a Replace of the record, or Publish of an object). Its
// contents are undefined.
//
// It must not be called while a shared lock is held: the segment may grow. An
// operation reserves one block; a second call is a mistake of the caller, and a
// panic.
func (o *Op) Reserve(n uint64) (uint64, error) {
	if o.Record.Open() {
		panic("slab: Reserve of an operation that has a block already")
	}
	if class, ok := o.s.f.Pages.ClassFor(n); ok {
		return o.s.allocBlock(o.Record, o.lane, class)
	}
	return o.s.allocRun(o.Record, o.lane, n)
}

// ReserveSecond reserves another block, all zeros, under a record of its own: for
// a change that needs two. The caller publishes both by one record, and then
// closes the second one. One operation of a process does this at a time.
func (o *Op) ReserveSecond(n uint64) (uint64, error) {
	o.s.seconds.Lock() // there are few such records, and Reserve may need one more
	r, i, ok := o.s.f.Pool.TakeNested()
	if !ok {
		o.s.seconds.Unlock()
		return 0, arena.ErrClosed
	}
	o.lane.second, o.lane.nested = r, i
	twin := Op{s: o.s, Record: r, lane: o.lane}
	return twin.ReserveZeroed(n)
}

// Second returns the record of the second block, nil if there is none.
func (o *Op) Second() *intent.Record { return o.lane.second }

// endSecond gives the second record back, and its block if that is still named.
func (o *Op) endSecond() {
	l := o.lane
	if ref, ok := l.second.Reserved(); ok {
		_ = o.s.f.Pages.Free(ref) // survivor: free, and named
		l.second.Close()          // survivor: nothing left
	}
	o.s.f.Pool.Give(l.nested)
	l.second = nil
	o.s.seconds.Unlock()
}

// ReserveZeroed is Reserve for a block that is all zeros.
func (o *Op) ReserveZeroed(n uint64) (uint64, error) {
	ref, err := o.Reserve(n)
	if err != nil {
		return 0, err
	}
	size, err := o.s.f.Pages.Size(ref)
	if err != nil {
		return 0, err
	}
	mem.Zero(o.s.f.View.Base().Add(ref), size)
	return ref, nil
}

// End ends the operation. A block that was reserved and not published is freed.
func (o *Op) End() {
	if l := o.lane; l.second != nil || !l.freed.Empty() || o.Record.Open() {
		o.endSlow()
	} else {
		o.s.f.Pool.Give(l.record)
	}
}

//go:noinline
func (o *Op) endSlow() {
	l := o.lane
	if l.second != nil {
		o.endSecond()
	}
	if o.Record.Open() && !o.undo() {
		o.s.f.Pool.Lose(l.record)
		return
	}
	if !l.freed.Empty() {
		o.s.keep(l, &l.freed)
		l.freed = pages.Round{}
	}
	o.s.f.Pool.Give(l.record)
}

// undo ends what the operation has begun, and reports whether that could be done.
func (o *Op) undo() bool {
	for off, changing := o.Record.Lock(); changing; off, changing = o.Record.Lock() {
		if err := o.mend(off); err != nil { // a panic came between, and nobody can finish what it cut short
			return false
		}
	}
	if ref, ok := o.Record.Reserved(); ok {
		_ = o.s.f.Pages.FreeRound(ref, &o.lane.freed) // survivor: free, and named
		o.Record.Close()                              // survivor: nothing left
	}
	return true
}

// Free is [Slab.Free] for one who has an operation going.
func (o *Op) Free(ref uint64) error { return o.s.free(o.lane, ref) }

// Settle frees the block that this operation has replaced, under its record and
// under the lock of the structure: after the target has been stored, before the
// record is closed. The next operation may be given it.
func (o *Op) Settle(ref uint64) {
	// It is in use: nobody else unlinks it, since we hold the lock.
	if !o.lane.freed.Empty() {
		o.s.f.Pages.Hint(o.lane.freed.Page()) // one is enough for us
	}
	_ = o.s.f.Pages.FreeRound(ref, &o.lane.freed)
}

// mend settles the operation as a survivor would, after a panic under the lock
// at off. Another one who holds the lock is mending.
func (o *Op) mend(off uint64) error {
	lock, err := mem.At[psync.Mutex](o.s.f.View, off)
	if err == nil {
		err = lock.Settle(o.s.f.Owner, func() error { return o.s.f.Records.SettleLock(off) })
	}
	if errors.Is(err, psync.ErrBusy) {
		return nil
	}
	return err
}

// Create makes an object with a name: a block of at least s.Size bytes, filled
// by fill, which is given its address and must write all of it.
//
// Objects that this process has removed, and whose handles it has dropped, are
// freed when Go collects the handles; a full arena is a reason to have that done.
func (s *Slab) Create(name string, spec arena.Spec, fill func(root mem.Ptr)) (*arena.Object, error) {
	o, err := s.create(name, spec, fill)
	for try := 0; try < collections && errors.Is(err, ErrFull) && s.arena.KeepsGarbage(); try++ {
		runtime.GC()
		time.Sleep(time.Millisecond) // cleanups run in goroutines of their own
		o, err = s.create(name, spec, fill)
	}
	return o, err
}

// collections is how often Create has garbage collected before it gives up.
const collections = 3

func (s *Slab) create(name string, spec arena.Spec, fill func(root mem.Ptr)) (*arena.Object, error) {
	op, err := s.Begin()
	if err != nil {
		return nil, err
	}
	defer op.End()
	ref, err := op.Reserve(spec.Size)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", spec.Kind, name, err)
	}
	if err := s.f.View.Check(ref, spec.Size, 8); err != nil {
		return nil, err
	}
	fill(s.f.View.Base().Add(ref))
	return s.arena.Publish(op.Record, ref, name, spec)
}

func closedError(err error) error {
	if errors.Is(err, psync.ErrClosed) {
		return arena.ErrClosed
	}
	return err
}

// CloseError translates the error of a lock of a structure.
func CloseError(err error) error { return closedError(err) }
