package main

import (
	"math"
	"math/bits"
)

// space is how a map divides its capacity, and what it remembers.
type space struct {
	stripes int
	look    int // buckets looked at for a victim
	ghosts  int // words of four for each bucket
	seed    uint64
	exact   bool // ghosts remember whole keys and words, as many for each entry
	tear    int  // one insertion in so many leaves wild words, as if killed
}

// ranker is a policy for a stripe. It keeps one word an entry.
type ranker interface {
	fresh(s *stripe) uint64               // the word of a key that is not remembered
	again(s *stripe, ghost uint64) uint64 // the word of a key that is
	hit(s *stripe, word uint64) uint64    // the word after a hit
	rank(s *stripe, word uint64) int64    // the lowest goes first
	evicted(s *stripe, word uint64)       // the word of the victim
}

// part is the share of one stripe. It is changed under the stripe's lock.
type part interface {
	has(h uint64) bool
	hit(h uint64) // which may have gone since it was hit
	insert(h uint64)
}

// striped is a map that may hold so many entries.
type striped struct {
	seed    uint64
	stripes []part
	procs   []*process
}

// count returns how many stripes there are.
func (sp space) count(capacity int) int {
	n := sp.stripes
	for n == 0 || sp.stripes == 0 && n < 256 && capacity >= 128*2*n {
		n = max(1, 2*n)
	}
	return min(n, capacity)
}

// newStriped divides the capacity among stripes of the kind that newPart makes.
func newStriped(capacity int, newPart func(capacity int) part, sp space, w crowd) cache {
	n := sp.count(capacity)
	m := &striped{seed: sp.seed}
	for i := range n {
		m.stripes = append(m.stripes, newPart(capacity*(i+1)/n-capacity*i/n))
	}
	for i := range w.procs {
		m.procs = append(m.procs, newProcess(i, n, w))
	}
	return m
}

func (m *striped) has(key uint64) bool {
	h := hash(key, m.seed)
	return m.stripes[scale(h, len(m.stripes))].has(h)
}

func (m *striped) access(key uint64, by int) bool {
	h := hash(key, m.seed)
	at := scale(h, len(m.stripes))
	s := m.stripes[at]
	by %= len(m.procs)
	if s.has(h) {
		m.procs[by].hit(s, at, h)
		return true
	}
	// What a read-only process misses, the next one that may write stores.
	for m.procs[by].readOnly {
		by = (by + 1) % len(m.procs)
	}
	m.procs[by].apply(s, at)
	s.insert(h)
	return false
}

// whole is a stripe with an ideal policy of its own.
type whole struct{ cache }

func (p whole) hit(h uint64) {
	if p.has(h) {
		p.access(h, 0)
	}
}

func (p whole) insert(h uint64) { p.access(h, 0) }

// stripe is a part whose policy is a ranker.
type stripe struct {
	rules    ranker
	capacity int
	look     int
	count    int
	buckets  [][]*entry // in the order of the hash
	at       map[uint64]*entry
	ghosts   ghosts
	tear     int
	clock    uint64 // insertions, and hits as far as they were reported
	floor    uint32 // of aged: what the last victims were worth
}

type entry struct{ hash, word uint64 }

// load is how many entries a bucket has on average; a map's has room for six.
const load = 4

func newStripe(capacity int, r ranker, sp space) part {
	s := &stripe{rules: r, capacity: capacity, look: sp.look, tear: sp.tear, at: make(map[uint64]*entry)}
	s.buckets = make([][]*entry, (capacity+load-1)/load)
	s.ghosts = newSmallGhosts(sp.ghosts * len(s.buckets))
	if sp.exact {
		s.ghosts = newFIFOGhosts(sp.ghosts * capacity)
	}
	return s
}

func (s *stripe) has(h uint64) bool { return s.at[h] != nil }

func (s *stripe) insert(h uint64) {
	s.clock++
	if s.tear > 0 && s.clock%uint64(s.tear) == 0 {
		s.torn(h)
	}
	for s.count >= s.capacity {
		s.evict(h)
	}
	e := &entry{hash: h}
	if g, ok := s.ghosts.take(h); ok {
		e.word = s.rules.again(s, g)
	} else {
		e.word = s.rules.fresh(s)
	}
	b := s.bucket(h)
	s.buckets[b] = append(s.buckets[b], e)
	s.at[h] = e
	s.count++
}

func (s *stripe) hit(h uint64) {
	if e, ok := s.at[h]; ok {
		s.clock++
		e.word = s.rules.hit(s, e.word)
	}
}

// evict makes room for a key: it removes the lowest of the entries in the look
// buckets from the key's own on, or in more if those are empty.
func (s *stripe) evict(h uint64) {
	var victim *entry
	var from, index int
	lowest, at := int64(0), s.bucket(h)
	for looked := 0; looked < min(s.look, len(s.buckets)) || victim == nil; looked++ {
		for i, e := range s.buckets[at] {
			if r := s.rules.rank(s, e.word); victim == nil || r < lowest {
				victim, lowest, from, index = e, r, at, i
			}
		}
		at = (at + 1) % len(s.buckets)
	}
	b := s.buckets[from]
	b[index] = b[len(b)-1]
	s.buckets[from] = b[:len(b)-1]
	delete(s.at, victim.hash)
	s.count--
	s.rules.evicted(s, victim.word)
	s.ghosts.put(victim.hash, victim.word)
}

// torn is far worse than what a killed writer leaves: the floor, the ghosts and the
// words of the bucket are anything.
func (s *stripe) torn(h uint64) {
	s.floor = uint32(hash(h, s.clock))
	s.ghosts.put(h, s.clock)
	for i, e := range s.buckets[s.bucket(h)] {
		e.word = hash(h, s.clock+uint64(i)+1) & math.MaxUint32
	}
}

// bucket takes other bits of the hash than the choice of the stripe.
func (s *stripe) bucket(h uint64) int { return scale(h*0x9e3779b97f4a7c15, len(s.buckets)) }

// scale maps the high bits of a hash to [0, n).
func scale(h uint64, n int) int {
	hi, _ := bits.Mul64(h, uint64(n))
	return int(hi)
}

// hash scatters keys; it has no collisions.
func hash(key, seed uint64) uint64 {
	x := key + (seed+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
