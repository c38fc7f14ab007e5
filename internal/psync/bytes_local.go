package psync

import (
	"os"
	"sync"

	"github.com/shmkit/shmkit/internal/fault"
)

// Local is the twin of a file's byte locks inside one process, for segments
// that live on the heap. It answers exactly as the kernel would, own locks
// being invisible included. Closing a holder is the death of its process.
type Local struct {
	mu    sync.Mutex
	locks map[uint64]*localLock // positions somebody holds
}

// localLock is who holds one position: a writer, or readers, never both.
type localLock struct {
	writer  *localHolder
	readers map[*localHolder]bool
}

// localHolder stands for one open file description.
type localHolder struct {
	local  *Local
	closed bool
}

// NewLocal returns an empty set of locks.
func NewLocal() *Local {
	return &Local{locks: make(map[uint64]*localLock)}
}

// Holder returns a new holder; it conflicts with every other holder of l.
func (l *Local) Holder() Bytes {
	return &localHolder{local: l}
}

func (h *localHolder) TryLock(b uint64) (bool, error) {
	fault.Tick()
	return h.change(b, func(lk *localLock) bool {
		if lk.heldByOther(h) {
			return false
		}
		lk.drop(h)
		lk.writer = h
		return true
	})
}

func (h *localHolder) TryRLock(b uint64) (bool, error) {
	fault.Tick()
	return h.change(b, func(lk *localLock) bool {
		if lk.writer != nil && lk.writer != h {
			return false
		}
		lk.writer = nil
		lk.readers[h] = true
		return true
	})
}

func (h *localHolder) Unlock(b uint64) error {
	fault.Tick()
	_, err := h.change(b, func(lk *localLock) bool {
		lk.drop(h)
		return true
	})
	return err
}

func (h *localHolder) Held(b, n uint64) (bool, error) {
	if n == 0 {
		return false, nil
	}
	if err := checkPositions(b, n); err != nil {
		return false, err
	}
	h.local.mu.Lock()
	defer h.local.mu.Unlock()
	if h.closed {
		return false, os.ErrClosed
	}
	for at, lk := range h.local.locks {
		if at >= b && at-b < n && lk.writer != nil && lk.writer != h {
			return true, nil
		}
	}
	return false, nil
}

func (h *localHolder) Close() error {
	h.local.mu.Lock()
	defer h.local.mu.Unlock()
	h.closed = true
	for at, lk := range h.local.locks {
		lk.drop(h)
		h.local.forgetFree(at)
	}
	return nil
}

// change lets f decide on, and alter, the lock at b.
func (h *localHolder) change(b uint64, f func(*localLock) bool) (bool, error) {
	if err := checkPositions(b, 1); err != nil {
		return false, err
	}
	l := h.local
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.closed {
		return false, os.ErrClosed
	}
	if l.locks[b] == nil {
		l.locks[b] = &localLock{readers: make(map[*localHolder]bool)}
	}
	defer l.forgetFree(b)
	return f(l.locks[b]), nil
}

// forgetFree drops the entry of a position nobody holds.
func (l *Local) forgetFree(b uint64) {
	if lk := l.locks[b]; lk != nil && lk.writer == nil && len(lk.readers) == 0 {
		delete(l.locks, b)
	}
}

func (lk *localLock) drop(h *localHolder) {
	if lk.writer == h {
		lk.writer = nil
	}
	delete(lk.readers, h)
}

func (lk *localLock) heldByOther(h *localHolder) bool {
	if lk.writer != nil && lk.writer != h {
		return true
	}
	others := len(lk.readers)
	if lk.readers[h] {
		others--
	}
	return others > 0
}
