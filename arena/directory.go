package arena

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"

	"github.com/shmkit/shmkit/internal/intent"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// The directory is two tables, as in a Unix file system: names lead to objects
// as directory entries lead to inodes. An object is live as long as a name
// leads to it. So each change of the directory is published by one store:
//
//	create   the object's ref (block becomes an object), then the name's word
//	remove   the name's word
//	rename   the word of the new name; the old name is cleared after, by record
//
// An object without a name is garbage: its state becomes removed, and when no
// handle is open on it, its blocks are freed and its entry is free again. Any
// process can do that, in steps that can be repeated, so a creator or remover
// that is killed anywhere leaves at most garbage that the next change collects.

// Kind says what structure an object is.
type Kind uint32

// Kinds of objects.
const (
	KindValue   Kind = 1
	KindCounter Kind = 2
	KindArray   Kind = 3
	KindMap     Kind = 4
	KindOwn     Kind = 5 // a structure of a program's own, built on package slab
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindValue:
		return "value"
	case KindCounter:
		return "counter"
	case KindArray:
		return "array"
	case KindMap:
		return "map"
	case KindOwn:
		return "structure"
	default:
		return fmt.Sprintf("kind %d", uint32(k))
	}
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Name        string
	Kind        Kind
	Fingerprint uint64
	Size        int64 // bytes of its root block in use; entries of a map not included
	Handles     int   // processes that have it open for writing
}

// Objects lists the objects of the arena. It takes no lock.
func (a *Arena) Objects() []ObjectInfo {
	if a.closed.Load() {
		return nil
	}
	var infos []ObjectInfo
	for n := range int(a.plan.names()) {
		o, text, ok := a.readName(n)
		if !ok {
			continue
		}
		e := a.object(o)
		infos = append(infos, ObjectInfo{
			Name: text, Kind: Kind(e.kind.Load()), Fingerprint: e.fingerprint.Load(),
			Size: int64(e.size.Load()), Handles: a.handles(o),
		})
	}
	return infos
}

func (c *core) handles(o int) int {
	n := 0
	for s := range c.slots.High() {
		n += int(c.slot(s).pins[o/64].Load() >> (o % 64) & 1)
	}
	return n
}

// readName returns the object and the text of name n, if it is in use. The word
// is read again at the end: its generation says whether the text belongs to it.
func (c *core) readName(n int) (o int, text string, ok bool) {
	e := c.entry(n)
	for {
		word := e.word.Load()
		o, ok = objectOf(word, c.plan.objects)
		if !ok {
			return 0, "", false
		}
		var b []byte
		for i := range e.text {
			b = appendText(b, e.text[i].Load())
		}
		if e.word.Load() == word {
			return o, string(b), true
		}
	}
}

// objectOf returns the object a name's word leads to.
func objectOf(word, objects uint64) (int, bool) {
	o := word & intent.NameMask
	return int(o) - 1, o != 0 && o <= objects
}

func nameWord(generation uint64, o int) uint64 { return generation<<32 | uint64(o+1) }

// find returns the index of a name, -1 if there is none.
func (c *core) find(text string) int {
	for n := range int(c.plan.names()) {
		if _, t, ok := c.readName(n); ok && t == text {
			return n
		}
	}
	return -1
}

func checkObjectName(text string) error {
	if text == "" || len(text) > MaxName {
		return fmt.Errorf("object name %q: %d bytes, want 1 to %d: %w", text, len(text), MaxName, fs.ErrInvalid)
	}
	for i := range len(text) {
		if text[i] == 0 {
			return fmt.Errorf("object name %q: byte %d is zero: %w", text, i, fs.ErrInvalid)
		}
	}
	return nil
}

// locked runs f under the directory lock. A panic in f leaves the lock to be
// mended.
func (a *Arena) locked(f func() error) error { return a.lockedBy((*psync.Mutex).Lock, f) }

// lockedBy is locked with a way to take the lock.
func (a *Arena) lockedBy(take func(*psync.Mutex, *psync.Owner, func() error) error, f func() error) error {
	lock := &a.head.dirLock
	if err := take(lock, a.owner, func() error { return a.records.SettleLock(dirOff) }); err != nil {
		return a.reason(err)
	}
	whole := false
	defer func() {
		if whole {
			lock.Unlock()
		} else {
			lock.Abandon()
		}
	}()
	err := f()
	whole = true
	return err
}

// Remove removes an object. Handles that are open get ErrRemoved; its memory is
// freed when the last of them is closed. The error wraps fs.ErrNotExist if
// there is no such object.
func (a *Arena) Remove(object string) error {
	if err := a.enter(); err != nil {
		return err
	}
	defer a.exit()
	err := a.locked(func() error {
		n := a.find(object)
		if n < 0 {
			return fmt.Errorf("object %q of %s: %w", object, a, fs.ErrNotExist)
		}
		a.entry(n).word.And(^intent.NameMask) // survivor: the object is garbage
		return nil
	})
	if err != nil {
		return err
	}
	return a.collect()
}

// Rename gives the object from the name to. If an object has that name already,
// it is replaced, in one step: whoever opens the name finds the one or the
// other. Handles follow their object: those on the replaced one get ErrRemoved.
func (a *Arena) Rename(from, to string) error {
	if err := a.writable(); err != nil {
		return err
	}
	if err := checkObjectName(to); err != nil {
		return err
	}
	r, i, err := a.take()
	if err != nil {
		return err
	}
	defer a.pool.Give(i)
	err = a.locked(func() error { return a.rename(r, from, to) })
	if err != nil {
		return err
	}
	return a.collect()
}

func (a *Arena) rename(r *intent.Record, from, to string) error {
	src := a.find(from)
	if src < 0 {
		return fmt.Errorf("object %q of %s: %w", from, a, fs.ErrNotExist)
	}
	if from == to {
		return nil
	}
	dst := a.find(to)
	if dst < 0 {
		var err error
		if dst, err = a.writeName(to); err != nil {
			return err
		}
	}
	o, _ := objectOf(a.entry(src).word.Load(), a.plan.objects)
	target, also := &a.entry(dst).word, &a.entry(src).word
	old := target.Load()
	c := intent.Change{Lock: dirOff, Target: a.nameAt(dst), Old: old, New: nameWord(old>>32+1, o)}
	r.Rename(&c, a.nameAt(src))
	target.Store(c.New)        // survivor: clears the old name
	also.And(^intent.NameMask) // survivor: the same
	r.Close()
	return nil
}

// writeName writes a text into a free name and returns its index.
func (a *Arena) writeName(text string) (int, error) {
	for n := range int(a.plan.names()) {
		e := a.entry(n)
		if _, used := objectOf(e.word.Load(), a.plan.objects); used {
			continue
		}
		// A reader that is comparing the old text finds the generation changed
		// before the first letter of the new one.
		e.word.Store((e.word.Load()>>32 + 1) << 32) // survivor: a free name
		for i := range e.text {
			e.text[i].Store(packText(text, i*8))
		}
		e.length.Store(uint64(len(text)))
		return n, nil
	}
	return 0, fmt.Errorf("%w: %s holds %d objects, its limit", ErrFull, a, a.plan.objects)
}

// collect frees the objects that have neither a name nor an open handle, and
// tells the handles of those that have no name.
func (a *Arena) collect() error { return a.collectBy((*psync.Mutex).Lock) }

func (a *Arena) collectBy(take func(*psync.Mutex, *psync.Owner, func() error) error) error {
	r, i, ok := a.pool.TakeNested()
	if !ok {
		return ErrClosed
	}
	defer a.pool.Give(i)
	for o := range int(a.plan.objects) {
		if a.object(o).ref.Load() == 0 || a.named(o) {
			continue
		}
		at := cursor{}
		for more := true; more; {
			err := a.lockedBy(take, func() (err error) {
				more, err = a.collectObject(r, o, &at)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep collects what nobody was left to collect: the dead one whose slot we
// took had just made it garbage, or its last handle went with its process. Who
// attaches or opens does not wait for a living process that is in the directory.
func (a *Arena) sweep() error {
	if holder := a.head.dirLock.Holder(); holder != 0 {
		if alive, err := a.owner.Alive(holder); alive || err != nil {
			return err
		}
	}
	err := a.collectBy((*psync.Mutex).LockSoon)
	if errors.Is(err, psync.ErrBusy) {
		return nil // it was stopped after we looked
	}
	return err
}

// collectBatch bounds how long the directory is locked.
const collectBatch = 512

// cursor says how far the collection of one object has come. Meanwhile somebody
// else may have completed it, and there may be another object in the entry.
type cursor struct {
	state uint64 // of the object
	group uint64 // the one before which all are freed
	dir   uint64 // of a tree: the directory that is being emptied
	from  uint64 // the word of dir before which all is freed
}

// collectObject frees up to a batch of blocks of object o if it is garbage, and
// reports whether there is more to free. The blocks before the cursor are freed.
func (a *Arena) collectObject(r *intent.Record, o int, at *cursor) (more bool, err error) {
	e := a.object(o)
	root := e.ref.Load()
	if root == 0 || a.named(o) {
		return false, nil
	}
	state := e.state.Load()
	if state&stateMask == objectLive {
		state = state&^stateMask + stateMask + 1 | objectRemoved
		e.state.Store(state) // survivor: sees it removed; handles do too
	}
	if a.pinned(o) {
		return false, nil
	}
	if at.state != state {
		*at = cursor{state: state}
	}
	left := collectBatch
	if err = a.collectGroups(r, o, at, &left); err == nil && left > 0 {
		err = a.collectTree(r, o, at, &left)
	}
	if err != nil || left <= 0 {
		return err == nil, err
	}
	a.records.Apply(r, &intent.Change{Lock: dirOff, Target: a.objectAt(o), Old: root})
	return false, nil
}

// collectGroups frees the blocks that groups of reference words lead to.
func (a *Arena) collectGroups(r *intent.Record, o int, at *cursor, left *int) error {
	return a.traced(o, at.group, func(g, off uint64, word *psync.Word64) bool {
		at.group = g
		if w := word.Load(); w != 0 {
			a.records.Apply(r, &intent.Change{Lock: dirOff, Target: off, Old: w})
			*left--
		}
		return *left > 0
	})
}

// named reports whether a name leads to the object.
func (c *core) named(o int) bool {
	for n := range int(c.plan.names()) {
		if at, ok := objectOf(c.entry(n).word.Load(), c.plan.objects); ok && at == o {
			return true
		}
	}
	return false
}

// traced calls visit with every reference word in the root block of an object
// until visit returns false. The shape is read once and checked.
func (c *core) traced(o int, from uint64, visit func(g, at uint64, word *psync.Word64) bool) error {
	e := c.object(o)
	root, size := e.ref.Load()&intent.RefMask, e.size.Load()
	first, count := e.traceOff.Load(), e.traceCount.Load()
	stride, per := e.traceShape.Load()>>32, e.traceShape.Load()&0xffffffff
	if count&traceTree != 0 {
		count &^= traceTree
		first = min(first, size) + tree.HeadSize + max(stride, per*8) - per*8
	}
	if count == 0 && per == 0 {
		return nil
	}
	if count == 0 || per == 0 || (first|stride)&7 != 0 || per*8 > stride || first > size || per*8 > size-first || count-1 > (size-first-per*8)/max(stride, 1) {
		return fmt.Errorf("%w: object %d: %d groups of %d reference words, %d bytes apart from offset %d on, in %d bytes",
			ErrCorrupt, o, count, per, stride, first, size)
	}
	if err := c.view.Check(root, size, 8); err != nil {
		return err
	}
	for g := from; g < count; g++ {
		for i := range per {
			at := root + first + g*stride + i*8
			if !visit(g, at, mem.Must[psync.Word64](c.view, at)) {
				return nil
			}
		}
	}
	return nil
}

func ones(x uint64) int { return bits.OnesCount64(x) }
