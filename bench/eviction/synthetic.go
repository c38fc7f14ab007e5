package main

import (
	"math"
	"math/rand/v2"
	"sort"
)

// syntheticPoints are kinds of load that are known to hurt policies which count,
// and larger stripes than the real traces fill:
//
//	zipf     popularity zipf(0.9) over 200 000 keys, for ever the same
//	drift    the same over 50 000 keys, a tenth of them replaced every 50 000 accesses
//	jump     the same, all keys replaced every 100 000 accesses
//	young    a key is used some ten times soon after it was born and never again
//	flood    zipf over 50 000 keys, every other access from a scan of new keys
//	loop     a scan over 6 000 keys, again and again
//	turns    loop and young by turns, 50 000 accesses each
func syntheticPoints() []point {
	const n = 500_000
	zipf := func(keys, moveEvery, moved int) func() ([]uint64, error) {
		return func() ([]uint64, error) { return zipfTrace(n, keys, moveEvery, moved), nil }
	}
	return []point{
		{"zipf", 4_000, zipf(200_000, n+1, 0)},
		{"zipf", 40_000, zipf(200_000, n+1, 0)},
		{"drift", 5_000, zipf(50_000, 50_000, 5_000)},
		{"jump", 5_000, zipf(50_000, 100_000, 50_000)},
		{"young", 500, func() ([]uint64, error) { return youngTrace(n, 1), nil }},
		{"young", 5_000, func() ([]uint64, error) { return youngTrace(n, 1), nil }},
		{"flood", 5_000, func() ([]uint64, error) { return floodTrace(n), nil }},
		{"loop", 5_000, func() ([]uint64, error) { return loopTrace(n, 6_000), nil }},
		{"turns", 5_000, func() ([]uint64, error) { return turnsTrace(n), nil }},
	}
}

// zipfTrace draws n keys; after every moveEvery of them, moved ranks get new keys.
func zipfTrace(n, keys, moveEvery, moved int) []uint64 {
	r := rand.New(rand.NewPCG(1, 2))
	upTo, sum := make([]float64, keys), 0.0
	for i := range upTo {
		sum += math.Pow(float64(i+1), -0.9)
		upTo[i] = sum
	}
	key, fresh := r.Perm(keys), keys
	trace := make([]uint64, n)
	for i := range trace {
		if i > 0 && i%moveEvery == 0 {
			for _, at := range r.Perm(keys)[:moved] {
				key[at], fresh = fresh, fresh+1
			}
		}
		at := sort.SearchFloat64s(upTo, r.Float64()*sum)
		trace[i] = uint64(key[min(at, keys-1)])
	}
	return trace
}

// youngTrace is what LRU is made for: the age of the key that is used, counted in
// births, is drawn from an exponential distribution; one access in ten is a birth.
func youngTrace(n int, seed uint64) []uint64 {
	r := rand.New(rand.NewPCG(seed, 3))
	const base = 1 << 32
	born := uint64(0)
	trace := make([]uint64, n)
	for i := range trace {
		age := uint64(r.ExpFloat64() * 1000)
		if i%10 == 0 || age >= born {
			born++
			age = 0
		}
		trace[i] = base + born - age
	}
	return trace
}

func floodTrace(n int) []uint64 {
	trace := zipfTrace(n, 50_000, n+1, 0)
	for i := 0; i < n; i += 2 {
		trace[i] = 1<<33 + uint64(i)
	}
	return trace
}

func loopTrace(n, keys int) []uint64 {
	trace := make([]uint64, n)
	for i := range trace {
		trace[i] = uint64(i % keys)
	}
	return trace
}

func turnsTrace(n int) []uint64 {
	trace, loop := youngTrace(n, 2), loopTrace(n, 6_000)
	for i := range trace {
		if i/50_000%2 == 0 {
			trace[i] = loop[i]
		}
	}
	return trace
}
