package mem

import (
	"errors"
	"fmt"
	"reflect"
)

// ErrCorrupt is wrapped by every error that the bytes of a segment caused, as
// opposed to the caller.
var ErrCorrupt = errors.New("corrupt segment")

// RangeError reports a stored offset that leads nowhere: outside the bytes in
// use, or to a place where its type cannot stand. It wraps ErrCorrupt.
type RangeError struct {
	Offset uint64 // what was found
	Len    uint64 // bytes wanted there
	Limit  uint64 // bytes of the segment in use
	Align  uint64 // alignment wanted; 0 and 1 are none
	What   string // what was expected at Offset; empty: the type, or a block

	of any // a nil pointer to the type expected; named only if somebody asks
}

func (e *RangeError) Error() string { return ErrCorrupt.Error() + ": " + e.place() }

// Unwrap returns ErrCorrupt.
func (e *RangeError) Unwrap() error { return ErrCorrupt }

// place says what cannot stand where, and why.
func (e *RangeError) place() string {
	if e.Offset > e.Limit || e.Len > e.Limit-e.Offset {
		return fmt.Sprintf("%s of %d bytes at offset %#x reaches outside the %#x bytes in use",
			e.what(), e.Len, e.Offset, e.Limit)
	}
	return fmt.Sprintf("%s at offset %#x is not aligned to %d bytes", e.what(), e.Offset, e.Align)
}

func (e *RangeError) what() string {
	switch {
	case e.What != "":
		return e.What
	case e.of != nil:
		return reflect.TypeOf(e.of).Elem().String()
	}
	return "block"
}

// misuse is the panic value for a wrong offset of our own. It does not wrap
// ErrCorrupt: the segment is not to blame.
type misuse RangeError

func (m *misuse) Error() string { return "mem: misuse: " + (*RangeError)(m).place() }
