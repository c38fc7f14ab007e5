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
			&section{title: fmt.Sprintf("Map Load, %d keys", n), n: n, open: openMaps(n, "load")},
			&section{title: fmt.Sprintf("Map 50/50 Load/Store, %d keys", n), n: n, open: openMaps(n, "mixed")},
			&section{title: fmt.Sprintf("Map insert, %d keys, sized", n), n: n, open: openInserts(n), insert: true},
		)
	}
	return all
}

// openMaps fills every map with n keys.
func openMaps(n int, kind string) func() ([]contender, func() error, error) {
	return func() ([]contender, func() error, error) {
		plain := newPlain(n)
		plain.insert(0, half(n, 0, false))
		locked, rw, sm, xm := newLocked(n), newRWLocked(n), newSyncMap(n), newXsyncMap(n)
		for _, fill := range []func(int, []uint32){locked.insert, rw.insert, sm.insert, xm.insert} {
			fill(0, half(n, 0, false))
		}
		o, err := newOurs(n)
		if err != nil {
			return nil, nil, err
		}
		if kind == "load" {
			return []contender{
				{name: "builtin map, no lock", pass: plain.load},
				{name: "mutex + map", pass: locked.load},
				{name: "RWMutex + map", pass: rw.load},
				{name: "sync.Map", pass: sm.load},
				{name: "xsync.Map", pass: xm.load},
				{name: "shmkit Map[string, [64]byte]", pass: o.typed.load, remote: o.remote("load", "typed")},
				{name: "  LoadInto", pass: o.typed.loadInto, remote: o.remote("loadInto", "typed")},
				{name: "shmkit Map[string, []byte]", pass: o.bytes.load, remote: o.remote("load", "bytes")},
			}, o.close, nil
		}
		return []contender{
			{name: "builtin map, no lock", pass: plain.mixed, alone: true},
			{name: "mutex + map", pass: locked.mixed},
			{name: "RWMutex + map", pass: rw.mixed},
			{name: "sync.Map", pass: sm.mixed},
			{name: "xsync.Map", pass: xm.mixed},
			{name: "shmkit Map[string, [64]byte]", pass: o.typed.mixed, remote: o.remote("mixed", "typed")},
			{name: "shmkit Map[string, []byte]", pass: o.bytes.mixed, remote: o.remote("mixed", "bytes")},
		}, o.close, nil
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
				name: "shmkit Map[string, []byte]", remote: o.remote("insert", "bytes"), fresh: o.emptyBytes,
				pass: func(who int, seq []uint32) { o.bytes.insert(who, seq) },
			},
		}, o.close, nil
	}
}
