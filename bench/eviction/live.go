package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
)

// live is the real map as a cache: one attach for each process of the crowd, all of
// them in this process. Its stripes and its rings are those the map chooses.
type live struct {
	arena *arena.Arena
	procs []*hashmap.Map[uint64, uint64]
	open  []*arena.Arena
}

// newLive makes a map with a limit in an arena that goes with the last attach.
func newLive(limit int, w crowd) (*live, error) {
	name := fmt.Sprintf("eviction.%d", os.Getpid())
	size := int64(8<<20 + limit*256)
	a, err := arena.Create(name, &arena.Options{Size: size, Lifetime: arena.RemoveWithLast})
	if err != nil {
		return nil, err
	}
	l := &live{arena: a, open: []*arena.Arena{a}}
	m, err := hashmap.Create[uint64, uint64](a, "cache", &hashmap.Options{Limit: limit})
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	for i := range w.procs {
		if i > 0 {
			a, err = arena.Open(name, &arena.Options{ReadOnly: i <= w.readOnly})
			if err == nil {
				l.open = append(l.open, a)
				m, err = hashmap.Open[uint64, uint64](a, "cache", nil)
			}
			if err != nil {
				return nil, errors.Join(err, l.close())
			}
		}
		l.procs = append(l.procs, m)
	}
	return l, nil
}

func (l *live) has(key uint64) bool { return l.procs[0].Contains(key) }

func (l *live) access(key uint64, by int) bool {
	by %= len(l.procs)
	if _, ok := l.procs[by].Load(key); ok {
		return true
	}
	// What a read-only process misses, the next one that may write stores.
	err := l.procs[by].Store(key, key)
	for ; errors.Is(err, hashmap.ErrReadOnly); err = l.procs[by].Store(key, key) {
		by = (by + 1) % len(l.procs)
	}
	if err != nil {
		panic(err)
	}
	return false
}

// close checks the map and lets the arena go.
func (l *live) close() error {
	var err error
	if len(l.procs) > 0 {
		err = l.procs[0].Check()
	}
	for _, a := range l.open {
		err = errors.Join(err, a.Close())
	}
	return err
}

// replayLive replays a trace, and checks the map then.
func replayLive(keys []uint64, limit int, w crowd) (float64, error) {
	l, err := newLive(limit, w)
	if err != nil {
		return 0, err
	}
	ratio := replay(keys, l, w)
	if n := l.procs[0].Len(); n > limit {
		err = fmt.Errorf("%d entries, the limit is %d", n, limit)
	}
	return ratio, errors.Join(err, l.close())
}
