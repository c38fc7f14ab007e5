package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
)

// ours are the shared maps in an arena of their own.
type ours struct {
	arena *arena.Arena
	n     int
	typed *typedMap
	bytes *bytesMap
}

var arenas atomic.Int64

// newArena makes an arena that has all its memory from the start.
func newArena(size int64) (*arena.Arena, error) {
	name := fmt.Sprintf("bench.%d.%d", os.Getpid(), arenas.Add(1))
	return arena.Create(name, &arena.Options{Size: size, Lifetime: arena.RemoveWithLast})
}

// newOurs makes both maps with n keys each.
func newOurs(n int) (*ours, error) {
	a, err := newArena(16<<20 + int64(n)*512)
	if err != nil {
		return nil, err
	}
	o := &ours{arena: a, n: n}
	if err := errors.Join(o.emptyTyped(), o.emptyBytes()); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	o.typed.insert(0, half(n, 0, false))
	o.bytes.insert(0, half(n, 0, false))
	return o, nil
}

func (o *ours) remote(kind, object string) *remote { return &remote{kind, o.arena.Name(), object} }

// close also ends the maps.
func (o *ours) close() error {
	_, err := o.arena.Check()
	return errors.Join(o.typed.m.Err(), o.bytes.m.Err(), err, o.arena.Close())
}

func (o *ours) emptyTyped() error {
	if o.typed != nil {
		if err := errors.Join(o.typed.m.Close(), o.arena.Remove("typed")); err != nil {
			return err
		}
	}
	m, err := hashmap.Create[string, blob](o.arena, "typed", &hashmap.Options{Capacity: o.n})
	o.typed = &typedMap{lookupKeys(o.n), m}
	return err
}

func (o *ours) emptyBytes() error {
	if o.bytes != nil {
		if err := errors.Join(o.bytes.m.Close(), o.arena.Remove("bytes")); err != nil {
			return err
		}
	}
	m, err := hashmap.Create[string, []byte](o.arena, "bytes", &hashmap.Options{Capacity: o.n})
	o.bytes = &bytesMap{lookupKeys(o.n), m}
	return err
}

type typedMap struct {
	keys []string
	m    *hashmap.Map[string, blob]
}

func (t *typedMap) load(who int, seq []uint32) {
	var sum uint64
	for _, k := range seq {
		v, _ := t.m.Load(t.keys[k])
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

func (t *typedMap) loadInto(who int, seq []uint32) {
	var v blob
	var sum uint64
	for _, k := range seq {
		t.m.LoadInto(t.keys[k], &v)
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

// fetch is load by Fetch, where there is nothing to be loaded.
func (t *typedMap) fetch(who int, seq []uint32) {
	ctx := context.Background()
	load := func(context.Context, string) (blob, error) { return blob{}, errors.New("it is there") }
	var sum uint64
	for _, k := range seq {
		v, err := t.m.Fetch(ctx, t.keys[k], load, nil)
		must(err)
		sum += uint64(v[k&63])
	}
	sinks[who].sum += sum
}

// insertAll is insert as one batch.
func (t *typedMap) insertAll(_ int, seq []uint32) {
	_, err := t.m.StoreAll(func(yield func(string, blob) bool) {
		var v blob
		for _, k := range seq {
			if v[0] = byte(k); !yield(t.keys[k], v) {
				return
			}
		}
	})
	must(err)
}

func (t *typedMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		var v blob
		var sum uint64
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				v, _ := t.m.Load(t.keys[k])
				sum += uint64(v[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			must(t.m.Store(t.keys[k], v))
		}
		sinks[who].sum += sum
	}
}

func (t *typedMap) churn(_ int, seq []uint32) {
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			_, err := t.m.Delete(t.keys[k])
			must(err)
			continue
		}
		v[0] = byte(i)
		must(t.m.Store(t.keys[k], v))
	}
}

func (t *typedMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		must(t.m.Store(t.keys[k], v))
	}
}

type bytesMap struct {
	keys []string
	m    *hashmap.Map[string, []byte]
}

func (b *bytesMap) load(who int, seq []uint32) {
	var sum uint64
	buf := make([]byte, 0, 64)
	for _, k := range seq {
		buf, _ = b.m.LoadAppend(buf[:0], b.keys[k])
		sum += uint64(buf[k&63])
	}
	sinks[who].sum += sum
}

func (b *bytesMap) mixed(every int) pass {
	return func(who int, seq []uint32) {
		var v blob
		var sum uint64
		buf := make([]byte, 0, 64)
		left := every
		for i, k := range seq {
			if left--; left != 0 {
				buf, _ = b.m.LoadAppend(buf[:0], b.keys[k])
				sum += uint64(buf[k&63])
				continue
			}
			left = every
			v[0] = byte(i)
			must(b.m.Store(b.keys[k], v[:]))
		}
		sinks[who].sum += sum
	}
}

func (b *bytesMap) churn(_ int, seq []uint32) {
	var v blob
	for i, k := range seq {
		if i&1 == 0 {
			_, err := b.m.Delete(b.keys[k])
			must(err)
			continue
		}
		v[0] = byte(i)
		must(b.m.Store(b.keys[k], v[:]))
	}
}

func (b *bytesMap) insert(_ int, seq []uint32) {
	var v blob
	for _, k := range seq {
		v[0] = byte(k)
		must(b.m.Store(b.keys[k], v[:]))
	}
}

// must ends the program: a bench that went wrong has no figures.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
