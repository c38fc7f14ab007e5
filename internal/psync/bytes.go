package psync

import (
	"fmt"
	"math"
)

// Bytes is a set of byte locks that other processes can see and that the
// kernel drops when the holder dies, and only then. They are how this project
// tells the living from the dead: whoever holds the byte of a process slot is
// alive, stopped or not, and nobody else can pretend to be.
//
// A position is a plain number. It names no byte that is stored anywhere: the
// positions in use lie near 1<<62, far behind the end of any file.
//
// A Bytes belongs to one holder, usually one attach. Locks of one holder never
// conflict with each other: taking a position that is already held succeeds
// and changes its kind (exclusive to shared, or back), and Held does not see
// one's own locks. So a holder must never judge itself by its own byte, and
// two goroutines that want to exclude each other need a mutex of their own.
//
// Every operation is safe for concurrent use; none of them waits for another
// holder.
type Bytes interface {
	// TryLock takes position b exclusively. It reports false, and no error,
	// when another holder has the position in any way.
	TryLock(b uint64) (bool, error)

	// TryRLock takes position b together with other holders who share it. It
	// reports false, and no error, when another holder has it exclusively.
	TryRLock(b uint64) (bool, error)

	// Unlock gives position b back. A position that is not held is no error.
	Unlock(b uint64) error

	// Held reports whether another holder has an exclusive lock in [b, b+n).
	// Shared locks are not seen: anyone who may read the file can take one,
	// and must not be able to feign life with it.
	Held(b, n uint64) (bool, error)

	// Close drops every lock of this holder, exactly as its death would.
	// Later operations return os.ErrClosed; closing twice is no error.
	Close() error
}

// checkPositions refuses [b, b+n) when a file offset cannot express it.
func checkPositions(b, n uint64) error {
	if b > math.MaxInt64 || n > math.MaxInt64-b {
		return fmt.Errorf("psync: lock positions [%d, +%d): the end is beyond %d", b, n, uint64(math.MaxInt64))
	}
	return nil
}
