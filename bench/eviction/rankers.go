package main

import "math"

// recency is LRU by sampling. The word is the time of the last access.
type recency struct{}

func (recency) fresh(s *stripe) uint64           { return s.clock }
func (recency) again(s *stripe, _ uint64) uint64 { return s.clock }
func (recency) hit(s *stripe, _ uint64) uint64   { return s.clock }
func (recency) rank(_ *stripe, w uint64) int64   { return int64(w) }
func (recency) evicted(*stripe, uint64)          {}

// lru2 evicts what has the oldest last access but one. The word is the times of
// the two, 32 bits each; 0 is long ago.
type lru2 struct{}

func (lru2) fresh(s *stripe) uint64           { return s.clock }
func (lru2) again(s *stripe, g uint64) uint64 { return g<<32 | s.clock }
func (lru2) hit(s *stripe, w uint64) uint64   { return w<<32 | s.clock }
func (lru2) rank(_ *stripe, w uint64) int64   { return int64(w) }
func (lru2) evicted(*stripe, uint64)          {}

// reuse ranks like LIRS: by the distance between the last two accesses, or by the
// time since the last one if that is longer. The word is {distance, last}, 32
// bits each.
type reuse struct{}

func (reuse) fresh(s *stripe) uint64 { return math.MaxUint32<<32 | s.clock }

func (reuse) again(s *stripe, g uint64) uint64 { return reuse{}.hit(s, g) }

func (reuse) hit(s *stripe, w uint64) uint64 { return (s.clock-w&math.MaxUint32)<<32 | s.clock }

// The youngest tenth is safe: without it what is new goes at once.
func (reuse) rank(s *stripe, w uint64) int64 {
	age := s.clock - w&math.MaxUint32
	if age < uint64(s.capacity/10) {
		return math.MaxInt64/2 - int64(age)
	}
	return -int64(max(w>>32, age)<<20 + age)
}

func (reuse) evicted(*stripe, uint64) {}

// decayed counts accesses, each worth half after halfLife times the capacity
// (LRFU). The word is the logarithm of the sum, measured at time 0, so it is
// compared as it stands; 20 bits after the point.
type decayed struct{ halfLife float64 }

func (d decayed) fresh(s *stripe) uint64 {
	return uint64(float64(s.clock) / (d.halfLife * float64(s.capacity)) * (1 << 20))
}

func (d decayed) again(s *stripe, g uint64) uint64 { return d.hit(s, g) }

func (d decayed) hit(s *stripe, w uint64) uint64 {
	one := d.fresh(s)
	low, high := min(one, w), max(one, w)
	return high + uint64(math.Log2(1+math.Exp2(-float64(high-low)/(1<<20)))*(1<<20))
}

func (d decayed) rank(_ *stripe, w uint64) int64 { return int64(w) }
func (d decayed) evicted(*stripe, uint64)        {}
