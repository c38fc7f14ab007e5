package shm

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"sync/atomic"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// maxReserve bounds the address space of one segment: half of what a process
// has on common machines.
const maxReserve = 1 << 46

// Options say what to create.
type Options struct {
	// Size is allocated at once, rounded up to whole pages. It must be set.
	Size int64

	// MaxSize is how far the segment can grow: address space is reserved for
	// it, memory is not. 0 means Size.
	MaxSize int64

	// Mode holds the permission bits of the file, whatever the umask. 0 means
	// 0600: only processes of the same user. A segment that everybody may
	// write (0002) is opened only by those who say AnyOwner.
	Mode fs.FileMode

	// Dir is where the file lives. "" means /dev/shm.
	Dir string

	// Prepare fills the segment before anybody else can see it: it runs after
	// space is allocated and before the name exists. When it fails, nothing
	// is left behind. When several processes create one name at the same
	// time, it may run in all of them, and one result gets the name.
	Prepare func(*Segment) error
}

// OpenOptions say how to open.
type OpenOptions struct {
	// ReadOnly maps the memory so that this process cannot change it, and
	// needs only the right to read the file.
	ReadOnly bool

	// Dir is where the file lives. "" means /dev/shm.
	Dir string

	// AnyOwner accepts a file of another user, and one that everybody may
	// write. Without it both are refused, to root as well: in a directory
	// open to all, anyone can put a file where a segment is expected.
	AnyOwner bool

	// Verify judges the contents before they are mapped, and says how much
	// address space to reserve: how far the segment may grow, at least size.
	// Without it the segment is mapped as large as it is.
	Verify func(r io.ReaderAt, size int64) (reserve int64, err error)
}

// A Segment is memory that processes share, with room to grow. It knows
// nothing of its contents. All methods are safe for concurrent use.
type Segment struct {
	name     string
	path     string
	readOnly bool
	view     *mem.View
	ceiling  atomic.Int64 // see SetAllocateLimit
	backing  backing
}

// backing is where the bytes come from: a file, or the Go heap.
type backing interface {
	size() (int64, error)
	allocate(off, n int64) error
	prefault(off, n int64)
	locks() (psync.Bytes, error)
	linked() (bool, error)
	unlink() error
	twin() (*Segment, error)
	close() error
}

func newSegment(view *mem.View, b backing) *Segment {
	s := &Segment{view: view, backing: b}
	s.ceiling.Store(math.MaxInt64)
	return s
}

// Create makes a new segment and gives it its name last, so that nobody ever
// sees it half-built. When the name is taken, at the start or by a faster
// creator meanwhile, the error wraps fs.ErrExist and the existing segment is
// untouched.
//
// A creator that is killed leaves nothing behind, with one exception: on file
// systems that cannot hold files without a name (and where /proc is missing)
// a hidden file may remain, which the next Create or List there removes.
func Create(name string, o *Options) (*Segment, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, fmt.Errorf("shm: create %q: %w", name, err)
	}
	var dir string
	if o != nil {
		dir = o.Dir
	}
	if p.path, err = pathOf(dir, name); err != nil {
		return nil, fmt.Errorf("shm: create: %w", err)
	}
	p.name = name
	s, err := createNamed(p)
	if err != nil {
		return nil, fmt.Errorf("shm: create %q: %w", name, err)
	}
	return s, nil
}

// Open maps an existing segment. It follows no symbolic link, and accepts
// only a regular file that is not empty and whose owner and mode are as
// OpenOptions expect. The view reaches up to the present end of the file.
func Open(name string, o *OpenOptions) (*Segment, error) {
	if o == nil {
		o = new(OpenOptions)
	}
	path, err := pathOf(o.Dir, name)
	if err != nil {
		return nil, fmt.Errorf("shm: open: %w", err)
	}
	s, err := openNamed(name, path, o)
	if err != nil {
		return nil, fmt.Errorf("shm: open %q: %w", name, err)
	}
	return s, nil
}

// Remove takes the name away, as os.Remove does, whatever the segment
// contains and whoever uses it: processes that have it open keep it, with
// all its memory, until the last of them closes it. Only Dir of the options
// is used. The error wraps fs.ErrNotExist when there is no such segment.
func Remove(name string, o *OpenOptions) error {
	if o == nil {
		o = new(OpenOptions)
	}
	path, err := pathOf(o.Dir, name)
	if err == nil {
		err = removeNamed(path)
	}
	if err != nil {
		return fmt.Errorf("shm: remove %q: %w", name, err)
	}
	return nil
}

// Name returns the name the segment was created or opened by; it is empty for
// a heap segment.
func (s *Segment) Name() string { return s.name }

// Path returns the absolute path of the file; it is empty for a heap segment.
func (s *Segment) Path() string { return s.path }

// ReadOnly reports whether the memory is mapped for reading only.
func (s *Segment) ReadOnly() bool { return s.readOnly }

// IsHeap reports whether the segment lives on the Go heap.
func (s *Segment) IsHeap() bool {
	_, ok := s.backing.(*heap)
	return ok
}

// Reserved returns the size of the address range: the most the segment can
// grow to in this process.
func (s *Segment) Reserved() int64 { return int64(s.view.Reserve()) }

// View returns the window on the memory. The address range lives as long as
// the view is reachable, so whoever works with plain addresses keeps the view
// (or the segment) reachable until after the last access, with
// runtime.KeepAlive where needed. After Close the view shows private zeros.
func (s *Segment) View() *mem.View { return s.view }

// Size asks the file system how large the segment is now; another process may
// have made it larger than the limit of the view.
func (s *Segment) Size() (int64, error) {
	n, err := s.backing.size()
	return n, s.wrap("size", err)
}

// Committed is Size for one who doubts the contents: a size found in a
// segment can be trusted only up to what Committed returns.
func (s *Segment) Committed() (int64, error) { return s.Size() }

// Allocate makes the range [off, off+n) safe to touch: the file system sets
// space aside for all of it, and the file grows when the range ends behind
// it. Ranges that are allocated already stay as they are. The limit of the
// view does not change.
//
// When the file system, a quota or the reservation has no more room the error
// wraps ErrNoSpace. What was allocated up to then stays allocated, and is not
// allocated twice by the next attempt.
func (s *Segment) Allocate(off, n int64) error {
	if err := s.allocatable(off, n); err != nil {
		return s.wrap("allocate", err)
	}
	if n == 0 {
		return nil
	}
	return s.wrap("allocate", s.backing.allocate(off, n))
}

func (s *Segment) allocatable(off, n int64) error {
	switch {
	case s.readOnly:
		return fmt.Errorf("opened for reading only: %w", fs.ErrPermission)
	case off < 0 || n < 0 || n > math.MaxInt64-off:
		return fmt.Errorf("range [%d, +%d): %w", off, n, fs.ErrInvalid)
	case off+n > s.Reserved():
		return fmt.Errorf("%w: range [%d, %d) wanted, %d bytes reserved", ErrNoSpace, off, off+n, s.Reserved())
	case off+n > s.ceiling.Load():
		return fmt.Errorf("%w: range [%d, %d) wanted, limit %d set by SetAllocateLimit", ErrNoSpace, off, off+n, s.ceiling.Load())
	}
	return nil
}

// Prefault prepares the range [off, off+n), which has been allocated, to be stored
// into by this process: the pages are mapped by one call, where each would take a
// page fault of its own. It is a hint, and does nothing where it can't be had:
// before Linux 5.14, on a segment that was opened for reading only, on the heap.
func (s *Segment) Prefault(off, n int64) {
	if s.readOnly || off < 0 || n <= 0 || n > s.Reserved()-off {
		return
	}
	s.backing.prefault(off, n)
	runtime.KeepAlive(s) // its view, with which the mapping goes
}

// SetAllocateLimit is for tests: from now on Allocate, through this handle,
// behaves as if the file system were full beyond the first n bytes.
func (s *Segment) SetAllocateLimit(n int64) { s.ceiling.Store(n) }

// Locks returns a new holder of byte locks on the segment: a private open
// file description of the same file, never mapped. Each call returns another
// holder; close it to drop its locks. Through a segment that was opened
// read-only, exclusive locks cannot be taken, only probed. A heap segment
// has the same thing inside the process.
func (s *Segment) Locks() (psync.Bytes, error) {
	b, err := s.backing.locks()
	return b, s.wrap("locks", err)
}

// Linked reports whether the name still leads to this segment, rather than to
// nothing or to a newer one. It is true for a heap segment.
func (s *Segment) Linked() (bool, error) {
	ok, err := s.backing.linked()
	return ok, s.wrap("linked", err)
}

// Unlink takes the name away if it still leads to this segment, and does
// nothing otherwise. Looking and removing are two steps: the caller holds the
// exclusive lock by which all who remove this segment agree, otherwise a
// newer segment may lose its name. It does nothing for a heap segment.
func (s *Segment) Unlink() error {
	if s.readOnly {
		return s.wrap("unlink", fmt.Errorf("opened for reading only: %w", fs.ErrPermission))
	}
	return s.wrap("unlink", s.backing.unlink())
}

// Close leaves the segment; the name and the contents stay. The address range
// is not given back while it can be reached: it shows private memory full of
// zeros instead, so that a goroutine which is late reads zeros or stores in
// vain, and neither faults nor touches what is no longer ours. (A heap
// segment keeps its contents.) Closing twice is no error.
func (s *Segment) Close() error {
	return s.wrap("close", s.backing.close())
}

// Twin returns a second mapping of the same segment, as large as it is now, at
// another address and with a descriptor of its own. Whoever closes a segment
// that goroutines may still be using can put its affairs in order through the
// twin. A heap segment is its own twin.
func (s *Segment) Twin() (*Segment, error) {
	t, err := s.backing.twin()
	if err != nil {
		return nil, s.wrap("twin", err)
	}
	if t == nil {
		return s, nil
	}
	t.name, t.path, t.readOnly = s.name, s.path, s.readOnly
	return t, nil
}

func (s *Segment) wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	if s.IsHeap() {
		return fmt.Errorf("shm: %s heap segment: %w", operation, err)
	}
	return fmt.Errorf("shm: %s %q: %w", operation, s.name, err)
}
