package hashmap

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// How a key is written by what it holds. These verbs are Store and Delete with a
// question before them, and make the same stores in the same order:
//
//	1  look, without lock: if that is the answer, it is over
//	2  reserve a block and fill it, unless the verb deletes
//	3  lock the stripe; look again; copy the old value out before it is freed
//	4  link or unlink, as Store and Delete do; or not: then the block goes back
//	5  unlock
//
// An answer that is given in step 1 was true when the version was read for the
// second time. Under the lock no memory of Go is asked for and nobody else's
// code is called: memory for a []byte or a string is taken before, for as many bytes
// as were seen; if there are more by then, the lock is left and taken again.

// Contains reports whether a key is there. Like Load it takes no lock, stores
// nothing and allocates nothing.
func (m *Map[K, V]) Contains(k K) bool {
	key, n := m.key(&k)
	if n > m.maxKey {
		return false
	}
	h := hashKey(key, n, &m.secrets)
	hit := m.observe(key, n, h).hit
	if !hit {
		m.miss()
	} else { // not a use: the stripe is not told
		m.countHit()
	}
	return hit
}

// LoadOrStore returns the value of a key and true if it is there. Otherwise it
// stores v and returns it, and false. A key that is there costs no more than a
// Load; else it blocks and fails as Store does. If several do this at the same
// time, also in several processes, one of them stores and all return its value.
func (m *Map[K, V]) LoadOrStore(k K, v V) (actual V, loaded bool, err error) {
	if m.floor.Pool != nil { // read-only: refused, whether the key is there or not
		if actual, loaded = m.Load(k); loaded {
			return actual, true, nil
		}
	}
	loaded, err = m.write(&k, &v, true, &actual)
	if err == nil && !loaded {
		actual = v
	}
	return actual, loaded, err
}

// write stores *v as exchange does, with an operation of its own.
func (m *Map[K, V]) write(k *K, v *V, keep bool, out *V) (loaded bool, err error) {
	key, n := m.key(k)
	h := hashKey(key, n, &m.secrets)
	for {
		op, ref, err := m.begin(key, n, v)
		if err != nil {
			return false, err
		}
		loaded, err = m.exchange(&op, key, n, h, ref, keep, out)
		op.End()
		if err != errCrowded {
			return loaded, err
		}
		if err := m.relieve(key, n, h); err != nil {
			return false, err
		}
	}
}

// Swap stores v and returns the value that was there, and whether one was. It
// blocks and fails as Store does; with an error, the old value is still there
// and is not returned.
func (m *Map[K, V]) Swap(k K, v V) (previous V, loaded bool, err error) {
	if m.bytesValue {
		key, n := m.key(&k)
		if n <= m.maxKey {
			m.setBytes(&previous, make([]byte, m.observe(key, n, hashKey(key, n, &m.secrets)).value))
		}
	}
	if loaded, err = m.write(&k, &v, false, &previous); err != nil {
		return *new(V), false, err
	}
	return previous, loaded, nil
}

// LoadAndDelete removes a key and returns the value that was there, and whether
// one was. It blocks as Delete does, but that a key that is not there takes no
// lock. With an error, the key is still there, and its value is not returned.
func (m *Map[K, V]) LoadAndDelete(k K) (v V, loaded bool, err error) {
	key, n := m.key(&k)
	if err := m.writable(n); err != nil {
		return v, false, err
	}
	h := hashKey(key, n, &m.secrets)
	f := m.observe(key, n, h)
	if !f.hit {
		return v, false, m.err()
	}
	if m.bytesValue {
		m.setBytes(&v, make([]byte, f.value))
	}
	op, _, err := m.begin(key, n, nil)
	if err != nil {
		return *new(V), false, err
	}
	defer op.End()
	loaded, err = m.exchange(&op, key, n, h, 0, false, &v)
	return v, loaded, err
}

// exchange replaces the value of a key by the entry at ref, or removes it if
// that is 0, and copies the old one to *out; keep: only if there is none. With V
// of []byte or string, what *out has room for is used: it has been made for that,
// or is empty. *out is zero if nothing was loaded.
func (m *Map[K, V]) exchange(op *slab.Op, key mem.Ptr, n, h, ref uint64, keep bool, out *V) (loaded bool, err error) {
	for {
		loaded, more, err := m.tryExchange(op, key, n, h, ref, keep, out)
		if more == 0 {
			if !loaded {
				*out = *new(V)
			}
			return loaded, err
		}
		m.setBytes(out, make([]byte, more))
	}
}

// tryExchange is exchange, if *out has room; more is what it should have.
func (m *Map[K, V]) tryExchange(op *slab.Op, key mem.Ptr, n, h, ref uint64, keep bool, out *V) (loaded bool, more uint64, err error) {
	var g guard
	if err := m.lock(h, &g); err != nil {
		return false, 0, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil {
		return false, 0, err
	}
	if !at.live {
		return false, 0, g.change(op, at, h, ref)
	}
	if more, err = m.take(at, n, out); more != 0 || err != nil {
		return false, more, err
	}
	switch {
	case keep: // op.End gives the block back
	case ref == 0:
		g.unlink(op, at)
	default:
		err = g.link(op, at, h, ref) // in place: it can't be full
	}
	return true, 0, err
}

// take copies the value of the entry that locate has found to *out, under the
// lock. With V of []byte or string it uses the room *out has; if that is too small
// it copies nothing and returns how many bytes there are.
func (m *Map[K, V]) take(at *place, n uint64, out *V) (more uint64, err error) {
	p, size, err := m.valueOf(at, n)
	if err != nil {
		return 0, err
	}
	if !m.bytesValue {
		mem.ReadInto(out, p)
		return 0, nil
	}
	b := m.bytesOf(out) // ours as yet, also if it is a string
	if size > uint64(cap(b)) {
		return size, nil
	}
	mem.CopyOut(b[:size], p)
	m.setBytes(out, b[:size])
	return 0, nil
}

// valueOf returns where the value of the entry that locate has found lies, and
// its size, under the lock.
func (t *table) valueOf(at *place, n uint64) (p mem.Ptr, size uint64, err error) {
	off := at.old & offsetMask
	e := t.base.Add(off)
	size = mem.Load64(e) >> 32
	if t.wrongValue(size) || !t.within(off, entryHeader+pad8(n)+size) {
		return p, 0, fmt.Errorf("hashmap %q: %w: the entry at %#x has a value of %d bytes", t.object.Name(), ErrCorrupt, off, size)
	}
	return e.Add(entryHeader + pad8(n)), size, nil
}

// writable is what begin refuses, for a verb that may end without a write. One
// that may write is refused by a read-only arena whether it would or not.
func (t *table) writable(n uint64) error {
	if err := t.checkSizes(n, 0); err != nil {
		return err
	}
	if t.floor.Pool == nil {
		return ErrReadOnly
	}
	return nil
}

// CompareAndSwap stores v if the value of the key is old, and reports whether it
// was; a key that is not there has no value. If it is not old that is found out
// without a lock; else it blocks and fails as Store does.
//
// Values are compared byte by byte: a []byte or a string by its contents, so that
// nil equals an empty one; a floating-point number by its bits, so that a NaN
// equals itself and 0 does not equal -0. A V with padding or blank fields is
// refused by an error that wraps ErrTypeMismatch and names the place, since a copy
// of it may have other bytes there: use [Map.Compute].
func (m *Map[K, V]) CompareAndSwap(k K, old, v V) (swapped bool, err error) {
	key, n := m.key(&k)
	if equal, err := m.compared(key, n, &old); !equal {
		return false, err
	}
	op, ref, err := m.begin(key, n, &v)
	if err != nil {
		return false, err
	}
	defer op.End()
	return m.changeFrom(&op, key, n, ref, &old)
}

// CompareAndDelete removes the key if its value is old, and reports whether it
// was. Values are compared and refused as in CompareAndSwap. If it is not old
// that is found out without a lock; else it blocks as Delete does.
func (m *Map[K, V]) CompareAndDelete(k K, old V) (deleted bool, err error) {
	key, n := m.key(&k)
	if equal, err := m.compared(key, n, &old); !equal {
		return false, err
	}
	op, _, err := m.begin(key, n, nil)
	if err != nil {
		return false, err
	}
	defer op.End()
	return m.changeFrom(&op, key, n, 0, &old)
}

// compared reports, without lock, whether the value of a key was *v at one
// moment. With an error it is false.
func (m *Map[K, V]) compared(key mem.Ptr, n uint64, v *V) (bool, error) {
	if err := m.writable(n); err != nil {
		return false, err
	}
	if m.holes != nil {
		return false, fmt.Errorf("hashmap %q: values can't be compared: %w: %w", m.object.Name(), ErrTypeMismatch, m.holes)
	}
	h := hashKey(key, n, &m.secrets)
	for try := 0; ; try++ {
		f := m.observe(key, n, h)
		if !f.hit {
			return false, m.err()
		}
		equal := m.holds(f.entry, f.value, v)
		if m.stands(&f) { // or what was compared may have been something else
			runtime.KeepAlive(m)
			return equal, nil
		}
		m.again(try)
	}
}

// changeFrom links the entry at ref, or removes the key if that is 0, if its
// value is *old, under the lock.
func (m *Map[K, V]) changeFrom(op *slab.Op, key mem.Ptr, n, ref uint64, old *V) (bool, error) {
	h := hashKey(key, n, &m.secrets)
	var g guard
	if err := m.lock(h, &g); err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil || !at.live {
		return false, err
	}
	p, size, err := m.valueOf(at, n)
	if err != nil || !m.holds(p, size, old) {
		return false, err
	}
	m.inherit(at, ref)
	return true, g.change(op, at, h, ref)
}

// inherit gives a new entry the deadline of the one that it replaces.
func (t *table) inherit(at *place, ref uint64) {
	if ref != 0 && at.live {
		t.deadline(ref).Put(t.deadline(at.old & offsetMask).Load())
	}
}

// change links the entry at ref, or unlinks the one there is if that is 0.
func (g *guard) change(op *slab.Op, at *place, h, ref uint64) error {
	if ref != 0 {
		return g.link(op, at, h, ref)
	}
	if at.old != 0 {
		g.unlink(op, at)
	}
	return nil
}

// holds compares the value of size bytes at p with *v.
func (m *Map[K, V]) holds(p mem.Ptr, size uint64, v *V) bool {
	if m.bytesValue {
		return holdsBytes(p, size, m.bytesOf(v))
	}
	equal := equalValue(mem.KeyPtr(v), p, mem.SizeOf[V]())
	runtime.KeepAlive(v)
	return equal
}

// holdsBytes compares the value of size bytes at p with b.
func holdsBytes(p mem.Ptr, size uint64, b []byte) bool {
	return size == uint64(len(b)) && equalValue(mem.PtrOf(b), p, size)
}

// observe searches a key, without lock, until what it finds stands: a hit, with
// the size of the value, or a miss. If the map or the handle has ended, or where
// damage is met, it finds nothing, and m.err says why.
func (t *table) observe(key mem.Ptr, n, h uint64) found {
	for try := 0; ; try++ {
		f := t.find(key, n, h)
		if !f.retry && t.stands(&f) {
			runtime.KeepAlive(t)
			return f
		}
		if t.dead() {
			return found{}
		}
		t.again(try)
	}
}

// Action is what Compute does with a key.
type Action uint8

const (
	Cancel Action = iota // leave the key as it is
	Store                // store the value that the function returned; the deadline stays
	Delete               // remove the key
	Renew                // Store, with the deadline anew, as [Map.Store] sets it
)

// Compute changes a key by a function of its value. f is given the value, and
// whether the key is there, and says what becomes of it. Compute returns the
// value that is there then, and whether one is.
//
// No lock is held while f runs, so it may take its time, use the map, and panic:
// then nothing has happened. The change is made only if the key has still the
// value that f was given, or none if it had none; otherwise f is called again,
// with what is there now. So f may be called several times, because somebody else has
// changed the key, or the map has had to grow, and should do nothing but compute. A []byte
// that f is given is its own, to change and to return; the one that it returns
// is returned by Compute as well.
//
// Without a change Compute takes no lock; else it blocks and fails as Store and
// Delete do. With an error the old value is there.
func (m *Map[K, V]) Compute(k K, f func(old V, ok bool) (V, Action)) (v V, ok bool, err error) {
	key, n := m.key(&k)
	if err := m.writable(n); err != nil {
		return v, false, err
	}
	h := hashKey(key, n, &m.secrets)
	for try := 0; ; try++ {
		old, seen, err := m.read(key, n, h)
		if err != nil {
			return v, false, err
		}
		kept := old
		if m.bytesValue && !m.textValue { // f may write over the other one
			mem.SetBytes(&kept, bytes.Clone(mem.AsBytes(&old)))
		}
		fresh, action := f(old, seen.hit)
		entry := &fresh
		switch action {
		case Store, Renew:
		case Delete:
			fresh, entry = v, nil
		case Cancel:
			return kept, seen.hit, nil
		default:
			panic(fmt.Sprintf("hashmap: Compute: the function has returned Action(%d)", action))
		}
		if !seen.hit && action == Delete {
			return v, false, nil
		}
		done, err := m.commit(key, n, h, &seen, &kept, entry, action == Renew)
		if err == errCrowded {
			err = m.relieve(key, n, h)
		}
		if err != nil {
			return v, false, err
		}
		if done {
			return fresh, entry != nil, nil
		}
		m.again(try)
	}
}

// read is Load for one who will want to know whether what it has found is still
// there. A miss is one: an ended map, or one where damage was seen, is an error.
func (m *Map[K, V]) read(key mem.Ptr, n, h uint64) (v V, f found, err error) {
	for try := 0; ; try++ {
		f = m.observe(key, n, h)
		if !f.hit {
			return *new(V), f, m.err()
		}
		m.copyValue(f.entry, f.value, &v)
		if m.stands(&f) {
			runtime.KeepAlive(m)
			return v, f, nil
		}
		m.again(try)
	}
}

// commit stores *v, or removes the key if v is nil, and reports true, if the key
// is as read has found it, with the value *kept. renew: not with the old deadline.
func (m *Map[K, V]) commit(key mem.Ptr, n, h uint64, seen *found, kept, v *V, renew bool) (done bool, err error) {
	op, ref, err := m.begin(key, n, v)
	if err != nil {
		return false, err
	}
	defer op.End()
	var g guard
	if err := m.lock(h, &g); err != nil {
		return false, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil {
		return false, err
	}
	if same, err := m.still(at, n, seen, kept); err != nil || !same {
		return false, err
	}
	if !renew {
		m.inherit(at, ref)
	}
	err = g.change(&op, at, h, ref)
	return err == nil, err
}

// still reports, under the lock, whether the key that locate has looked for is as
// read has found it. As long as the version stands no slot of the bucket has
// changed. A slot that holds the same word again would say nothing: the block
// may have been another entry meanwhile, and be one of this key again.
func (m *Map[K, V]) still(at *place, n uint64, seen *found, kept *V) (bool, error) {
	if !at.live {
		return !seen.hit, nil
	}
	p, size, err := m.valueOf(at, n)
	if err != nil || !seen.hit {
		return false, err
	}
	if at.bucket == seen.bucket && !m.changed(seen) {
		return true, nil
	}
	return m.holds(p, size, kept), nil
}

// Number is what Add adds.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Add adds delta to the value of a key and returns the sum: that of Go's +, so an
// integer wraps around, and a float is rounded each time, by which the order of
// several Adds may show. A key that is not there is created with delta. It blocks
// and fails as [Map.Store] does; with an error the old value is there.
// The deadline of an entry stays.
func Add[K comparable, N Number](m *Map[K, N], k K, delta N) (N, error) {
	return addTo(m, &k, delta, 0, m.usual())
}

// AddInitial is Add, but that a key that is not there is created with the sum of
// initial and delta, and lives for ttl; 0 is for ever.
func AddInitial[K comparable, N Number](m *Map[K, N], k K, delta, initial N, ttl time.Duration) (N, error) {
	until, err := m.until(ttl)
	if err != nil {
		return 0, err
	}
	return addTo(m, &k, delta, initial, until)
}

func addTo[K comparable, N Number](m *Map[K, N], k *K, delta, initial N, until uint64) (N, error) {
	key, n := m.key(k)
	h := hashKey(key, n, &m.secrets)
	first := initial + delta
	if m.hasSpare(n, h, m.valueSize) {
		if sum, done, err := addOver(m, key, n, h, delta, first, until); done {
			return sum, err
		}
	}
	for {
		op, ref, err := m.begin(key, n, &first)
		if err != nil {
			return 0, err
		}
		m.deadline(ref).Put(until)
		sum, err := add(m, &op, key, n, h, ref, delta, first)
		op.End()
		if err != errCrowded {
			return sum, err
		}
		if err := m.relieve(key, n, h); err != nil {
			return 0, err
		}
	}
}

// addOver is addTo over an entry, in the spare of its stripe, if there are both.
func addOver[K comparable, N Number](m *Map[K, N], key mem.Ptr, n, h uint64, delta, first N, until uint64) (sum N, done bool, err error) {
	var w overwrite
	defer w.end()
	if !m.overwrite(&w, key, n, h, m.valueSize) {
		return 0, false, nil
	}
	m.fill(w.ref, key, n, &first, until)
	if sum, err = addAt(m, &place{old: w.old, live: true}, n, w.ref, delta, first); err == nil {
		w.commit(h)
	}
	return sum, true, err
}

// add links the entry at ref, whose value is first, or with the sum for a value.
func add[K comparable, N Number](m *Map[K, N], op *slab.Op, key mem.Ptr, n, h, ref uint64, delta, first N) (N, error) {
	var g guard
	if err := m.lock(h, &g); err != nil {
		return 0, err
	}
	defer g.unlock()
	at, err := g.locate(key, n, h)
	if err != nil {
		return 0, err
	}
	sum, err := addAt(m, at, n, ref, delta, first)
	if err == nil {
		err = g.link(op, at, h, ref)
	}
	if err != nil {
		return 0, err
	}
	return sum, nil
}

// addAt has the entry at ref, whose value is first, take the place of the one that
// locate has found, and returns its value.
func addAt[K comparable, N Number](m *Map[K, N], at *place, n, ref uint64, delta, first N) (N, error) {
	if !at.live {
		return first, nil
	}
	m.inherit(at, ref)
	var old N
	if _, err := m.take(at, n, &old); err != nil {
		return 0, err
	}
	sum := old + delta
	mem.Write(m.base.Add(ref+entryHeader+pad8(n)), &sum) // nothing leads there yet
	return sum, nil
}
