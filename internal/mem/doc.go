// Package mem is the unsafe room: the one place where a number found in a segment
// becomes an address, and where bytes become values of a Go type.
//
// # Terms
//
//	segment   bytes that several processes map, each at an address of its own
//	offset    a distance from the start of the segment; the only reference stored
//	limit     the bytes from the start that are backed by memory; grows, mostly
//	reserve   the address space set aside; the limit never exceeds it
//	payload   bytes the user stored, as opposed to our own words around them
//	word      eight aligned bytes, never torn
//
//	base                    limit                          reserve
//	 |  usable               |  reserved: touching it faults |
//	 +-----------------------+-------------------------------+
//	      ^ offset
//
// # The four promises of a cast
//
// Every typed pointer into a segment rests on these:
//
//	in bounds      the whole value lies below the limit          At, Must, Check
//	aligned        the offset is a multiple of its alignment     At, Must, Check
//	pointer-free   the collector finds nothing to follow in it   PointerFree
//	mapping alive  the addresses are still ours                  the segment
//
// [At] is for an offset that was read from the segment: anybody may have written
// it, so a bad one is an error that wraps [ErrCorrupt]. [Must] is for an offset we
// computed; a bad one is our mistake, and it panics. [Cast] and [Ptr.Add] check
// nothing: they serve loops that compared a whole range with the limit before.
//
// Types are looked at once, when a structure is opened. [Describe] refuses what
// cannot be shared, with the path of the field, and returns the fingerprint that
// a later process compares with its own.
//
// The segment outlives its views: whoever keeps a View, a Ptr or a pointer made
// of them also keeps the segment they came from.
//
// # Payload
//
// Readers take no lock. They copy a value out, then look whether a version has
// changed meanwhile, and throw the copy away if it has. So what Read and CopyOut
// return, and what Load64 compares, may be a mixture until it was validated; and
// the copy must be complete before the version is loaded again.
//
//	build            reading payload          filling payload
//	amd64            plain                    plain
//	other machines   atomic words             plain
//	race detector    atomic words             atomic words
//
// On amd64 loads keep their order. Elsewhere a plain load may pass the atomic load
// after it; atomic loads do not pass each other. The race detector does not know
// about versions and is shown only what it accepts. Only memory that nobody is
// led to yet is ever filled, so plain stores will do: the word that publishes it
// comes later, and is not stored by this package.
//
// Word by word has a price at the ends: payload starts at a multiple of eight, and
// the bytes up to the next multiple of eight after it belong to it as well. They
// may be read, and written with zeros.
//
// All of this is for machines with 64-bit words and little-endian order; others
// compile, and are refused when a segment is opened.
//
// # Who may import unsafe
//
// Files of this package whose name ends in _unsafe.go, and the futex.
package mem
