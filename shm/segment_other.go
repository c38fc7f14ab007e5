//go:build !linux

package shm

import "errors"

// Named segments need files without a name, byte locks that belong to an open
// file, and space that is allocated ahead; only heap segments work here.

func createNamed(plan) (*Segment, error)                      { return nil, errors.ErrUnsupported }
func openNamed(_, _ string, _ *OpenOptions) (*Segment, error) { return nil, errors.ErrUnsupported }
func removeNamed(string) error                                { return errors.ErrUnsupported }
func listNamed(string) ([]Info, error)                        { return nil, errors.ErrUnsupported }
