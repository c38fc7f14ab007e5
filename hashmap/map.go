package hashmap

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// Options of a map.
type Options struct {
	// Capacity is the number of entries that there is room for at once; 0 means
	// 1024. With more the map grows, as long as the arena has room. It is stored
	// with the map.
	Capacity int
	// Limit is the number of entries that the map has at most; 0 is none. At its
	// limit, or when the arena is full, the map evicts an entry for a new one; see
	// the package's documentation. Capacity is the limit then.
	Limit int
	// TTL is how long an entry lives that is stored without a time to live of its
	// own; 0 is for ever.
	TTL time.Duration
	// CountReads has Load, LoadInto, LoadAppend and Contains count what they find
	// and what they do not, for Stats: exactly, for some nanoseconds each. It is
	// stored with the map. A read still waits for nobody: one beside 14 writes of its
	// process that wait for a lock is counted with the next one of the handle, by its
	// Stats or by its Close. Reads of processes that have the arena read-only store
	// nothing, and are not counted.
	CountReads bool
	// Cache is how many decoded values this handle of an [Encoded] map remembers
	// at most; 0 means 1024, less than 0 none. It should be twice the number of
	// keys in use: they are spread by chance. A [Map] decodes nothing.
	Cache int
}

// Map is a handle on a hash map. It is safe for concurrent use by goroutines,
// and beside other processes.
type Map[K comparable, V any] struct {
	table
	flights flights[K, V]
	walkers *sync.Pool // of *walker[K, V]
}

// Create makes a new, empty map. The error wraps fs.ErrExist if the arena has
// an object of that name.
func Create[K comparable, V any](a *arena.Arena, name string, o *Options) (*Map[K, V], error) {
	s, err := shapeOf[K, V]()
	if err != nil {
		return nil, err
	}
	return createAs[K, V](a, name, o, &s)
}

func createAs[K comparable, V any](a *arena.Arena, name string, o *Options, s *shape) (*Map[K, V], error) {
	pt := slab.Of(a).Floor().Pages
	p, err := o.plan(pt, uint64(a.MaxSize()))
	if err != nil {
		return nil, fmt.Errorf("hashmap: create %q: %w", name, err)
	}
	spec := p.spec(s, pt)
	obj, err := slab.Of(a).Create(name, spec, func(root mem.Ptr) { p.fill(root, spec.Size, s.label) })
	if err != nil {
		return nil, fmt.Errorf("hashmap: create: %w", err)
	}
	m, err := newMap[K, V](a, obj, s)
	if err != nil {
		return nil, errors.Join(err, a.Remove(name))
	}
	return m, nil
}

// plan shapes the map that the options ask for.
func (o *Options) plan(t *pages.Table, arenaSize uint64) (p plan, err error) {
	if o == nil {
		o = new(Options)
	}
	capacity := cmp.Or(o.Capacity, defaultCapacity)
	switch {
	case capacity < 1 || capacity > mostEntries:
		return p, fmt.Errorf("capacity %d: want 1 to %d", capacity, mostEntries)
	case o.Limit < 0 || o.Limit > mostEntries:
		return p, fmt.Errorf("limit %d: want 0 to %d", o.Limit, mostEntries)
	case o.TTL < 0:
		return p, fmt.Errorf("TTL %v: want 0 or more", o.TTL)
	case o.Limit != 0:
		p, err = planBounded(uint64(o.Limit), t, arenaSize)
	default:
		p, err = planFor(uint64(capacity), t, arenaSize)
	}
	p.ttl = uint64(o.TTL)
	if o.CountReads {
		p.cells = readCells
	}
	return p, err
}

// Open opens a map. The error wraps fs.ErrNotExist if there is none of that
// name, ErrTypeMismatch if it has other types.
func Open[K comparable, V any](a *arena.Arena, name string, _ *Options) (*Map[K, V], error) {
	s, err := shapeOf[K, V]()
	if err != nil {
		return nil, err
	}
	return openAs[K, V](a, name, &s)
}

func openAs[K comparable, V any](a *arena.Arena, name string, s *shape) (*Map[K, V], error) {
	obj, err := a.OpenObject(name, arena.Spec{Kind: arena.KindMap, Fingerprint: s.print, Types: s.types})
	if err != nil {
		return nil, fmt.Errorf("hashmap: open: %w", err)
	}
	return newMap[K, V](a, obj, s)
}

// OpenOrCreate opens a map, or creates it if there is none of that name.
func OpenOrCreate[K comparable, V any](a *arena.Arena, name string, o *Options) (*Map[K, V], error) {
	return slab.OpenThenCreate(
		func() (*Map[K, V], error) { return Open[K, V](a, name, o) },
		func() (*Map[K, V], error) { return Create[K, V](a, name, o) })
}

func newMap[K comparable, V any](a *arena.Arena, obj *arena.Object, s *shape) (*Map[K, V], error) {
	m := &Map[K, V]{walkers: new(sync.Pool)}
	m.shape = *s
	m.holes = m.comparable(reflect.TypeFor[V]())
	err := m.init(slab.Of(a), obj)
	if err == nil {
		err = m.checkLabel()
	}
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
// between those before and after. Entries that have expired count until their memory is
// used again, or PurgeExpired has freed it: nobody looks at a clock for a sum.
func (m *Map[K, V]) Len() int {
	n := m.count()
	if m.dead() {
		return 0
	}
	return int(n)
}

// Limit returns how many entries the map has at most; 0: there is no limit.
func (m *Map[K, V]) Limit() int { return int(m.plan.limit) }

// Evictions returns how many entries were evicted for others, by all processes.
// Entries that had expired do not count.
func (m *Map[K, V]) Evictions() uint64 { return m.evictions() }

// Err returns why the handle answers nothing: ErrClosed, ErrRemoved, or
// ErrCorrupt once a read has met damage. It is nil as long as all is well.
func (m *Map[K, V]) Err() error { return m.err() }

// Close ends the handle; closing the arena does so too. It waits for operations
// that are under way, but for a load of Fetch. Reads find nothing afterwards,
// writes get ErrClosed.
func (m *Map[K, V]) Close() error {
	m.countLate(true)
	m.open.Store(shut)
	if m.floor.Pool != nil {
		m.floor.Pool.Barrier()
		m.awaitStays()
		m.letGo()
	}
	return m.object.Close()
}
