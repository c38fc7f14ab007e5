//go:build !linux

package psync

import (
	"errors"
	"os"
)

// unsupported stands where the kernel has no locks that belong to an open
// file description.
type unsupported struct{ file *os.File }

// OFD takes f over; every operation but Close returns errors.ErrUnsupported.
func OFD(f *os.File) Bytes { return unsupported{f} }

func (unsupported) TryLock(uint64) (bool, error)      { return false, errors.ErrUnsupported }
func (unsupported) TryRLock(uint64) (bool, error)     { return false, errors.ErrUnsupported }
func (unsupported) Unlock(uint64) error               { return errors.ErrUnsupported }
func (unsupported) Held(uint64, uint64) (bool, error) { return false, errors.ErrUnsupported }

func (u unsupported) Close() error {
	if err := u.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
