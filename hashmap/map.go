package hashmap

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// Options of a map; they are stored with it.
type Options struct {
	// Capacity is the number of entries that the map holds at least, with
	// keys that are not crafted against it; 0 means 1024. It is fixed.
	Capacity int
}

// Map is a handle on a hash map. It is safe for concurrent use by goroutines,
// and beside other processes.
type Map[K comparable, V any] struct{ table }

// plan is where everything lies in the root block.
type plan struct {
	capacity, buckets, stripeBits, bucketOff, size uint64
}

const (
	defaultCapacity = 1024
	smallMap        = 4096 // entries; below, shorter stripes at a lower load
)

// planFor sizes a map. A stripe must hold what the hash throws at it: with 64
// buckets at load 0.75 five standard deviations are left, with 16 at 0.6.
func planFor(capacity uint64) plan {
	p := plan{capacity: capacity, stripeBits: 6}
	p.buckets = (capacity*4/3 + bucketSlots - 1) / bucketSlots
	if capacity < smallMap {
		p.stripeBits = 4
		p.buckets = (capacity*5/3 + bucketSlots - 1) / bucketSlots
	}
	per := uint64(1) << p.stripeBits
	p.buckets = max(1, (p.buckets+per-1)/per) * per
	p.bucketOff = headerSize + p.buckets/per*stripeSize
	p.size = p.bucketOff + p.buckets*bucketSize
	return p
}

// Create makes a new, empty map. The error wraps fs.ErrExist if the arena has
// an object of that name.
func Create[K comparable, V any](a *arena.Arena, name string, o *Options) (*Map[K, V], error) {
	s, err := shapeOf[K, V]()
	if err != nil {
		return nil, err
	}
	capacity := defaultCapacity
	if o != nil && o.Capacity != 0 {
		capacity = o.Capacity
	}
	if capacity < 1 || capacity > 1<<36 {
		return nil, fmt.Errorf("hashmap %q: capacity %d: want 1 to %d", name, capacity, 1<<36)
	}
	p := planFor(uint64(capacity))
	obj, err := slab.Of(a).Create(name, p.spec(&s, a.PageSize()), p.fill)
	if err != nil {
		return nil, fmt.Errorf("hashmap: create: %w", err)
	}
	return newMap[K, V](a, obj, &s)
}

// spec describes the object. The root is always a run of pages, so that every
// bucket is a cache line.
func (p *plan) spec(s *shape, page int) arena.Spec {
	p.size = max(p.size, uint64(page)/2+1)
	return arena.Spec{
		Kind: arena.KindMap, Fingerprint: s.print, Types: s.types, Size: p.size,
		Trace: arena.Trace{First: p.bucketOff + slotsOff, Stride: bucketSize, Words: bucketSlots, Count: p.buckets},
	}
}

func (p *plan) fill(root mem.Ptr) {
	mem.Zero(root, p.size)
	h := mem.Cast[header](root)
	h.capacity.Store(p.capacity)
	h.buckets.Store(p.buckets)
	h.stripeBits.Store(p.stripeBits)
	h.bucketOff.Store(p.bucketOff)
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	random[16] |= 1             // the third one is a multiplier
	for i := range h.secrets {
		h.secrets[i].Store(binary.LittleEndian.Uint64(random[i*8:]))
	}
}

// Open opens a map. The error wraps fs.ErrNotExist if there is none of that
// name, ErrTypeMismatch if it has other types.
func Open[K comparable, V any](a *arena.Arena, name string, _ *Options) (*Map[K, V], error) {
	s, err := shapeOf[K, V]()
	if err != nil {
		return nil, err
	}
	obj, err := a.OpenObject(name, arena.Spec{Kind: arena.KindMap, Fingerprint: s.print, Types: s.types})
	if err != nil {
		return nil, fmt.Errorf("hashmap: open: %w", err)
	}
	return newMap[K, V](a, obj, &s)
}

// OpenOrCreate opens a map, or creates it if there is none of that name.
func OpenOrCreate[K comparable, V any](a *arena.Arena, name string, o *Options) (*Map[K, V], error) {
	return slab.OpenThenCreate(
		func() (*Map[K, V], error) { return Open[K, V](a, name, o) },
		func() (*Map[K, V], error) { return Create[K, V](a, name, o) })
}

func newMap[K comparable, V any](a *arena.Arena, obj *arena.Object, s *shape) (*Map[K, V], error) {
	m := new(Map[K, V])
	m.shape = *s
	m.holes = m.comparable(reflect.TypeFor[V]())
	if err := m.init(slab.Of(a), obj); err != nil {
		return nil, errors.Join(fmt.Errorf("hashmap %q: %w", obj.Name(), err), obj.Close())
	}
	return m, nil
}

// Len returns the number of entries. Beside writers it is a number that lay
// between those before and after.
func (m *Map[K, V]) Len() int {
	n := m.count()
	if m.dead() {
		return 0
	}
	return int(n)
}

// Cap returns the number of entries the map was created for.
func (m *Map[K, V]) Cap() int { return int(m.capacity) }

// Err returns why the handle answers nothing: ErrClosed, ErrRemoved, or
// ErrCorrupt once a read has met damage. It is nil as long as all is well.
func (m *Map[K, V]) Err() error { return m.err() }

// Close ends the handle; closing the arena does so too. It waits for operations
// that are under way. Reads find nothing afterwards, writes get ErrClosed.
func (m *Map[K, V]) Close() error {
	m.open.Store(shut)
	if m.floor.Pool != nil {
		m.floor.Pool.Barrier()
	}
	return m.object.Close()
}
