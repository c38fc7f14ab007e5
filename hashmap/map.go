package hashmap

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// Options of a map; they are stored with it.
type Options struct {
	// Capacity is the number of entries that there is room for at once; 0 means
	// 1024. With more the map grows, as long as the arena has room.
	Capacity int
	// TTL is how long an entry lives that is stored without a time to live of its
	// own; 0 is for ever.
	TTL time.Duration
}

// Map is a handle on a hash map. It is safe for concurrent use by goroutines,
// and beside other processes.
type Map[K comparable, V any] struct {
	table
	flights flights[K, V]
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
	pt := slab.Of(a).Floor().Pages
	p, err := planFor(uint64(capacity), pt, uint64(a.MaxSize()))
	if err != nil {
		return nil, fmt.Errorf("hashmap: create %q: %w", name, err)
	}
	if o != nil && o.TTL < 0 {
		return nil, fmt.Errorf("hashmap %q: TTL %v: want 0 or more", name, o.TTL)
	}
	if o != nil {
		p.ttl = uint64(o.TTL)
	}
	obj, err := slab.Of(a).Create(name, p.spec(&s, pt), p.fill)
	if err != nil {
		return nil, fmt.Errorf("hashmap: create: %w", err)
	}
	m, err := newMap[K, V](a, obj, &s)
	if err != nil {
		return nil, errors.Join(err, a.Remove(name))
	}
	return m, nil
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
	err := m.init(slab.Of(a), obj)
	if err == nil && m.floor.Pool != nil && m.tree.Dir(tree.SideOf(m.version.Load())).Load() == 0 {
		err = m.plant() // whoever has created it may not have come to that
	}
	if err == nil {
		err = m.setClock()
	}
	if err != nil {
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

// Cap returns the number of entries the map was created for; it grows beyond.
func (m *Map[K, V]) Cap() int { return int(m.plan.capacity) }

// Err returns why the handle answers nothing: ErrClosed, ErrRemoved, or
// ErrCorrupt once a read has met damage. It is nil as long as all is well.
func (m *Map[K, V]) Err() error { return m.err() }

// Close ends the handle; closing the arena does so too. It waits for operations
// that are under way, but for a load of Fetch. Reads find nothing afterwards,
// writes get ErrClosed.
func (m *Map[K, V]) Close() error {
	m.open.Store(shut)
	if m.floor.Pool != nil {
		m.floor.Pool.Barrier()
		m.letGo()
	}
	return m.object.Close()
}
