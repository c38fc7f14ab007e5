package main

import (
	"sync"

	"github.com/puzpuzpuz/xsync/v4"
)

// The maps of one process. The loops are written out for each of them, since
// an interface between loop and map would cost more than some lookups.

type plainMap struct {
	keys   [2][]string // each of two workers has its own, as two processes have
	stored []string
	m      map[string]blob
}

func newPlain(n int) *plainMap {
	return &plainMap{bothKeys(n), storedKeys(n), make(map[string]blob, n)}
}

func (p *plainMap) load(who int, seq []uint32) {
	keys := p.keys[who]
	var sum uint64
	for _, k := range seq {
		v := p.m[keys[k]]
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (p *plainMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		keys := p.keys[who]
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				v := p.m[keys[k]]
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			p.m[keys[k]] = v
		}
		sinks[who].sum += sum
	}
}

func (p *plainMap) churn(who int, seq []uint32) {
	keys := p.keys[who]
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			delete(p.m, keys[k])
			continue
		}
		v[0] = byte(i)
		p.m[keys[k]] = v
	}
}

func (p *plainMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		p.m[p.stored[k]] = v
	}
}

type lockedMap struct {
	*plainMap
	mu sync.Mutex
}

func newLocked(n int) *lockedMap { return &lockedMap{plainMap: newPlain(n)} }

func (l *lockedMap) load(who int, seq []uint32) {
	keys := l.keys[who]
	var sum uint64
	for _, k := range seq {
		l.mu.Lock()
		v := l.m[keys[k]]
		l.mu.Unlock()
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (l *lockedMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		keys := l.keys[who]
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				l.mu.Lock()
				v := l.m[keys[k]]
				l.mu.Unlock()
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			l.mu.Lock()
			l.m[keys[k]] = v
			l.mu.Unlock()
		}
		sinks[who].sum += sum
	}
}

func (l *lockedMap) churn(who int, seq []uint32) {
	keys := l.keys[who]
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			l.mu.Lock()
			delete(l.m, keys[k])
			l.mu.Unlock()
			continue
		}
		v[0] = byte(i)
		l.mu.Lock()
		l.m[keys[k]] = v
		l.mu.Unlock()
	}
}

func (l *lockedMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		l.mu.Lock()
		l.m[l.stored[k]] = v
		l.mu.Unlock()
	}
}

type rwLockedMap struct {
	*plainMap
	mu sync.RWMutex
}

func newRWLocked(n int) *rwLockedMap { return &rwLockedMap{plainMap: newPlain(n)} }

func (l *rwLockedMap) load(who int, seq []uint32) {
	keys := l.keys[who]
	var sum uint64
	for _, k := range seq {
		l.mu.RLock()
		v := l.m[keys[k]]
		l.mu.RUnlock()
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (l *rwLockedMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		keys := l.keys[who]
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				l.mu.RLock()
				v := l.m[keys[k]]
				l.mu.RUnlock()
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			l.mu.Lock()
			l.m[keys[k]] = v
			l.mu.Unlock()
		}
		sinks[who].sum += sum
	}
}

func (l *rwLockedMap) churn(who int, seq []uint32) {
	keys := l.keys[who]
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			l.mu.Lock()
			delete(l.m, keys[k])
			l.mu.Unlock()
			continue
		}
		v[0] = byte(i)
		l.mu.Lock()
		l.m[keys[k]] = v
		l.mu.Unlock()
	}
}

func (l *rwLockedMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		l.mu.Lock()
		l.m[l.stored[k]] = v
		l.mu.Unlock()
	}
}

type syncMap struct {
	keys   [2][]string
	stored []string
	m      sync.Map
}

func newSyncMap(n int) *syncMap { return &syncMap{keys: bothKeys(n), stored: storedKeys(n)} }

func (s *syncMap) load(who int, seq []uint32) {
	keys := s.keys[who]
	var sum uint64
	for _, k := range seq {
		x, _ := s.m.Load(keys[k])
		v := x.(blob)
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (s *syncMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		keys := s.keys[who]
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				x, _ := s.m.Load(keys[k])
				v := x.(blob)
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			s.m.Store(keys[k], v)
		}
		sinks[who].sum += sum
	}
}

func (s *syncMap) churn(who int, seq []uint32) {
	keys := s.keys[who]
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			s.m.Delete(keys[k])
			continue
		}
		v[0] = byte(i)
		s.m.Store(keys[k], v)
	}
}

func (s *syncMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		s.m.Store(s.stored[k], v)
	}
}

type xsyncMap struct {
	keys   [2][]string
	stored []string
	m      *xsync.Map[string, blob]
}

func newXsyncMap(n int) *xsyncMap {
	return &xsyncMap{bothKeys(n), storedKeys(n), xsync.NewMap[string, blob](xsync.WithPresize(n))}
}

func (x *xsyncMap) load(who int, seq []uint32) {
	keys := x.keys[who]
	var sum uint64
	for _, k := range seq {
		v, _ := x.m.Load(keys[k])
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (x *xsyncMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		keys := x.keys[who]
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				v, _ := x.m.Load(keys[k])
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			x.m.Store(keys[k], v)
		}
		sinks[who].sum += sum
	}
}

func (x *xsyncMap) churn(who int, seq []uint32) {
	keys := x.keys[who]
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			x.m.Delete(keys[k])
			continue
		}
		v[0] = byte(i)
		x.m.Store(keys[k], v)
	}
}

func (x *xsyncMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		x.m.Store(x.stored[k], v)
	}
}
