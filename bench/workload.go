package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"sync"
)

// blob is the value of a key.
type blob = [64]byte

// draws is the length of a sequence.
const draws = 1 << 20

// keyNames returns n keys in one piece of memory.
func keyNames(n int) []string {
	text := make([]byte, 0, 16*n)
	for i := range n {
		text = fmt.Appendf(text, "key:%012d", i)
	}
	all, keys := string(text), make([]string, n)
	for i := range keys {
		keys[i] = all[16*i : 16*(i+1)]
	}
	return keys
}

// zipf draws indices below n so that the k-th most popular one comes up in
// proportion to 1/k^s. It searches the distribution, since rand.Zipf wants s > 1;
// which index is popular is left to chance.
func zipf(n int, s float64, seed uint64) []uint32 {
	upTo := make([]float64, n)
	sum := 0.0
	for k := range upTo {
		sum += math.Pow(float64(k+1), -s)
		upTo[k] = sum
	}
	popular := rand.New(rand.NewPCG(1, 1)).Perm(n) // the same for every seed
	r := rand.New(rand.NewPCG(seed, 2))
	seq := make([]uint32, draws)
	for i := range seq {
		k := sort.SearchFloat64s(upTo, r.Float64()*sum)
		seq[i] = uint32(popular[min(k, n-1)])
	}
	return seq
}

// sequence returns the indices that the first or the second of two works on.
func sequence(n, who int) []uint32 { return sequences(n)[who]() }

var sequences = memo(func(n int) [2]func() []uint32 {
	var two [2]func() []uint32
	for who := range two {
		two[who] = sync.OnceValue(func() []uint32 { return zipf(n, 0.99, uint64(who+1)) })
	}
	return two
})

// half returns the indices that the first or the second of two inserts, or all.
func half(n, who int, two bool) []uint32 {
	order := orders(n)
	if !two {
		return order
	}
	return order[who*n/2 : (who+1)*n/2]
}

var orders = memo(func(n int) []uint32 {
	order := make([]uint32, n)
	for i, k := range rand.New(rand.NewPCG(3, 3)).Perm(n) {
		order[i] = uint32(k)
	}
	return order
})

// lookupKeys, secondKeys and storedKeys are equal, and not the same memory.
var lookupKeys, secondKeys, storedKeys = memo(keyNames), memo(keyNames), memo(keyNames)

// bothKeys returns the keys that the first and the second worker of one process
// look up.
func bothKeys(n int) [2][]string { return [2][]string{lookupKeys(n), secondKeys(n)} }

// memo keeps the results of f.
func memo[T any](f func(int) T) func(int) T {
	var mu sync.Mutex
	known := make(map[int]T)
	return func(n int) T {
		mu.Lock()
		defer mu.Unlock()
		v, ok := known[n]
		if !ok {
			v = f(n)
			known[n] = v
		}
		return v
	}
}
