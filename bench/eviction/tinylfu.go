package main

import "container/list"

// tinyLFU is W-TinyLFU (Einziger, Friedman, Manes 2017) with a window of fixed
// size: an LRU window, a segmented LRU behind it, and a sketch that decides
// whether what falls out of the window is worth more than the main part's victim.
type tinyLFU struct {
	window, protected, capacity int
	queues                      [3]*list.List // latest first
	at                          map[uint64]*list.Element
	sketch                      *sketch
}

const (
	inWindow = iota
	onProbation
	isProtected
)

type segmented struct {
	key   uint64
	where int
}

func newTinyLFU(capacity, percent int) cache {
	window := max(1, capacity*percent/100)
	c := &tinyLFU{window: window, protected: (capacity - window) * 4 / 5, capacity: capacity,
		at: make(map[uint64]*list.Element), sketch: newSketch(capacity)}
	for i := range c.queues {
		c.queues[i] = list.New()
	}
	return c
}

func (c *tinyLFU) has(key uint64) bool { return c.at[key] != nil }

func (c *tinyLFU) access(key uint64, _ int) bool {
	c.sketch.add(key)
	if e, ok := c.at[key]; ok {
		c.hit(e)
		return true
	}
	c.push(&segmented{key, inWindow}, inWindow)
	if c.queues[inWindow].Len() > c.window {
		x := c.pop(inWindow)
		if c.main() < c.capacity-c.window || c.admit(x) {
			c.push(x, onProbation)
		} else {
			delete(c.at, x.key)
		}
	}
	return false
}

func (c *tinyLFU) main() int { return c.queues[onProbation].Len() + c.queues[isProtected].Len() }

func (c *tinyLFU) hit(e *list.Element) {
	x := e.Value.(*segmented)
	if x.where != onProbation {
		c.queues[x.where].MoveToFront(e)
		return
	}
	c.queues[onProbation].Remove(e)
	c.push(x, isProtected)
	if c.queues[isProtected].Len() > c.protected {
		c.push(c.pop(isProtected), onProbation)
	}
}

// admit makes room for x if it was used more often than the victim.
func (c *tinyLFU) admit(x *segmented) bool {
	from := onProbation
	if c.queues[from].Len() == 0 {
		from = isProtected
	}
	victim := c.queues[from].Back().Value.(*segmented)
	if c.sketch.count(x.key) <= c.sketch.count(victim.key) {
		return false
	}
	delete(c.at, c.pop(from).key)
	return true
}

func (c *tinyLFU) push(x *segmented, where int) {
	x.where = where
	c.at[x.key] = c.queues[where].PushFront(x)
}

func (c *tinyLFU) pop(where int) *segmented {
	q := c.queues[where]
	return q.Remove(q.Back()).(*segmented)
}

// sketch is a count-min sketch of four rows that halves its counters, which end
// at 15, after ten additions an entry.
type sketch struct {
	rows     [4][]uint8
	added    int
	capacity int
}

func newSketch(capacity int) *sketch {
	s := &sketch{capacity: capacity}
	for i := range s.rows {
		s.rows[i] = make([]uint8, 4*capacity)
	}
	return s
}

func (s *sketch) cell(row int, key uint64) *uint8 {
	r := s.rows[row]
	return &r[hash(key, uint64(row))%uint64(len(r))]
}

func (s *sketch) count(key uint64) uint8 {
	least := *s.cell(0, key)
	for i := range s.rows {
		least = min(least, *s.cell(i, key))
	}
	return least
}

func (s *sketch) add(key uint64) {
	for i := range s.rows {
		if x := s.cell(i, key); *x < 15 {
			*x++
		}
	}
	if s.added++; s.added < 10*s.capacity {
		return
	}
	s.added /= 2
	for _, r := range s.rows {
		for i := range r {
			r[i] /= 2
		}
	}
}
