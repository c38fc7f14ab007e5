//go:build !linux

package mem

import "errors"

// Map is not available here.
func Map(fd, length int, writable bool) ([]byte, error) { return nil, errors.ErrUnsupported }

// Overlay is not available here.
func Overlay(b []byte) error { return errors.ErrUnsupported }

// Unmap is not available here.
func Unmap(b []byte) error { return errors.ErrUnsupported }
