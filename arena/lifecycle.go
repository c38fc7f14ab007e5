package arena

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/shm"
)

// How an arena comes and goes. A is the segment byte.
//
//	attach   open the file; A shared; is the name still this file?; claim a slot
//	         (which takes the life byte L); drop A
//	remove   drop L; A exclusive; does nobody hold an L?; is the name still this
//	         file?; unlink
//
// Only the exclusive holder of A on the file that the name leads to unlinks it,
// so the check under A stands: whoever attaches sees the name still there while
// it has A, and has L when it lets go of A. There is no flag "retired" beside
// the name, and so no state between the two that a killed remover could leave.

// errGone says that the segment lost its name while we were opening it.
var errGone = errors.New("segment was removed while opening it")

// errOrphan says that nobody is left who would remove the segment.
var errOrphan = errors.New("segment has outlived its last process")

// errInit says that an error is that of the caller's init function, whatever
// else it wraps.
var errInit = errors.New("init")

const (
	lockPause = time.Millisecond
	joinLimit = 10 * time.Second // a living process holds A for microseconds
	goLimit   = time.Second
)

// join takes a slot on a segment that still has its name.
func (a *Arena) join() error {
	ok, err := until(joinLimit, func() (bool, error) { return a.locks.TryRLock(psync.SegmentByte) })
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: a process has been removing it for %s", ErrBusy, joinLimit)
	}
	err = a.joinLocked()
	err = errors.Join(err, a.locks.Unlock(psync.SegmentByte))
	if errors.Is(err, errOrphan) {
		return a.removeOrphan()
	}
	return err
}

// removeOrphan removes the name of a segment that has outlived its last process,
// and returns errGone if it has, or somebody has joined it meanwhile.
func (a *Arena) removeOrphan() error {
	done, err := a.removeLast(a.locks, joinLimit)
	switch {
	case err != nil:
		return fmt.Errorf("its last process was killed, and its name can't be removed: %w", err)
	case !done:
		return fmt.Errorf("%w: its last process was killed, and somebody has been opening it for %s", ErrBusy, joinLimit)
	}
	return errGone
}

func (a *Arena) joinLocked() error {
	if err := a.checkConflict(); err != nil {
		return err
	}
	linked, err := a.seg.Linked()
	if err != nil {
		return err
	}
	if !linked {
		return errGone
	}
	if a.plan.lifetime == uint64(RemoveWithLast) {
		if err := a.checkOrphan(); err != nil {
			return err
		}
	}
	settle := func(me *psync.Owner, dead psync.ID) error {
		a.records.SetOwner(me) // nobody else is at work in this attach yet
		return a.settle(me, dead)
	}
	if a.owner, err = a.slots.Attach(settle); err != nil {
		if errors.Is(err, psync.ErrNoSlot) {
			err = fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return err
	}
	a.records.SetOwner(a.owner)
	a.writes = true
	a.owner.Stalled = a.stalled
	a.pool = a.records.NewPool(a.owner.ID().Slot())
	if a.holds(a.owner.ID().Slot()) { // whoever freed the slot was wrong
		if err := a.settle(a.owner, a.owner.ID()); err != nil {
			return err
		}
	}
	a.describe()
	return nil
}

// checkOrphan returns errOrphan for a segment whose last process was killed
// before it could remove the name. One that its creator has not joined yet is
// no orphan.
func (a *Arena) checkOrphan() error {
	if a.slots.High() == 0 {
		return nil
	}
	alive, err := a.slots.AnyAlive()
	if err == nil && !alive {
		err = errOrphan
	}
	return err
}

// checkConflict makes sure that the file's locks tell two holders apart: on a
// file system where they do not, everybody would look dead.
func (a *Arena) checkConflict() error {
	const probe = psync.SegmentByte + 1
	other, err := a.seg.Locks()
	if err != nil {
		return err
	}
	defer other.Close()
	if ok, err := other.TryLock(probe); !ok || err != nil {
		return err // somebody else is probing: then they do
	}
	held, err := a.locks.Held(probe, 1)
	if err == nil && !held {
		err = fmt.Errorf("byte locks do not conflict on this file system: %w", errors.ErrUnsupported)
	}
	return err
}

// joinReadOnly checks that there is somebody to read from. It writes nothing.
func (a *Arena) joinReadOnly() error {
	linked, err := a.seg.Linked()
	if err != nil {
		return err
	}
	if !linked {
		return errGone
	}
	if a.plan.lifetime == uint64(RemoveWithLast) {
		if alive, err := a.slots.AnyAlive(); !alive || err != nil {
			return errors.Join(err, fmt.Errorf("its last process is gone: %w", fs.ErrNotExist))
		}
	}
	if a.head.ready.Load() != 1 {
		return ErrNotReady
	}
	return nil
}

func (a *Arena) stalled(s psync.Stall) {
	if a.onStall != nil {
		a.onStall(Stall{Arena: a.name, Holder: a.process(s.Holder.Slot()), Waited: s.Waited})
	}
}

// initialise runs the init function if nobody has completed one. The init lock
// is held meanwhile, alone: other processes wait here. A dead initialiser's
// objects are removed before the next one starts.
func (a *Arena) initialise(init func(*Arena) error) error {
	if a.head.ready.Load() == 1 {
		return nil
	}
	lock := &a.head.initLock
	if err := lock.Lock(a.owner, a.restart); err != nil {
		return a.reason(err)
	}
	defer func() {
		if a.head.ready.Load() == 1 {
			lock.Unlock()
		} else {
			lock.Abandon() // init failed or panicked: the next one clears up
		}
	}()
	return a.initialiseLocked(init)
}

func (a *Arena) initialiseLocked(init func(*Arena) error) error {
	if a.head.ready.Load() == 1 {
		return nil
	}
	if init == nil {
		return ErrNotReady
	}
	if err := init(a); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errInit, err), a.clear())
	}
	if a.closed.Load() {
		return fmt.Errorf("%w: it has closed the arena: %w", errInit, ErrClosed)
	}
	a.head.ready.Store(1) // survivor: it is done
	return nil
}

// restart prepares for another init. The last initialiser may have died while
// we waited for it: its handles are dropped first, so that what they hold is
// really freed.
func (a *Arena) restart() error {
	if _, err := a.Recover(); err != nil && errors.Is(err, ErrCorrupt) {
		return err
	}
	return a.clear()
}

// clear removes every object of an arena that is not ready.
func (a *Arena) clear() error {
	if a.head.ready.Load() == 1 {
		return nil // the initialiser died when it was done
	}
	var errs []error
	for _, o := range a.Objects() {
		if err := a.Remove(o.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close ends every handle on the arena in this process and frees its slot.
// Operations that run in other goroutines are completed or fail with ErrClosed,
// reads return what is not there; none of them touches the segment after Close.
// Closing twice is no error.
func (a *Arena) Close() error {
	if !a.closed.CompareAndSwap(false, true) {
		return nil
	}
	if a.owner == nil {
		return errors.Join(a.closeSegment(), a.locks.Close())
	}
	a.owner.Close()
	for !a.pool.Close() || a.inside.Load() != 0 {
		time.Sleep(lockPause / 10)
	}
	a.mu.Lock()
	if a.above != nil && a.above.Leave != nil {
		a.above.Leave()
	}
	a.mu.Unlock()
	return a.leave()
}

func (a *Arena) closeSegment() error {
	if !a.owned {
		return nil
	}
	return a.seg.Close()
}

// leave frees the slot. First the mapping is replaced by private memory, so
// that no goroutine of this process can store into the segment any more (B8);
// the slot is put in order through a second mapping. If that can't be had, the
// slot stays as that of a dead process, and the next one frees it.
func (a *Arena) leave() error {
	twin, err := a.twin()
	if shut := a.closeSegment(); shut != nil {
		// A goroutine may still be storing. Stay alive for the others.
		undead.Store(a.locks, true)
		return errors.Join(err, shut)
	}
	if err == nil {
		err = a.freeSlot(twin)
	}
	return errors.Join(err, a.locks.Close())
}

// freeSlot gives up what the slot holds, through the twin of the segment. A slot
// with a record that nobody could settle stays as that of a dead process.
func (a *Arena) freeSlot(twin *shm.Segment) error {
	if twin != a.seg {
		defer twin.Close()
	}
	c, err := newCore(twin, a.plan, a.locks)
	if err != nil || a.pool.Lost() {
		return err
	}
	c.letGo(a.owner.ID())
	if err := c.slots.Detach(a.owner.ID()); err != nil {
		return err
	}
	if a.plan.lifetime == uint64(RemoveWithLast) {
		_, err = c.removeLast(a.locks, goLimit)
	}
	return err
}

// undead holds the locks of attaches whose mapping could not be replaced, for
// as long as the process lives.
var undead sync.Map

func (a *Arena) twin() (*shm.Segment, error) {
	if !a.owned {
		return a.seg, nil
	}
	return a.seg.Twin()
}

// removeLast unlinks the segment if nobody is attached. Our life byte is
// dropped already, so of two last ones at least one sees nobody (B9). When A is
// busy for long, the next opener does it: then done is false.
func (c *core) removeLast(locks psync.Bytes, limit time.Duration) (done bool, err error) {
	ok, err := until(limit, func() (bool, error) { return locks.TryLock(psync.SegmentByte) })
	if !ok || err != nil {
		return false, err
	}
	alive, err := c.slots.AnyAlive()
	if err == nil && !alive {
		err = c.seg.Unlink()
	}
	return true, errors.Join(err, locks.Unlock(psync.SegmentByte))
}

// until tries again and again until try succeeds or the limit has passed.
func until(limit time.Duration, try func() (bool, error)) (bool, error) {
	for start := time.Now(); ; time.Sleep(lockPause) {
		if ok, err := try(); ok || err != nil {
			return ok, err
		}
		if time.Since(start) > limit {
			return false, nil
		}
	}
}

// Remove removes the name of an arena, whoever uses it: those who have it open
// keep it until they close it. Only Dir of the options is used. What cannot be
// opened, because it is damaged or belongs to somebody else, is removed all the
// same if the directory allows it.
func Remove(name string, o *Options) error {
	var so shm.OpenOptions
	if o != nil {
		so.Dir = o.Dir
	}
	for {
		seg, err := shm.Open(name, &so)
		if err != nil {
			return shm.Remove(name, &so) // nobody can be attaching to it
		}
		removed, err := removeNow(seg)
		if err = errors.Join(err, seg.Close()); err != nil {
			return fmt.Errorf("remove arena %q: %w", name, err)
		}
		if removed {
			return nil
		}
	}
}

// removeNow unlinks a segment as its exclusive remover, so that neither it nor
// somebody else who removes it hits a newer segment of the name (B9). False: it
// has lost its name already.
func removeNow(seg *shm.Segment) (bool, error) {
	locks, err := seg.Locks()
	if err != nil {
		return false, err
	}
	defer locks.Close()
	ok, err := until(goLimit, func() (bool, error) { return locks.TryLock(psync.SegmentByte) })
	if err != nil {
		return false, err
	}
	if !ok {
		return false, fmt.Errorf("%w: a process has been opening it for %s", ErrBusy, goLimit)
	}
	linked, err := seg.Linked()
	if !linked || err != nil {
		return false, err
	}
	return true, seg.Unlink()
}

// List returns the segments in a directory; "" means /dev/shm.
func List(dir string) ([]shm.Info, error) { return shm.List(dir) }
