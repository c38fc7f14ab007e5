package main

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
)

// What growth costs the one who inserts: every single insertion is timed, from the
// first key to the last, into a map that was made for 1000. Each time is entered
// in a histogram whose steps are an eighth of a power of two. The timing itself
// is in it, some 40 ns.

// made is how many entries the maps are made for.
const made = 1000

// growth is what one map did.
type growth struct {
	name     string
	times    histogram
	leanest  taken // as measured at each 200th part
	fattest  taken
	measured bool
}

type histogram struct {
	counts [64 * 8]uint64
	n      uint64
	sum    time.Duration
	most   time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.sum += d
	h.most = max(h.most, d)
	x := uint64(max(d, 8))
	top := bits.Len64(x) - 1
	h.counts[top*8+int(x>>(top-3)&7)]++
}

// quantile returns the upper end of the step that holds the q-th part.
func (h *histogram) quantile(q float64) time.Duration {
	left := uint64(q * float64(h.n))
	for i, c := range h.counts {
		if c > left {
			return time.Duration(uint64(8+i%8+1) << (i / 8) >> 3)
		}
		left -= c
	}
	return h.most
}

// growTo prints what it costs to insert n keys.
func growTo(n int, w io.Writer) error {
	keys := keyNames(n)
	plain := func() func(string) error {
		m := make(map[string]blob, made)
		return func(k string) error { m[k] = blob{}; return nil }
	}
	locked := func() func(string) error {
		m := xsync.NewMap[string, blob](xsync.WithPresize(made))
		return func(k string) error { m.Store(k, blob{}); return nil }
	}
	all := []*growth{timed("builtin map, no lock", keys, plain(), nil), timed("xsync.Map", keys, locked(), nil)}
	g, err := oursGrown(keys)
	if err != nil {
		return err
	}
	all = append(all, g)
	fmt.Fprintf(w, "\n%-32s %8s %8s %8s %10s %10s %10s  %s\n", fmt.Sprintf("Map insert, %d to %d keys", made, n), "ns", "p50", "p99", "p99.9", "p99.99", "most", "bytes an entry: blocks; all")
	for _, g := range all {
		t := &g.times
		fmt.Fprintf(w, "%-32s %8.0f %8v %8v %10v %10v %10v", g.name, float64(t.sum)/float64(t.n), t.quantile(.5), t.quantile(.99), t.quantile(.999), t.quantile(.9999), t.most.Round(time.Microsecond))
		if g.measured {
			fmt.Fprintf(w, "  %.1f to %.1f; %.1f to %.1f", g.leanest.blocks, g.fattest.blocks, g.leanest.all, g.fattest.all)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// timed times each insertion, and calls look now and then, which is not timed.
func timed(name string, keys []string, insert func(string) error, look func(done int)) *growth {
	fmt.Fprintf(os.Stderr, "%-32s ", name)
	g := &growth{name: name}
	for i, k := range keys {
		if look != nil && i >= 100_000 && i%(len(keys)/200+1) == 0 {
			look(i)
		}
		from := time.Now()
		if err := insert(k); err != nil {
			panic(err)
		}
		g.times.add(time.Since(from))
		if i%(len(keys)/20+1) == 0 {
			fmt.Fprint(os.Stderr, ".")
		}
	}
	fmt.Fprintln(os.Stderr)
	return g
}

// oursGrown inserts into a map of an arena that grows with it, and looks at what the
// entries take of it.
func oursGrown(keys []string) (*growth, error) {
	a, err := arena.Create(fmt.Sprintf("bench.%d.grow", os.Getpid()), &arena.Options{
		Size: 1 << 20, MaxSize: 64<<20 + int64(len(keys))*160, Lifetime: arena.RemoveWithLast,
	})
	if err != nil {
		return nil, err
	}
	m, err := hashmap.Create[string, blob](a, "m", &hashmap.Options{Capacity: made})
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	lean, fat := taken{1e9, 1e9}, taken{}
	g := timed("shmkit Map[string, [64]byte]", keys, func(k string) error { return m.Store(k, blob{}) }, func(done int) {
		now, wrong := takenBy(a, m, done)
		err = errors.Join(err, wrong)
		lean, fat = taken{min(lean.blocks, now.blocks), min(lean.all, now.all)}, taken{max(fat.blocks, now.blocks), max(fat.all, now.all)}
	})
	g.leanest, g.fattest, g.measured = lean, fat, fat.all > 0
	return g, errors.Join(err, m.Check(), m.Close(), a.Close())
}
