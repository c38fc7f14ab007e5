package main

import "fmt"

// sections lists what is measured.
func sections(c config) []*section {
	all := []*section{
		{title: "ALU loop", n: 1, open: openALU},
		{title: "Counter Add", n: 1, open: openCounters},
		{title: "Value Load, 8 bytes", n: 1, open: openValues},
		{title: "Slab alloc + free, 16 to 2048 bytes", n: 1, open: openBlocks},
	}
	for _, n := range c.sizes {
		all = append(all,
			&section{title: fmt.Sprintf("Map Load, %d keys", n), n: n, open: openMaps(n, loads)},
			&section{title: fmt.Sprintf("Map 95/5 Load/Store, %d keys", n), n: n, open: openMaps(n, mixture("95/5", 20))},
			&section{title: fmt.Sprintf("Map 50/50 Load/Store, %d keys", n), n: n, open: openMaps(n, mixture("50/50", 2))},
			&section{title: fmt.Sprintf("Map churn: Delete and Store, %d keys", n), n: n, open: openMaps(n, churns)},
			&section{title: fmt.Sprintf("Map insert, %d keys, sized", n), n: n, open: openInserts(n), insert: true},
		)
	}
	return all
}

// maps are all maps, with n keys each.
type maps struct {
	plain  *plainMap
	locked *lockedMap
	rw     *rwLockedMap
	sm     *syncMap
	xm     *xsyncMap
	ours   *ours
}

// openMaps fills every map with n keys.
func openMaps(n int, compete func(m *maps) []contender) func() ([]contender, func() error, error) {
	return func() ([]contender, func() error, error) {
		m := &maps{newPlain(n), newLocked(n), newRWLocked(n), newSyncMap(n), newXsyncMap(n), nil}
		for _, fill := range []pass{m.plain.insert, m.locked.insert, m.rw.insert, m.sm.insert, m.xm.insert} {
			fill(0, half(n, 0, false))
		}
		var err error
		if m.ours, err = newOurs(n); err != nil {
			return nil, nil, err
		}
		return compete(m), m.ours.close, nil
	}
}

func loads(m *maps) []contender {
	o := m.ours
	return []contender{
		{name: "builtin map, no lock", pass: m.plain.load},
		{name: "mutex + map", pass: m.locked.load},
		{name: "RWMutex + map", pass: m.rw.load},
		{name: "sync.Map", pass: m.sm.load},
		{name: "xsync.Map", pass: m.xm.load},
		{name: "shmkit Map[string, [64]byte]", pass: o.typed.load, remote: o.remote("load", "typed")},
		{name: "  LoadInto", pass: o.typed.loadInto, remote: o.remote("loadInto", "typed")},
		{name: "  Fetch", pass: o.typed.fetch, remote: o.remote("fetch", "typed")},
		{name: "shmkit Map[string, []byte]", pass: o.bytes.load, remote: o.remote("load", "bytes")},
	}
}

// mixture stores once in so many operations, and loads the other times.
func mixture(kind string, every int) func(m *maps) []contender {
	return func(m *maps) []contender {
		o := m.ours
		return []contender{
			{name: "builtin map, no lock", pass: m.plain.mixed(every), alone: true},
			{name: "mutex + map", pass: m.locked.mixed(every)},
			{name: "RWMutex + map", pass: m.rw.mixed(every)},
			{name: "sync.Map", pass: m.sm.mixed(every)},
			{name: "xsync.Map", pass: m.xm.mixed(every)},
			{name: "shmkit Map[string, [64]byte]", pass: o.typed.mixed(every), remote: o.remote(kind, "typed")},
			{name: "shmkit Map[string, []byte]", pass: o.bytes.mixed(every), remote: o.remote(kind, "bytes")},
		}
	}
}

// churns delete a key and store another one, in turn: half of the keys come and go.
func churns(m *maps) []contender {
	o := m.ours
	return []contender{
		{name: "builtin map, no lock", pass: m.plain.churn, alone: true},
		{name: "mutex + map", pass: m.locked.churn},
		{name: "RWMutex + map", pass: m.rw.churn},
		{name: "sync.Map", pass: m.sm.churn},
		{name: "xsync.Map", pass: m.xm.churn},
		{name: "shmkit Map[string, [64]byte]", pass: o.typed.churn, remote: o.remote("churn", "typed")},
		{name: "shmkit Map[string, []byte]", pass: o.bytes.churn, remote: o.remote("churn", "bytes")},
	}
}

// openInserts makes maps that have room for n keys.
func openInserts(n int) func() ([]contender, func() error, error) {
	return func() ([]contender, func() error, error) {
		var (
			plain  *plainMap
			locked *lockedMap
			rw     *rwLockedMap
			sm     *syncMap
			xm     *xsyncMap
		)
		o, err := newOurs(n)
		if err != nil {
			return nil, nil, err
		}
		return []contender{
			{
				name: "builtin map, no lock", alone: true, fresh: func() error { plain = newPlain(n); return nil },
				pass: func(who int, seq []uint32) { plain.insert(who, seq) },
			},
			{
				name: "mutex + map", fresh: func() error { locked = newLocked(n); return nil },
				pass: func(who int, seq []uint32) { locked.insert(who, seq) },
			},
			{
				name: "RWMutex + map", fresh: func() error { rw = newRWLocked(n); return nil },
				pass: func(who int, seq []uint32) { rw.insert(who, seq) },
			},
			{
				name: "sync.Map", fresh: func() error { sm = newSyncMap(n); return nil },
				pass: func(who int, seq []uint32) { sm.insert(who, seq) },
			},
			{
				name: "xsync.Map", fresh: func() error { xm = newXsyncMap(n); return nil },
				pass: func(who int, seq []uint32) { xm.insert(who, seq) },
			},
			{
				name: "shmkit Map[string, [64]byte]", remote: o.remote("insert", "typed"), fresh: o.emptyTyped,
				pass: func(who int, seq []uint32) { o.typed.insert(who, seq) },
			},
			{
				name: "  StoreAll", remote: o.remote("insertAll", "typed"), fresh: o.emptyTyped,
				pass: func(who int, seq []uint32) { o.typed.insertAll(who, seq) },
			},
			{
				name: "shmkit Map[string, []byte]", remote: o.remote("insert", "bytes"), fresh: o.emptyBytes,
				pass: func(who int, seq []uint32) { o.bytes.insert(who, seq) },
			},
		}, o.close, nil
	}
}
