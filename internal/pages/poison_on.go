//go:build poison

package pages

import (
	"bytes"
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
)

// poisonByte is what free blocks are full of: as a length or an offset it is
// absurd, as a float it is no number anyone would store.
const poisonByte = 0xdb

var poisoned = bytes.Repeat([]byte{poisonByte}, 1<<MaxShift)

// poison fills a block that is about to be free. Lock-free readers may still be
// in it; what they have read of it does not stand.
func (t *Table) poison(at *place, off uint64) { t.fill(off, t.sizeAt(at)) }

// sizeAt returns the size of a block; of a run, what its entry says of it.
func (t *Table) sizeAt(at *place) uint64 {
	if at.class >= 0 {
		return t.types.classes[at.serves].Size
	}
	if n := t.entry(at.page).runPages(); n <= t.Pages()-at.page {
		return n << t.g.Shift
	}
	return 0 // damaged
}

func (t *Table) fill(off, size uint64) {
	for n := uint64(0); n < size; n += min(size-n, 1<<MaxShift) {
		mem.CopyIn(t.view.Base().Add(off+n), poisoned[:min(size-n, 1<<MaxShift)])
	}
}

// poisonPage fills all blocks of a page that is being cut.
func (t *Table) poisonPage(p uint64, c *Class) { t.fill(t.pageOff(p)+c.Head, t.types.bytes(c)) }

// unpoison panics if somebody has stored into a block while it was free.
func (t *Table) unpoison(off, size uint64) {
	for i := range size {
		if x := mem.Load8(t.view.Base().Add(off + i)); x != poisonByte {
			panic(fmt.Sprintf("pages: byte %d of the free block of %d bytes at %#x was changed to %#x: somebody stores into a block that he has freed, or does without the build tag poison",
				i, size, off, x))
		}
	}
}
