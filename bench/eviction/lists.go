package main

import "container/list"

// lru is exact LRU.
type lru struct {
	capacity int
	order    *list.List // most recently used first
	at       map[uint64]*list.Element
}

func newLRU(capacity int) cache {
	return &lru{capacity, list.New(), make(map[uint64]*list.Element)}
}

func (c *lru) has(key uint64) bool { return c.at[key] != nil }

func (c *lru) access(key uint64, _ int) bool {
	if e, ok := c.at[key]; ok {
		c.order.MoveToFront(e)
		return true
	}
	if c.order.Len() == c.capacity {
		delete(c.at, c.order.Remove(c.order.Back()).(uint64))
	}
	c.at[key] = c.order.PushFront(key)
	return false
}

// sieve is SIEVE (Zhang et al., NSDI 2024).
type sieve struct {
	capacity int
	order    *list.List // latest inserted first; a hit moves nothing
	hand     *list.Element
	at       map[uint64]*list.Element
}

type visited struct {
	key  uint64
	seen bool
}

func newSieve(capacity int) cache {
	return &sieve{capacity: capacity, order: list.New(), at: make(map[uint64]*list.Element)}
}

func (c *sieve) has(key uint64) bool { return c.at[key] != nil }

func (c *sieve) access(key uint64, _ int) bool {
	if e, ok := c.at[key]; ok {
		e.Value.(*visited).seen = true
		return true
	}
	if c.order.Len() == c.capacity {
		c.evict()
	}
	c.at[key] = c.order.PushFront(&visited{key: key})
	return false
}

func (c *sieve) evict() {
	for {
		if c.hand == nil {
			c.hand = c.order.Back()
		}
		e := c.hand
		v := e.Value.(*visited)
		c.hand = e.Prev()
		if !v.seen {
			c.order.Remove(e)
			delete(c.at, v.key)
			return
		}
		v.seen = false
	}
}

// s3fifo is S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth, a main
// one, and as many ghosts as the main one has entries.
type s3fifo struct {
	capacity, small int
	smallQ, mainQ   *list.List // of *counted, latest first
	at              map[uint64]*list.Element
	ghosts          *fifoGhosts
}

type counted struct {
	key    uint64
	freq   int
	inMain bool
}

func newS3FIFO(capacity int) cache {
	small := max(1, capacity/10)
	return &s3fifo{capacity, small, list.New(), list.New(), make(map[uint64]*list.Element), newFIFOGhosts(capacity - small)}
}

func (c *s3fifo) has(key uint64) bool { return c.at[key] != nil }

func (c *s3fifo) access(key uint64, _ int) bool {
	if e, ok := c.at[key]; ok {
		x := e.Value.(*counted)
		x.freq = min(x.freq+1, 3)
		return true
	}
	for c.smallQ.Len()+c.mainQ.Len() >= c.capacity {
		if c.smallQ.Len() >= c.small || c.mainQ.Len() == 0 {
			c.evictSmall()
		} else {
			c.evictMain()
		}
	}
	if _, ghost := c.ghosts.take(key); ghost {
		c.at[key] = c.mainQ.PushFront(&counted{key, 0, true})
	} else {
		c.at[key] = c.smallQ.PushFront(&counted{key, 0, false})
	}
	return false
}

// evictSmall takes the oldest of the small queue to the main one if it was used
// more than once, else out.
func (c *s3fifo) evictSmall() {
	x := c.smallQ.Remove(c.smallQ.Back()).(*counted)
	if x.freq > 1 {
		x.freq, x.inMain = 0, true
		c.at[x.key] = c.mainQ.PushFront(x)
		return
	}
	delete(c.at, x.key)
	c.ghosts.put(x.key, 0)
}

func (c *s3fifo) evictMain() {
	for {
		x := c.mainQ.Remove(c.mainQ.Back()).(*counted)
		if x.freq == 0 {
			delete(c.at, x.key)
			return
		}
		x.freq--
		c.at[x.key] = c.mainQ.PushFront(x)
	}
}
