// Package shm provides named segments of shared memory: files that several
// processes map, mostly in /dev/shm. It creates, opens, grows, lists and
// removes them, and knows nothing of what they contain; package arena puts
// structures into them.
//
// # Use
//
//	s, err := shm.Create("shop", &shm.Options{Size: 1 << 20, MaxSize: 1 << 30, Prepare: format})
//	if errors.Is(err, fs.ErrExist) {
//		s, err = shm.Open("shop", &shm.OpenOptions{Verify: verify})
//	}
//	...
//	defer s.Close()
//
// # Picture
//
//	base                 limit                                reserved
//	|---- allocated -----|------- address space only ---------|
//	                     ^ Allocate moves the end of the file,
//	                       the owner of the contents the limit
//
// MaxSize bytes of address space are reserved once, and the base never moves:
// offsets into the segment stay good, and other processes see it grow without
// doing anything. A segment grows in two steps: Allocate makes the file
// system set the space aside, so that a full file system is an error here and
// not a fault at some later store; then the owner of the contents publishes
// the new size, inside the segment, and moves the limit of its View.
//
// # What can be relied on
//
// A name leads to a finished segment or to none. The file is made without a
// name, allocated, filled by Options.Prepare, and linked to its name as the
// last step. Of several creators one wins; the others get fs.ErrExist. A
// creator that is killed leaves nothing.
//
// A segment belongs to its user. The mode is 0600 unless Options ask for
// more, and Open refuses a file of another owner, a file that everybody may
// write, a symbolic link, and an empty file.
//
// Removing a name takes nothing from those who use the segment: memory goes
// when the last process has closed it. Close itself replaces the mapping by
// private zeros, so that a late goroutine hurts nobody, and the address range
// is unmapped when the Segment and its View are unreachable.
//
// # What cannot
//
// Whoever may write the file may truncate it, and an access behind its end is
// a fault (SIGBUS) in every process; this package never shortens a file.
// Contents are not to be trusted: anything that may write can damage them.
// Memory of tmpfs is lost when the machine restarts.
//
// Named segments need Linux. Elsewhere the package builds, heap segments
// work, and the rest returns errors.ErrUnsupported.
package shm
