// Package arena puts typed objects with names into a shared memory segment.
//
//	a, err := arena.OpenOrCreate("shop", &arena.Options{Size: 16 << 20, MaxSize: 1 << 30})
//	if err != nil { ... }
//	defer a.Close()
//
// An arena is what a process opens; the structures of packages value, array and
// hashmap live in it and are opened by name. Any number of processes can have
// it open. Any of them can be killed at any instruction: the others go on, and
// settle what it left half done when they come across it.
//
// # Terms
//
//   - Process slot: what the arena keeps for one process that has it open for
//     writing: who it is, what it has in flight, which objects it has open and
//     which pages it allocates from. A read-only opener has none.
//   - Object: a typed structure; a root block, and what its reference words lead
//     to. Objects are like inodes, names like directory entries.
//   - Committed: the bytes of the segment that the file system has set aside.
//     An arena grows by committing more, up to MaxSize. Its base never moves.
//   - Recover: to settle what a dead process left, so that its slot is free.
//
// # Picture
//
//	0        header: identity, sizes, locks
//	1024     process slots (2 KiB each)
//	         object table, name table
//	         page hints, page table        reserved for MaxSize, committed with the pages
//	DataOff  pages                         committed size rises from here to MaxSize
//
// # Promises
//
// A segment is never seen half-built: it gets its name when it is formatted.
// Whatever it contains is checked before it is believed; bytes that make no
// sense are reported as ErrCorrupt, another layout as ErrVersion, other types as
// ErrTypeMismatch. When the arena is full an operation returns ErrFull, when the
// file system is, ErrNoSpace; nothing is lost then, and no page is ever touched
// that was not set aside before, so there is no SIGBUS on a full /dev/shm.
//
// # Blocking
//
// Operations wait only for a lock, and only as long as its holder lives; a dead
// one is noticed within 10 ms and what it did is finished or undone. A holder
// that is stopped (SIGSTOP, a debugger) is alive: it is reported by
// Options.OnStall and never robbed. Readers take no lock.
//
// # Caveats
//
// Death means SIGKILL, a crash or an exit, not power loss. A child that was
// forked without exec keeps its parent's slot alive until it exits. Whoever may
// write the file can damage it; the mode is 0600 unless Options.Mode says more.
package arena
