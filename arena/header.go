package arena

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// plan is the constant part of a header: everything follows from it.
type plan struct {
	maxSize  uint64
	slots    uint64
	objects  uint64
	lifetime uint64
	nonce    uint64
	created  uint64
	pages    pages.Geometry
}

const (
	slotSize   = 1536
	objectSize = 64
	nameSize   = 128

	fixedWords = 16 // words of the header before sum
)

func (p *plan) objectOff() uint64 { return firstSlot + p.slots*slotSize }
func (p *plan) nameOff() uint64   { return p.objectOff() + p.objects*objectSize }
func (p *plan) tablesEnd() uint64 { return p.nameOff() + p.names()*nameSize }

// names is one more than objects: a full directory can rename.
func (p *plan) names() uint64 { return p.objects + 1 }

// newPlan lays out an arena for the options, which have their defaults.
func newPlan(o *Options) (*plan, error) {
	p := &plan{
		maxSize:  uint64(o.MaxSize),
		slots:    uint64(o.Processes),
		objects:  uint64(o.Objects),
		lifetime: uint64(o.Lifetime),
		created:  uint64(time.Now().UnixNano()),
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	p.nonce = binary.LittleEndian.Uint64(nonce[:])
	g, err := pages.Plan(p.tablesEnd(), p.maxSize, uint(bits.TrailingZeros(uint(o.PageSize))))
	if err != nil {
		return nil, fmt.Errorf("arena of at most %d bytes: %w", o.MaxSize, err)
	}
	p.pages = g
	return p, nil
}

// Layout says how an arena that is made with the options will be laid out.
func Layout(o *Options) (pages.Geometry, error) {
	d, err := o.withDefaults()
	if err != nil {
		return pages.Geometry{}, err
	}
	p, err := newPlan(d)
	if err != nil {
		return pages.Geometry{}, err
	}
	return p.pages, nil
}

// initialPages returns how many pages an arena of about size bytes begins with.
func (p *plan) initialPages(size uint64) uint64 {
	g := p.pages
	n := g.MaxPages
	bytes := func(n uint64) uint64 { return g.HintsEnd(n) + n*pages.EntrySize + n<<g.Shift }
	for n > 1 && bytes(n) > size {
		over := bytes(n) - size
		n -= min(n-1, over>>(g.Shift+1)+1)
	}
	return n
}

// words returns the constant words of the header in their order.
func (p *plan) words() [fixedWords]uint64 {
	g := p.pages
	return [fixedWords]uint64{
		magic, wordTag, Version, uint64(g.Shift), p.maxSize, p.slots, p.objects, p.objectOff(),
		p.nameOff(), g.HintsOff, g.TableOff, g.DataOff, g.MaxPages, p.lifetime, p.nonce, p.created,
	}
}

func sumOf(words []uint64) uint64 {
	var b [fixedWords * 8]byte
	for i, w := range words {
		binary.LittleEndian.PutUint64(b[i*8:], w)
	}
	return xxhash.Sum64(b[:])
}

// write formats a segment whose first pages are allocated. It has no name yet,
// so that a process that dies in here leaves nothing.
func (p *plan) write(v *mem.View, committed uint64, ready bool) {
	words := p.words()
	for i, w := range words {
		mem.Must[psync.Word64](v, uint64(i)*8).Store(w)
	}
	h := mem.Must[header](v, 0)
	h.sum.Store(sumOf(words[:]))
	h.committed.Store(committed)
	if ready {
		h.ready.Store(1)
	}
}

// readPlan checks the first bytes of a segment and returns its plan and its
// committed size, which is to be compared with a size of the file that is read
// afterwards: others may be growing it.
func readPlan(r io.ReaderAt) (*plan, uint64, error) {
	if strconv.IntSize != 64 {
		return nil, 0, fmt.Errorf("%w: this program has %d-bit words, want 64", ErrVersion, strconv.IntSize)
	}
	var b [(fixedWords + 2) * 8]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		if err != nil && err != io.EOF {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("%w: truncated: %d bytes, want a header of %d", ErrCorrupt, n, firstSlot)
	}
	var words [fixedWords + 2]uint64
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	if err := checkIdentity(words[:]); err != nil {
		return nil, 0, err
	}
	p, err := planOf(words[:])
	if err != nil {
		return nil, 0, err
	}
	return p, words[fixedWords+1], nil
}

// checkIdentity checks what says that this is a segment of ours and which one.
func checkIdentity(w []uint64) error {
	switch {
	case w[0] == bits.ReverseBytes64(magic):
		return fmt.Errorf("%w: written on a big-endian machine, want little-endian", ErrVersion)
	case w[0] != magic:
		return fmt.Errorf("%w: not a shmkit arena: it begins with %#016x, want %#016x", ErrCorrupt, w[0], magic)
	case w[1]>>56 != wordTag>>56:
		return fmt.Errorf("%w: word size %d bits, want %d", ErrVersion, w[1]>>56, wordTag>>56)
	case w[1] != wordTag:
		return fmt.Errorf("%w: byte order mark %#x, want %#x", ErrVersion, w[1], wordTag)
	case w[2] != Version:
		return fmt.Errorf("%w: layout version %d, this program has %d", ErrVersion, w[2], Version)
	}
	if got, want := w[fixedWords], sumOf(w[:fixedWords]); got != want {
		return fmt.Errorf("%w: header checksum %#x, want %#x", ErrCorrupt, got, want)
	}
	return nil
}

// planOf rebuilds the plan from its inputs and compares everything derived.
func planOf(w []uint64) (*plan, error) {
	p := &plan{maxSize: w[4], slots: w[5], objects: w[6], lifetime: w[13], nonce: w[14], created: w[15]}
	if p.slots == 0 || p.slots > psync.MaxSlots || p.objects == 0 || p.objects > MaxObjects || p.maxSize > maxReserve {
		return nil, fmt.Errorf("%w: %d process slots, %d objects, %d bytes at most", ErrCorrupt, p.slots, p.objects, p.maxSize)
	}
	g, err := pages.Plan(p.tablesEnd(), p.maxSize, uint(w[3]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	p.pages = g
	for i, want := range p.words() {
		if w[i] != want {
			return nil, fmt.Errorf("%w: header word %d is %#x, want %#x", ErrCorrupt, i, w[i], want)
		}
	}
	return p, nil
}

func (p *plan) checkSize(committed, size uint64) error {
	if committed > size {
		return fmt.Errorf("%w: truncated: the header says %d bytes, the file has %d", ErrCorrupt, committed, size)
	}
	if n := p.pages.Pages(committed); n == 0 || p.pages.End(n) != committed || committed > p.maxSize {
		return fmt.Errorf("%w: committed size %d is no whole number of pages of %d bytes behind %d, or above %d",
			ErrCorrupt, committed, p.pages.PageSize(), p.pages.DataOff, p.maxSize)
	}
	return nil
}
