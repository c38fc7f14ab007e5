package tree

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// Tree is one process's access to a tree.
type Tree struct {
	view *mem.View
	off  uint64
	head *Head
}

// At returns the tree whose head is at off.
func At(v *mem.View, off uint64) (*Tree, error) {
	h, err := mem.At[Head](v, off)
	if err != nil {
		return nil, err
	}
	return &Tree{view: v, off: off, head: h}, nil
}

// Version is raised after every change. It is one word: the side is in it.
func (t *Tree) Version() *psync.Word64 { return &t.head.version }

// SideOf returns the side that is current at a version.
func SideOf(version uint64) int { return int(version >> epochShift & 1) }

// EpochOf returns how often the sides were exchanged at a version.
func EpochOf(version uint64) uint64 { return version >> epochShift }

// Exchange makes the other side current. The caller holds both locks.
func (t *Tree) Exchange() {
	t.head.version.Store(t.head.version.Load() + 1<<epochShift + 1) // survivor: the sides are exchanged
}

// Raise raises the version. The caller holds the tree lock.
func (t *Tree) Raise() {
	t.head.version.Store(t.head.version.Load() + 1) // survivor: raises it once more
}

// Dir returns the word with the reference to the directory of a side.
func (t *Tree) Dir(side int) *psync.Word64 { return &t.head.dirs[side] }

// Lock and Swap return the locks of the tree.
func (t *Tree) Lock() *psync.Mutex { return &t.head.lock }
func (t *Tree) Swap() *psync.Mutex { return &t.head.swap }

// Offsets of the words, for intent records.
func (t *Tree) Off() uint64               { return t.off }
func (t *Tree) VersionAt() uint64         { return t.off + versionOff }
func (t *Tree) DirAt(side int) uint64     { return t.off + dirsOff + uint64(side)*8 }
func (t *Tree) LockAt() uint64            { return t.off + lockOff }
func (t *Tree) SwapAt() uint64            { return t.off + swapOff }
func LockIn(head uint64) (lock uint64)    { return head + lockOff }
func DirRef(off uint64, bits uint) uint64 { return uint64(bits)<<refBits | off }

// DirSize returns the bytes of a directory.
func DirSize(bits uint) uint64 { return 8 << bits }

// Dir is a directory as it was at one version. It is good as long as that is.
type Dir struct {
	Version uint64
	Ref     uint64 // as stored
	Off     uint64
	Bits    uint
	words   mem.Ptr
	shift   uint64
}

// Look returns the current directory, one without words if there is none.
func (t *Tree) Look() (Dir, error) {
	for {
		v := t.head.version.Load()
		ref := t.head.dirs[SideOf(v)].Load()
		if t.head.version.Load() != v {
			continue // and it was another one's reference
		}
		if ref == 0 {
			return Empty(v), nil
		}
		d, err := t.Open(ref)
		d.Version = v
		return d, err
	}
}

// Open returns the directory that a reference leads to.
func (t *Tree) Open(ref uint64) (Dir, error) {
	d := Dir{Ref: ref, Off: ref & refMask, Bits: uint(ref >> refBits)}
	if d.Bits == 0 || d.Bits > MaxBits {
		return d, fmt.Errorf("%w: the tree at %#x has a directory of 2^%d words", mem.ErrCorrupt, t.off, d.Bits)
	}
	if err := t.view.Check(d.Off, DirSize(d.Bits), 8); err != nil {
		return d, fmt.Errorf("the directory of the tree at %#x: %w", t.off, err)
	}
	d.words, d.shift = t.view.Base().Add(d.Off), uint64(64-d.Bits)
	return d, nil
}

// Empty returns a directory without words. Readers need not ask for that: all
// hashes have one word, which leads beyond every arena.
func Empty(version uint64) Dir { return Dir{Version: version, words: beyond, shift: 63} }

var beyond = func() mem.Ptr {
	p := mem.PtrOf(make([]byte, 2*8))
	for i := range uint64(2) {
		mem.Cast[psync.Word64](p.Add(i * 8)).Put(refMask &^ (Line - 1))
	}
	return p
}()

// Index returns which word is that of a hash.
func (d *Dir) Index(h uint64) uint64 { return h >> (d.shift & 63) }

// Word returns the word of a hash.
func (d *Dir) Word(h uint64) *psync.Word64 { return d.At(d.Index(h)) }

// At returns word i.
func (d *Dir) At(i uint64) *psync.Word64 { return mem.Cast[psync.Word64](d.words.Add(i * 8)) }

// Len returns the number of words.
func (d *Dir) Len() uint64 { return 1 << d.Bits }

// WordAt returns the offset of word i.
func (d *Dir) WordAt(i uint64) uint64 { return d.Off + i*8 }

// Segment is what a directory word says.
type Segment struct {
	Word    uint64
	Off     uint64
	Depth   uint
	Buckets uint64
}

// Parse takes a directory word apart.
func Parse(word uint64) Segment {
	return Segment{Word: word, Off: word & refMask, Depth: uint(word >> (refBits + bucketsBits)), Buckets: word >> refBits & MaxBuckets}
}

// Word puts a directory word together.
func Word(off uint64, depth uint, buckets uint64) uint64 {
	return uint64(depth)<<(refBits+bucketsBits) | buckets<<refBits | off
}

// Size returns the bytes of a segment with so many buckets.
func Size(buckets uint64) uint64 { return (buckets + 1) * Line }

// Bucket returns the offset of bucket i.
func (s *Segment) Bucket(i uint64) uint64 { return s.Off + (i+1)*Line }

// SlotAt returns the offset of a slot.
func (s *Segment) SlotAt(i, slot uint64) uint64 { return s.Bucket(i) + SlotsOff + slot*8 }

// Check says what is wrong with a segment that a directory of so many bits leads
// to.
func (s *Segment) Check(v *mem.View, bits uint) error {
	if s.Buckets == 0 || s.Depth > bits {
		return fmt.Errorf("%w: the word %#x of a directory of 2^%d words leads to a segment of depth %d with %d buckets", mem.ErrCorrupt, s.Word, bits, s.Depth, s.Buckets)
	}
	return v.Check(s.Off, Size(s.Buckets), 8)
}

// Range returns the words of the segment of depth depth that covers a hash:
// from the first one on, n of them.
func (d *Dir) Range(h uint64, depth uint) (first, n uint64) {
	n = 1 << (d.Bits - depth)
	return d.Index(h) &^ (n - 1), n
}
