package main

// ghosts remember what was evicted.
type ghosts interface {
	put(h, word uint64)
	take(h uint64) (word uint64, ok bool) // and forget it
}

// fifoGhosts remember the last n whole: what a small form is measured against.
type fifoGhosts struct {
	n     int
	words map[uint64]remembered
	queue []remembered // some were taken since
	next  uint64
}

type remembered struct{ h, word, number uint64 }

func newFIFOGhosts(n int) *fifoGhosts {
	return &fifoGhosts{n: n, words: make(map[uint64]remembered)}
}

func (g *fifoGhosts) put(h, word uint64) {
	if g.n == 0 {
		return
	}
	g.next++
	r := remembered{h, word, g.next}
	g.words[h] = r
	g.queue = append(g.queue, r)
	for len(g.words) > g.n {
		old := g.queue[0]
		g.queue = g.queue[1:]
		if g.words[old.h] == old {
			delete(g.words, old.h)
		}
	}
}

func (g *fifoGhosts) take(h uint64) (uint64, bool) {
	r, ok := g.words[h]
	delete(g.words, h)
	return r.word, ok
}

// smallGhosts are words of four lanes, {fingerprint 12, count 4}. The hash says
// which word; a new ghost is shifted in, the oldest of the four falls out. So each
// change is one store. A lane of 0 is free; a count never is 0.
type smallGhosts struct{ words []uint64 }

const laneBits = 16

func newSmallGhosts(words int) *smallGhosts { return &smallGhosts{make([]uint64, words)} }

// place returns the word for a hash, and its fingerprint above the bits of the count.
func (g *smallGhosts) place(h uint64) (*uint64, uint64) {
	h *= 0xd6e8feb86659fd93
	return &g.words[scale(h, len(g.words))], h & 0xfff0
}

func (g *smallGhosts) put(h, word uint64) {
	if len(g.words) == 0 {
		return
	}
	w, print := g.place(h)
	*w = *w<<laneBits | print | word&countMask
}

func (g *smallGhosts) take(h uint64) (uint64, bool) {
	if len(g.words) == 0 {
		return 0, false
	}
	w, print := g.place(h)
	for at := 0; at < 64; at += laneBits {
		lane := *w >> at & 0xffff
		if lane&0xfff0 == print && lane&countMask != 0 {
			*w &^= 0xffff << at
			return lane & countMask, true
		}
	}
	return 0, false
}
