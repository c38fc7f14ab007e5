package main

import (
	"errors"
	"math/rand/v2"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/slab"
)

// live is how many blocks each of two keeps.
const live = 100_000

// sizes are 16 to 2048 bytes, evenly spread over the powers of two. They are small
// words: looking one up is part of what is measured.
var sizes = memo(func(n int) []uint16 {
	rnd := rand.New(rand.NewPCG(4, 4))
	all := make([]uint16, n)
	for i := range all {
		top := uint64(16) << rnd.IntN(7)
		all[i] = uint16(top + rnd.Uint64N(top+1))
	}
	return all
})

// blocks replaces one of its live blocks, chosen at random, by a new one of
// another size: one allocation and one free an operation.
type blocks struct {
	s    *slab.Slab
	refs [2][]uint64 // of the first and the second
	rnd  [2]*rand.PCG
}

func newBlocks(a *arena.Arena, who int) (*blocks, error) {
	b := &blocks{s: slab.Of(a)}
	return b, b.fill(who)
}

func (b *blocks) fill(who int) error {
	b.refs[who] = make([]uint64, live)
	b.rnd[who] = rand.NewPCG(uint64(who), 5)
	for i := range b.refs[who] {
		if err := b.replace(who, i, uint64(sizes(1 << 16)[i%(1<<16)])); err != nil {
			return err
		}
	}
	return nil
}

// replace gives up block i, if there is one, and reserves another. Its record is
// closed by hand: the table that refers to the block is not in the arena.
func (b *blocks) replace(who, i int, n uint64) error {
	op, err := b.s.Begin()
	if err != nil {
		return err
	}
	defer op.End()
	if old := b.refs[who][i]; old != 0 {
		if err := op.Free(old); err != nil {
			return err
		}
	}
	if b.refs[who][i], err = op.Reserve(n); err == nil {
		op.Record.Close()
	}
	return err
}

func (b *blocks) pass(who int, seq []uint32) {
	sizes, rnd := sizes(1<<16), b.rnd[who]
	for range seq {
		x := rnd.Uint64()
		must(b.replace(who, int(x>>32*live>>32), uint64(sizes[x&0xffff])))
	}
}

// end frees everything.
func (b *blocks) end() error {
	var err error
	for _, refs := range b.refs {
		for _, ref := range refs {
			err = errors.Join(err, b.s.Free(ref))
		}
	}
	return err
}

// heap is the same with Go's own allocator, which also has to find out what is
// free.
type heap struct {
	blocks [2][][]byte
	rnd    [2]*rand.PCG
}

func newHeap() *heap {
	h := &heap{}
	for who := range h.blocks {
		h.blocks[who], h.rnd[who] = make([][]byte, live), rand.NewPCG(uint64(who), 5)
		for i := range h.blocks[who] {
			h.blocks[who][i] = make([]byte, sizes(1 << 16)[i%(1<<16)])
		}
	}
	return h
}

func (h *heap) pass(who int, seq []uint32) {
	sizes, rnd, all := sizes(1<<16), h.rnd[who], h.blocks[who]
	for range seq {
		x := rnd.Uint64()
		all[x>>32*live>>32] = make([]byte, sizes[x&0xffff])
	}
}

// openBlocks compares the slab with Go's heap.
func openBlocks() ([]contender, func() error, error) {
	a, err := newArena(320 << 20)
	if err != nil {
		return nil, nil, err
	}
	b, err := newBlocks(a, 0)
	if err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	end := func() error {
		err := b.end()
		report, wrong := a.Check()
		if wrong == nil && report.UsedBytes != 0 {
			wrong = errors.New("blocks were lost")
		}
		return errors.Join(err, wrong, a.Close())
	}
	return []contender{
		{name: "Go heap", pass: newHeap().pass},
		{name: "shmkit slab", pass: b.pass, remote: &remote{"replace", a.Name(), "slab"}},
	}, end, nil
}
