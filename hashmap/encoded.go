package hashmap

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// How values of any type are stored: as the bytes that a codec makes of them, in
// a map of []byte. The codec runs before the map is asked to write, and after what
// was read has been found to stand; so it never runs under a lock, nor on memory
// that others can change, and where it fails or panics the map is as it was.
//
// The verbs that return an old value change the key by Compute: its function has
// the old bytes, and decodes them, before anything is decided. So an error always
// means that nothing has changed, also one of decoding.
//
// Load alone does not decode what it has decoded before; see cache.go.

// Encoded is a handle on a hash map whose values are stored as the bytes that a
// [Codec] makes of them. So V can be any type: maps, slices, strings, pointers. It
// is safe for concurrent use by goroutines, and beside other processes.
//
// Load returns a value that all who load the key share, to be read only. All other
// verbs decode and return a value that is the caller's own.
//
// The verbs block and fail as those of [Map] do, and when the codec fails: then the
// error wraps ErrCodec and the codec's error, and nothing has changed, not even
// where the new value was fine and the old one could not be decoded. Store and
// Delete, which do not look at the old value, help there.
type Encoded[K comparable, V any] struct {
	raw     *Map[K, []byte]
	codec   Codec[V]
	cache   cache[K, V]
	failure atomic.Pointer[error] // first value that a read could not decode
	buffers sync.Pool             // of *[]byte, for encoded values
}

// defaultCache is how many decoded values a handle remembers.
const defaultCache = 1024

// CreateEncoded makes a new, empty map of values that c encodes. The error wraps
// fs.ErrExist if the arena has an object of that name.
func CreateEncoded[K comparable, V any](a *arena.Arena, name string, c Codec[V], o *Options) (*Encoded[K, V], error) {
	return newEncoded(c, o, func(s *shape) (*Map[K, []byte], error) { return createAs[K, []byte](a, name, o, s) })
}

// OpenEncoded opens a map that was made by CreateEncoded. The error wraps
// fs.ErrNotExist if there is none of that name, ErrTypeMismatch if it has another
// type of keys, or a codec or a type of values of another name.
func OpenEncoded[K comparable, V any](a *arena.Arena, name string, c Codec[V], o *Options) (*Encoded[K, V], error) {
	return newEncoded(c, o, func(s *shape) (*Map[K, []byte], error) { return openAs[K, []byte](a, name, s) })
}

// OpenOrCreateEncoded opens a map, or creates it if there is none of that name.
func OpenOrCreateEncoded[K comparable, V any](a *arena.Arena, name string, c Codec[V], o *Options) (*Encoded[K, V], error) {
	return newEncoded(c, o, func(s *shape) (*Map[K, []byte], error) {
		return slab.OpenThenCreate(
			func() (*Map[K, []byte], error) { return openAs[K, []byte](a, name, s) },
			func() (*Map[K, []byte], error) { return createAs[K, []byte](a, name, o, s) })
	})
}

func newEncoded[K comparable, V any](c Codec[V], o *Options, open func(s *shape) (*Map[K, []byte], error)) (*Encoded[K, V], error) {
	if c == nil {
		return nil, fmt.Errorf("hashmap: %w: there is no codec for %s", ErrTypeMismatch, reflect.TypeFor[V]())
	}
	s, err := encodedShape[K](c.Name(), reflect.TypeFor[V]())
	if err != nil {
		return nil, err
	}
	raw, err := open(&s)
	if err != nil {
		return nil, err
	}
	remembered := defaultCache
	if o != nil && o.Cache != 0 {
		remembered = o.Cache
	}
	return &Encoded[K, V]{raw: raw, codec: c, cache: newCache[K, V](remembered)}, nil
}

// Load returns the value of a key and whether it is there. As long as nobody
// writes the key, it is the same *V for all who load it in this process, decoded
// once: it must not be changed, nor what it leads to. It stays as it is when the
// key is written or deleted. Of two calls that decode at the same time each may
// return its own.
//
// Load takes no lock and stores nothing in the arena; for a value that it has
// decoded before it allocates nothing. A value that does not decode is not found,
// and Err says why; LoadInto returns that error.
func (m *Encoded[K, V]) Load(k K) (*V, bool) {
	v, ok := m.peek(k)
	if m.raw.tells {
		m.tell(k, ok)
	}
	return v, ok
}

// tell tells of a read what a read of the map of bytes does.
//
//go:noinline
func (m *Encoded[K, V]) tell(k K, ok bool) {
	key, n := m.raw.key(&k)
	switch {
	case n > m.raw.maxKey:
	case ok:
		m.raw.hit(hashKey(key, n, &m.raw.secrets))
	default:
		m.raw.miss()
	}
}

// peek is Load, and tells nobody.
func (m *Encoded[K, V]) peek(k K) (*V, bool) {
	t := &m.raw.table
	key, n := m.raw.key(&k)
	if n > t.maxKey {
		return nil, false
	}
	h := hashKey(key, n, &t.secrets)
	if it := m.cache.find(&k, h); it != nil && t.unchanged(&it.at) {
		if !it.used.Load() { // do not write what others read
			it.used.Store(true)
		}
		runtime.KeepAlive(m)
		return it.value, true
	}
	return m.loadNew(k, h)
}

// loadNew is Load of a key whose entry is not known to be the one of before.
//
//go:noinline
func (m *Encoded[K, V]) loadNew(k K, h uint64) (*V, bool) {
	t := &m.raw.table
	key, n := m.raw.key(&k)
	for try := 0; ; try++ {
		known := m.cache.find(&k, h)
		f := t.observe(key, n, h)
		if !f.hit {
			m.cache.drop(&k, h)
			return nil, false
		}
		if known != nil && holdsBytes(f.entry, f.value, known.bytes) && t.stands(&f) {
			m.cache.put(&item[K, V]{key: known.key, hash: h, at: f, value: known.value, bytes: known.bytes})
			return known.value, true
		}
		b := make([]byte, f.value)
		mem.CopyOut(b, f.entry)
		if t.stands(&f) {
			return m.remember(&item[K, V]{key: m.ownKey(&k), hash: h, at: f, bytes: b})
		}
		m.raw.again(try)
	}
}

// remember decodes the value of an item and keeps it.
func (m *Encoded[K, V]) remember(it *item[K, V]) (*V, bool) {
	it.value = new(V)
	if err := m.decode(it.key, it.bytes, it.value); err != nil {
		m.fail(err)
		return nil, false
	}
	m.cache.put(it)
	return it.value, true
}

// ownKey returns a copy of a key that shares no memory with it: the cache keeps it.
func (m *Encoded[K, V]) ownKey(k *K) (own K) {
	if !m.raw.textKey {
		return *k
	}
	mem.SetString(&own, bytes.Clone(mem.TextBytes(k)))
	return own
}

// LoadInto decodes the value of a key to *v, and returns whether it is there. The
// value is the caller's own. If the key is not there or with an error, *v is zero
// afterwards.
func (m *Encoded[K, V]) LoadInto(k K, v *V) (bool, error) {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	b, ok := m.raw.LoadAppend((*buffer)[:0], k)
	*buffer = b
	*v = *new(V)
	if !ok {
		return false, m.raw.Err()
	}
	if err := m.decode(k, b, v); err != nil {
		return false, err
	}
	return true, nil
}

// LoadAppend appends the encoded value of a key to dst: with a dst of enough
// capacity it allocates nothing. If the key is not there, dst is returned as it
// was.
func (m *Encoded[K, V]) LoadAppend(dst []byte, k K) ([]byte, bool) { return m.raw.LoadAppend(dst, k) }

// Contains reports whether a key is there, whether its value decodes or not.
func (m *Encoded[K, V]) Contains(k K) bool { return m.raw.Contains(k) }

// Store sets the value of a key. When it returns nil the value is there, also if
// this process is killed at once; when it returns an error the old value is.
func (m *Encoded[K, V]) Store(k K, v V) error {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	if err := m.encode(buffer, k, v); err != nil {
		return err
	}
	return m.raw.Store(k, *buffer)
}

// LoadOrStore returns the value of a key and true if it is there. Otherwise it
// stores v and returns it, and false. If several do this at the same time, also
// in several processes, one of them stores and all return its value.
func (m *Encoded[K, V]) LoadOrStore(k K, v V) (actual V, loaded bool, err error) {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	err = m.change(k, func(old []byte, ok bool) ([]byte, Action, error) {
		if loaded = ok; ok {
			return nil, Cancel, m.decode(k, old, &actual)
		}
		actual = v
		return m.stored(buffer, k, v, Renew)
	})
	if err != nil {
		return *new(V), false, err
	}
	return actual, loaded, nil
}

// Swap stores v and returns the value that was there, and whether one was.
func (m *Encoded[K, V]) Swap(k K, v V) (previous V, loaded bool, err error) {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	if err := m.encode(buffer, k, v); err != nil {
		return previous, false, err
	}
	return m.replace(k, *buffer, Renew)
}

// Delete removes a key and reports whether it was there.
func (m *Encoded[K, V]) Delete(k K) (bool, error) { return m.raw.Delete(k) }

// LoadAndDelete removes a key and returns the value that was there, and whether
// one was. A key that is not there takes no lock.
func (m *Encoded[K, V]) LoadAndDelete(k K) (v V, loaded bool, err error) {
	return m.replace(k, nil, Delete)
}

// replace stores b or deletes the key, and returns the value that was there.
func (m *Encoded[K, V]) replace(k K, b []byte, what Action) (old V, loaded bool, err error) {
	err = m.change(k, func(was []byte, ok bool) (_ []byte, _ Action, err error) {
		if old, loaded = *new(V), ok; ok {
			err = m.decode(k, was, &old)
		}
		return b, what, err
	})
	if err != nil {
		return *new(V), false, err
	}
	return old, loaded, nil
}

// CompareAndSwap stores v if the value of the key is old, and reports whether it
// was; a key that is not there has no value. Values are compared by the bytes that
// the codec makes of them, and so should not be where it makes now these and now
// others of the same: use [Encoded.Compute] there.
func (m *Encoded[K, V]) CompareAndSwap(k K, old, v V) (swapped bool, err error) {
	was, is := m.borrow(), m.borrow()
	defer m.buffers.Put(was)
	defer m.buffers.Put(is)
	if err := m.encode(was, k, old); err != nil {
		return false, err
	}
	if err := m.encode(is, k, v); err != nil {
		return false, err
	}
	return m.raw.CompareAndSwap(k, *was, *is)
}

// CompareAndDelete removes the key if its value is old, and reports whether it
// was. Values are compared as in CompareAndSwap.
func (m *Encoded[K, V]) CompareAndDelete(k K, old V) (deleted bool, err error) {
	was := m.borrow()
	defer m.buffers.Put(was)
	if err := m.encode(was, k, old); err != nil {
		return false, err
	}
	return m.raw.CompareAndDelete(k, *was)
}

// Compute changes a key by a function of its value, as [Map.Compute] does. The
// value that f is given is its own, to change and to return; the one that it
// returns with Store is returned by Compute as well. f is not called for a value
// that does not decode.
func (m *Encoded[K, V]) Compute(k K, f func(old V, ok bool) (V, Action)) (v V, ok bool, err error) {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	var fresh V
	var what Action
	var was []byte
	err = m.change(k, func(old []byte, there bool) ([]byte, Action, error) {
		var had V
		if there {
			if err := m.decode(k, old, &had); err != nil {
				return nil, Cancel, err
			}
		}
		was, ok = old, there
		if fresh, what = f(had, there); what != Store && what != Renew {
			return nil, what, nil
		}
		return m.stored(buffer, k, fresh, what)
	})
	switch {
	case err != nil:
		return v, false, err
	case what == Store, what == Renew:
		return fresh, true, nil
	case what == Cancel && ok: // f may have changed the one it had
		err = m.decode(k, was, &v)
		return v, err == nil, err
	}
	return v, false, nil
}

// change is Compute of the encoded value, for an f that may fail: then nothing is
// changed.
func (m *Encoded[K, V]) change(k K, f func(old []byte, ok bool) ([]byte, Action, error)) error {
	var failed error
	_, _, err := m.raw.Compute(k, func(old []byte, ok bool) (b []byte, what Action) {
		if b, what, failed = f(old, ok); failed != nil {
			return nil, Cancel
		}
		return b, what
	})
	if failed != nil {
		return failed
	}
	return err
}

// All iterates over the entries, as [Map.All] does. A value that does not decode
// is left out, and Err says why.
func (m *Encoded[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, b := range m.raw.All() {
			var v V
			if err := m.decode(k, b, &v); err != nil {
				m.fail(err)
			} else if !yield(k, v) {
				return
			}
		}
	}
}

// Keys is All without the values, which are not even read.
func (m *Encoded[K, V]) Keys() iter.Seq[K] { return m.raw.Keys() }

// Values is All without the keys.
func (m *Encoded[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range m.All() {
			if !yield(v) {
				return
			}
		}
	}
}

// Clear removes all entries, as [Map.Clear] does.
func (m *Encoded[K, V]) Clear() error { return m.raw.Clear() }

// ReplaceAll exchanges the whole content for what seq yields, as [Map.ReplaceAll]
// does. All is encoded before anything else happens.
func (m *Encoded[K, V]) ReplaceAll(seq iter.Seq2[K, V]) error {
	all := make(map[K][]byte)
	for k, v := range seq {
		var b []byte
		if err := m.encode(&b, k, v); err != nil {
			return err
		}
		all[k] = b
	}
	return m.raw.ReplaceAll(maps.All(all))
}

// Len returns the number of entries, as [Map.Len] does.
func (m *Encoded[K, V]) Len() int { return m.raw.Len() }

// Cap returns the number of entries the map was created for; it grows beyond.
func (m *Encoded[K, V]) Cap() int { return m.raw.Cap() }

// Stats is [Map.Stats]. The bytes of values are those that the codec makes of them.
func (m *Encoded[K, V]) Stats() (Stats, error) { return m.raw.Stats() }

// Limit is [Map.Limit].
func (m *Encoded[K, V]) Limit() int { return m.raw.Limit() }

// Evictions is [Map.Evictions].
func (m *Encoded[K, V]) Evictions() uint64 { return m.raw.Evictions() }

// Err returns why the handle answers nothing, as [Map.Err] does; or else the first
// error of a value that Load, All or Values could not decode, which wraps ErrCodec
// and stays, though the others are found.
func (m *Encoded[K, V]) Err() error {
	err := m.raw.Err()
	if first := m.failure.Load(); err == nil && first != nil {
		return *first
	}
	return err
}

// Check is [Map.Check]; it does not decode.
func (m *Encoded[K, V]) Check() error { return m.raw.Check() }

// Close ends the handle, as [Map.Close] does, and forgets what was decoded.
func (m *Encoded[K, V]) Close() error {
	err := m.raw.Close()
	m.cache.clear()
	return err
}

// encode makes *buffer the bytes of v.
func (m *Encoded[K, V]) encode(buffer *[]byte, k K, v V) error {
	b, err := m.codec.Append((*buffer)[:0], v)
	if err != nil {
		return m.failed("encode", k, err)
	}
	*buffer = b
	return nil
}

// stored is encode for change.
func (m *Encoded[K, V]) stored(buffer *[]byte, k K, v V, what Action) ([]byte, Action, error) {
	err := m.encode(buffer, k, v)
	return *buffer, what, err
}

// decode makes *v the value whose bytes are b; with an error it is zero.
func (m *Encoded[K, V]) decode(k K, b []byte, v *V) error {
	*v = *new(V)
	if err := m.codec.Decode(b, v); err != nil {
		*v = *new(V)
		return m.failed("decode", k, err)
	}
	return nil
}

func (m *Encoded[K, V]) failed(what string, k K, err error) error {
	return fmt.Errorf("hashmap %q: %w: %s the value of key %.80v: %w", m.raw.object.Name(), ErrCodec, what, k, err)
}

// fail remembers the first value that a read could not decode.
func (m *Encoded[K, V]) fail(err error) { m.failure.CompareAndSwap(nil, &err) }

// borrow returns memory for an encoded value.
func (m *Encoded[K, V]) borrow() *[]byte {
	if b, ok := m.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}
