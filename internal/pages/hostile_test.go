//go:build !poison

package pages

// What is damaged here says of blocks that they are free, and poison would find them
// changed.

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
)

// Random bits and words in the table of pages of three eighths: nothing panics, and
// what is found in use is what Free accepts.
func TestLodger_Hostile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, shift := range []uint{12, 14, 16} {
		a := newTable(t, shift, 4, 4)
		n := len(a.Classes())
		w, q := n-2, n-4
		for range 3000 {
			for p := range uint64(4) {
				e := a.entry(p)
				kind := uint64(kindClass + w)
				switch rnd.IntN(8) {
				case 0:
					kind = rnd.Uint64N(256)
				case 1:
					kind = rnd.Uint64()
				case 2:
					kind = uint64(kindClass + rnd.IntN(n))
				}
				e.word.Store(kind)
				e.used.Store(rnd.Uint64() & rnd.Uint64())
				e.freed.Store(rnd.Uint64() & rnd.Uint64())
			}
			a.Census(func(b Block) { require.LessOrEqual(t, b.Off+b.Size, a.g.End(4)) })
			for p := range uint64(4) {
				_ = a.Page(p)
				for _, class := range []int{w, q, 0, n - 1} {
					a.Inside(p, class)
				}
				a.Hint(p)
			}
			a.Rescan()
			for _, kind := range []int{HintClass + w, HintClass + q, HintEmpty, HintHeld} {
				for _, want := range []int{w, q, 0, NoClass} {
					if p, is, ok := a.takeBy(kind, want); ok {
						named := []uint64{rnd.Uint64(), a.pageOff(p), a.pageOff(p) + rnd.Uint64N(1<<shift), 0}
						free, used := a.Collect(p, is, func() []uint64 { return named })
						require.LessOrEqual(t, uint64(free+used), a.types.classes[is].All)
						var bits int
						for _, r := range a.Rounds(p, is, nil) {
							require.NotZero(t, r.Blocks())
							bits += r.Blocks()
							a.Names(&r, named)
							for !r.Empty() {
								var c Chamber
								a.Choose(&r, &c)
								require.Less(t, c.Off, a.pageOff(p+1))
							}
						}
						require.Equal(t, free, bits)
						a.Leave(p, is, &a.at)
					}
				}
			}
			for range 8 {
				off := rnd.Uint64()
				if rnd.IntN(4) > 0 {
					off = a.g.DataOff - 64 + off%(4<<shift+128)
				}
				in := a.InUse(off)
				size, err := a.Size(off)
				if err == nil {
					require.True(t, in)
					require.LessOrEqual(t, off+size, a.g.End(4))
				} else if in {
					require.ErrorIs(t, err, mem.ErrCorrupt)
				}
				var r Round
				if rnd.IntN(2) == 0 {
					err = a.FreeRound(off, &r)
				} else {
					err = a.Free(off)
				}
				require.Equal(t, in, err == nil)
				a.Settle(off)
				if !r.Empty() {
					require.LessOrEqual(t, r.Class(), n-1)
					a.Names(&r, []uint64{off})
				}
			}
			for p := range uint64(4) {
				a.Pass(p, int(rnd.Uint64N(4)))
			}
		}
	}
}
