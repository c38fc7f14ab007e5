//go:build linux

package mem

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map maps the first length bytes of a file, shared with everyone who maps
// it. Length may reach beyond the end of the file: the address range is then
// reserved, and becomes usable as the file grows. The memory is left out of
// core dumps, which would otherwise contain the whole segment.
func Map(fd, length int, writable bool) ([]byte, error) {
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	p, err := unix.MmapPtr(fd, 0, nil, uintptr(length), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", length, err)
	}
	b := unsafe.Slice((*byte)(p), length)
	_ = unix.Madvise(b, unix.MADV_DONTDUMP) // a kernel without it dumps more, nothing else
	return b, nil
}

// Overlay replaces what is mapped at b by private memory full of zeros, at
// the same address and in one system call. A goroutine that still reads or
// writes there finds memory, but no longer anybody else's.
func Overlay(b []byte) error {
	err := overlay(b, unix.PROT_READ|unix.PROT_WRITE)
	if errors.Is(err, unix.ENOMEM) {
		// A kernel that promises only what it has (overcommit_memory=2)
		// counts the whole writable range. Zeros that can only be read cost
		// nothing; a late store then faults, which is better than a store
		// into a segment that others believe we have left.
		err = overlay(b, unix.PROT_READ)
	}
	if err != nil {
		return fmt.Errorf("replace a mapping of %d bytes: %w", len(b), err)
	}
	return nil
}

func overlay(b []byte, prot int) error {
	const flags = unix.MAP_FIXED | unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)), prot, flags)
	return err
}

// Unmap gives the address range b back, whatever is mapped there now. The
// kernel may hand it out again at once: nobody may hold an address in it.
func Unmap(b []byte) error {
	if err := unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))); err != nil {
		return fmt.Errorf("unmap %d bytes: %w", len(b), err)
	}
	return nil
}
