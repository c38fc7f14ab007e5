package main

import (
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// defaults are the flags' defaults.
var defaults = config{
	space: space{stripes: 4, look: 2, ghosts: 1, seed: 1},
	crowd: crowd{procs: 3, readOnly: 1, ring: 4, full: "apply", every: 1, deal: "burst"},
}

// skewed draws n keys, small ones more often.
func skewed(n int, seed uint64) []uint64 {
	r := rand.New(rand.NewPCG(seed, 7))
	trace := make([]uint64, n)
	for i := range trace {
		trace[i] = uint64(r.IntN(1 + r.IntN(200)))
	}
	return trace
}

func everyPolicy(t *testing.T, test func(t *testing.T, make maker)) {
	for _, p := range append(policies(defaults), candidate{"LRU", newLRU}) {
		t.Run(p.name, func(t *testing.T) { test(t, p.make) })
	}
}

// TestLRU_Reference compares LRU with a slice whose last key is the most recent.
func TestLRU_Reference(t *testing.T) {
	for capacity := 1; capacity < 60; capacity += 7 {
		c, order := newLRU(capacity), []uint64(nil)
		for i, k := range skewed(3000, uint64(capacity)) {
			at := slices.Index(order, k)
			if got := c.access(k, 0); got != (at >= 0) {
				t.Fatalf("capacity %d, access %d: hit %v, want %v", capacity, i, got, at >= 0)
			}
			if at >= 0 {
				order = slices.Delete(order, at, at+1)
			}
			order = append(order, k)
			order = order[max(0, len(order)-capacity):]
		}
	}
}

// TestRecency_Ideal holds the striped form against LRU where both must agree.
func TestRecency_Ideal(t *testing.T) {
	w := crowd{procs: 1, every: 1}
	c := newStriped(40, func(n int) part {
		return newStripe(n, recency{}, space{look: 1 << 30, exact: true})
	}, space{stripes: 1}, w)
	want := newLRU(40)
	for i, k := range skewed(5000, 1) {
		if c.access(k, 0) != want.access(k, 0) {
			t.Fatalf("access %d differs", i)
		}
	}
}

func TestReplay_Deterministic(t *testing.T) {
	everyPolicy(t, func(t *testing.T, make maker) {
		trace := skewed(5000, 2)
		one, two := replay(trace, make(50), defaults.crowd), replay(trace, make(50), defaults.crowd)
		if one != two || one <= 0.1 || one >= 1 {
			t.Fatalf("hit ratios %v and %v", one, two)
		}
	})
}

// TestPolicies_Bound counts what is there: no more than the capacity, and a hit
// only of what is.
func TestPolicies_Bound(t *testing.T) {
	everyPolicy(t, func(t *testing.T, make maker) {
		const capacity = 37
		c := make(capacity)
		for i, k := range skewed(3000, 3) {
			there := c.has(k)
			if c.access(k, i%3) != there {
				t.Fatalf("access %d: there %v", i, there)
			}
			count := 0
			for k := range uint64(200) {
				if c.has(k) {
					count++
				}
			}
			if count > capacity {
				t.Fatalf("access %d: %d entries", i, count)
			}
		}
	})
}

func TestSmallGhosts(t *testing.T) {
	g := newSmallGhosts(1)
	for i := range uint64(5) {
		g.put(hash(i, 1), i+1)
	}
	if _, ok := g.take(hash(0, 1)); ok {
		t.Fatal("five ghosts in a word of four")
	}
	for i := uint64(1); i < 5; i++ {
		if count, ok := g.take(hash(i, 1)); !ok || count != i+1 {
			t.Fatalf("ghost %d: %d, %v", i, count, ok)
		}
		if _, ok := g.take(hash(i, 1)); ok {
			t.Fatalf("ghost %d twice", i)
		}
	}
}

// TestAged_Wraps: order is by the bonus wherever the floor is, and what no writer
// can have stored goes first.
func TestAged_Wraps(t *testing.T) {
	for _, floor := range []uint32{0, 1<<27 - 100, 1<<28 - 100, 1<<32 - 100} {
		s := &stripe{floor: floor}
		once := chosen.fresh(s)
		often := chosen.hit(s, chosen.hit(s, once))
		wild := chosen.word(&stripe{floor: floor + 1<<20}, 1)
		old := chosen.word(&stripe{floor: floor - 1<<20}, 15)
		got := []int64{chosen.rank(s, wild), chosen.rank(s, old), 0, chosen.rank(s, once), chosen.rank(s, often)}
		if !slices.IsSorted(got) || got[3] != unit || got[4] != 14*unit {
			t.Errorf("floor %#x: ranks %d", floor, got)
		}
		if chosen.evicted(s, often); chosen.rank(s, once) != -13*unit {
			t.Errorf("floor %#x: is %#x after an eviction", floor, s.floor)
		}
	}
}

// TestAged_Torn: wild words cost hits, not the bound, and not for long.
func TestAged_Torn(t *testing.T) {
	trace, hits := skewed(50_000, 4), [2]float64{}
	for i, tear := range []int{0, 100} {
		sp := defaults.space
		sp.tear = tear
		c := newStriped(80, func(n int) part { return newStripe(n, chosen, sp) }, sp, defaults.crowd)
		hits[i] = replay(trace, c, defaults.crowd)
	}
	t.Logf("hit ratio %.3f, torn %.3f", hits[0], hits[1])
	if hits[1] < hits[0]-0.05 {
		t.Errorf("hit ratio %.3f, torn %.3f", hits[0], hits[1])
	}
}

func TestReadTrace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.keys.gz")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	fmt.Fprint(z, "3\n1\n18446744073709551615\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	keys, err := readTrace(name)
	if err != nil || !slices.Equal(keys, []uint64{3, 1, 1<<64 - 1}) {
		t.Fatal(keys, err)
	}
}
