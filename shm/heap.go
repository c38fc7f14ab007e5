package shm

import (
	"fmt"
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// heap is the backing of a segment that only this process has. The race
// detector sees its memory, which it does not for mapped memory, and tests
// can copy it and let it die in many ways. It works on every system.
type heap struct {
	committed atomic.Int64
	byteLocks *psync.Local
	closed    atomic.Bool
}

// Heap makes a segment on the Go heap. Name-related options (Mode, Dir) are
// not used. MaxSize bytes of zeros are taken at once, though the system
// provides most of them only when they are touched. The memory is page
// aligned in practice, and 128-byte aligned always.
func Heap(o *Options) (*Segment, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, fmt.Errorf("shm: heap segment: %w", err)
	}
	s := newHeap(heapMemory(p.reserve), p.size)
	if p.prepare != nil {
		if err := p.prepare(s); err != nil {
			return nil, fmt.Errorf("shm: prepare heap segment: %w", err)
		}
	}
	return s, nil
}

// HeapBytes makes a heap segment that begins with a copy of b, such as the
// frozen contents of another segment, and can grow to maxSize. A maxSize
// below the length of b means that length.
func HeapBytes(b []byte, maxSize int64) *Segment {
	size := int64(len(b))
	all := heapMemory(wholePages(max(size, maxSize, 1)))
	copy(all, b)
	return newHeap(all, size)
}

// heapMemory returns n bytes of zeros with one more behind them, that nobody uses: a block
// of no bytes, as an empty value is, may begin at the end, and an address there has to
// be one of this memory.
func heapMemory(n int64) []byte { return make([]byte, n+1)[:n] }

func newHeap(all []byte, size int64) *Segment {
	h := &heap{byteLocks: psync.NewLocal()}
	h.committed.Store(size)
	return newSegment(mem.NewView(all, uint64(size)), h)
}

func (h *heap) size() (int64, error) {
	if h.closed.Load() {
		return 0, ErrClosed
	}
	return h.committed.Load(), nil
}

// allocate raises the size only; the memory is there already.
func (h *heap) allocate(off, n int64) error {
	if h.closed.Load() {
		return ErrClosed
	}
	for {
		old := h.committed.Load()
		if off+n <= old || h.committed.CompareAndSwap(old, off+n) {
			return nil
		}
	}
}

func (h *heap) prefault(_, _ int64) {}

func (h *heap) locks() (psync.Bytes, error) {
	if h.closed.Load() {
		return nil, ErrClosed
	}
	return h.byteLocks.Holder(), nil
}

func (h *heap) linked() (bool, error) { return true, nil }

func (h *heap) unlink() error { return nil }

// twin is nil: a heap segment is its own.
func (h *heap) twin() (*Segment, error) { return nil, nil }

func (h *heap) close() error {
	h.closed.Store(true)
	return nil
}
