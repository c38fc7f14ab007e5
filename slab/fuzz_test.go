package slab_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/slab"
)

// Two attaches do what the input says, four bytes an operation, beside the model
// of [TestModel_Spans]. Some operations stay open, with the block that they have
// reserved; that can be freed while they are, and stays out of reach.
func FuzzSlab(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{4, 100, 1000} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		f.Add(b)
	}
	f.Add([]byte("aaaabbbbccccddddeeeeffffgggghhhh"))
	f.Fuzz(runOps)
}

func runOps(t *testing.T, ops []byte) {
	page := 4096
	if len(ops) > 0 && ops[0]&1 != 0 {
		page = 16384
	}
	w := newWorld(t, &arena.Options{Size: 100 << 10, MaxSize: 160 << 10, PageSize: page, Processes: 3, Objects: 4}, 2)
	for i := 0; i+4 <= len(ops); i += 4 {
		w.decode(binary.LittleEndian.Uint32(ops[i:]))
	}
	for len(w.held) > 0 {
		w.letGo(0)
	}
	w.end()
}

// decode does what one operation of the input says.
func (w *world) decode(op uint32) {
	i, kind, x := int(op&1), op>>1&15, uint64(op>>5)
	switch {
	case kind < 4:
		w.alloc(i, 1+x%300)
	case kind < 6:
		w.alloc(i, 1+x%3000)
	case kind == 6:
		w.alloc(i, 1+x%(40<<10))
	case kind < 11 && len(w.used) > 0:
		w.free(i, int(x%uint64(len(w.used))))
	case kind == 11:
		w.misuse(i, w.wrong(x, x>>3))
	case kind == 12 && len(w.held) > 0:
		w.letGo(int(x % uint64(len(w.held))))
	case kind == 13:
		for k := len(w.used) - 1; k >= 0; k -= 1 + int(x%3) {
			w.free(i, k)
		}
	case kind >= 14 && len(w.held) < 6:
		w.hold(i, 1+x%5000)
	}
}

// hold begins an operation and reserves a block under its name.
func (w *world) hold(i int, n uint64) {
	op, err := w.s[i].Begin()
	require.NoError(w.t, err)
	ref, err := op.Reserve(n)
	if w.got(i, n, ref, err); err != nil {
		op.End()
		return
	}
	w.held = append(w.held, held{&op, ref})
}

// letGo ends an operation: its block is freed, if nobody has done that. As long
// as it was open nobody else can have got it.
func (w *world) letGo(k int) {
	h := w.held[k]
	w.held = slices.Delete(w.held, k, k+1)
	at, ok := w.used.search(h.ref)
	h.op.End()
	if ok {
		w.gone(at)
	}
	require.ErrorIs(w.t, w.s[0].Free(h.ref), slab.ErrNotAllocated)
}
