package arena

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Lifetime says who removes the name of an arena.
type Lifetime int

const (
	// Keep leaves the arena until somebody calls [Remove]: it outlives its
	// processes, for a warm restart.
	Keep Lifetime = iota
	// RemoveWithLast removes the name when the last process that has the arena
	// open for writing closes it. If that process is killed, nobody is left to
	// do it: then the next opener treats the arena as gone and removes it.
	// (Create alone reports fs.ErrExist for it; OpenOrCreate replaces it.)
	RemoveWithLast
)

// Options of an arena. The zero value of each field is a useful default; what
// belongs to the segment is stored in it at creation and read from it at open.
type Options struct {
	// Size is the number of bytes to begin with; 0 means 1 MiB, or MaxSize if
	// that is smaller.
	Size int64
	// MaxSize is the number of bytes the arena may grow to; 0 means Size. It
	// costs address space, not memory.
	MaxSize int64
	// PageSize is the unit of allocation: 4096 (the default) to 65536, a power
	// of two.
	PageSize int
	// Processes is how many processes can have the arena open for writing at a
	// time: up to 4095. 0 means 64, fewer in a small arena.
	Processes int
	// Objects is how many structures the arena can hold: up to 256. 0 means 64,
	// fewer in a small arena.
	Objects int
	// Lifetime says who removes the name.
	Lifetime Lifetime
	// Mode of the file; 0 means 0600. Open wants the file to be its caller's own,
	// whatever the mode; others open it by shm.Open with AnyOwner, and Attach. A mode by
	// which everybody may write is refused.
	Mode fs.FileMode
	// Init fills a new arena. It runs in exactly one process at a time, and is
	// completed exactly once: if the process dies in it, what it created is
	// removed and the next opener with an Init runs its own from the start.
	// Others wait for it, without a time limit.
	Init func(*Arena) error

	// Dir is the directory of the file; "" means /dev/shm.
	Dir string
	// ReadOnly maps the arena read-only (Open only): no process slot is taken,
	// nothing is ever written.
	ReadOnly bool
	// OnStall, if set, is called when an operation has waited for a lock of a
	// living process for a second, and again each time that has doubled. It must
	// not block or use the arena.
	OnStall func(Stall)
}

// Stall describes a wait for a lock whose holder lives but does not go on,
// stopped in a debugger perhaps. It is reported; the lock is never taken away
// from the living.
type Stall struct {
	Arena  string
	Holder ProcessInfo
	Waited time.Duration
}

const (
	defaultSize = 1 << 20
	maxReserve  = 1 << 44 // what a reference word can address
)

// withDefaults returns a copy of o with the creation defaults filled in.
func (o *Options) withDefaults() (*Options, error) {
	d := Options{}
	if o != nil {
		d = *o
	}
	if d.Size == 0 {
		d.Size = defaultSize
		if d.MaxSize > 0 {
			d.Size = min(d.Size, d.MaxSize)
		}
	}
	if d.MaxSize == 0 {
		d.MaxSize = d.Size
	}
	if d.PageSize == 0 {
		d.PageSize = 1 << pages.MinShift
	}
	if d.Processes == 0 {
		d.Processes = int(min(64, max(4, d.MaxSize/10/slotSize)))
	}
	if d.Objects == 0 {
		d.Objects = int(min(64, max(8, d.MaxSize/20/(objectSize+nameSize))))
	}
	return &d, d.check()
}

func (o *Options) check() error {
	switch {
	case o.Size < 0 || o.MaxSize < o.Size || o.MaxSize > maxReserve:
		return fmt.Errorf("arena size %d, at most %d: want 0 <= Size <= MaxSize <= %d", o.Size, o.MaxSize, int64(maxReserve))
	case o.PageSize < 1<<pages.MinShift || o.PageSize > 1<<pages.MaxShift || o.PageSize&(o.PageSize-1) != 0:
		return fmt.Errorf("arena page size %d: want a power of two from %d to %d", o.PageSize, 1<<pages.MinShift, 1<<pages.MaxShift)
	case o.Processes < 1 || o.Processes > psync.MaxSlots:
		return fmt.Errorf("arena for %d processes: want 1 to %d", o.Processes, psync.MaxSlots)
	case o.Objects < 1 || o.Objects > MaxObjects:
		return fmt.Errorf("arena for %d objects: want 1 to %d", o.Objects, MaxObjects)
	case o.Mode&0o002 != 0:
		return fmt.Errorf("arena mode %#o: everybody could write it, so nobody would open it: %w", o.Mode, fs.ErrInvalid)
	case o.Lifetime != Keep && o.Lifetime != RemoveWithLast:
		return fmt.Errorf("arena lifetime %d: want Keep or RemoveWithLast", o.Lifetime)
	}
	return nil
}
