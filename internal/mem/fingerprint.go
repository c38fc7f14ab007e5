package mem

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// TypeInfo is what a segment remembers of a type.
type TypeInfo struct {
	Size        uintptr
	Align       uintptr
	Fingerprint uint64 // of the structure; never 0
	Name        string // for people; not part of the fingerprint
}

// Describe returns what a segment stores about t, or a *TypeError when t is not
// pointer-free or has no bytes.
//
// Two types have the same fingerprint when a value of one may be read as the
// other: same kinds, sizes, alignments, array lengths, and the same field names
// at the same offsets. Names of types and packages do not count, so that two
// programs may each have their own copy of a declaration.
func Describe(t reflect.Type) (TypeInfo, error) {
	if err := PointerFree(t); err != nil {
		return TypeInfo{}, err
	}
	if t.Size() == 0 {
		return TypeInfo{}, &TypeError{Path: rootName(t), Found: found(t), Reason: "it has no bytes to share"}
	}
	return TypeInfo{
		Size:        t.Size(),
		Align:       uintptr(t.Align()),
		Fingerprint: fingerprint(t),
		Name:        t.String(),
	}, nil
}

// fingerprintRule opens the canonical text; another text form needs another rule.
const fingerprintRule = "shmkit type 1: "

// fingerprint hashes the canonical text. Zero stands for "no type" in a segment.
func fingerprint(t reflect.Type) uint64 {
	return max(xxhash.Sum64String(fingerprintRule+canonical(t)), 1)
}

// canonical returns the structure of t as text:
//
//	uint32/4/4                                    kind, size, alignment
//	array/12/4[3](uint32/4/4)                     length, element
//	struct/8/4{ID@0:uint32/4/4;On@4:bool/1/1;}    name, offset, type of each field
func canonical(t reflect.Type) string {
	var b strings.Builder
	writeCanonical(&b, t)
	return b.String()
}

func writeCanonical(b *strings.Builder, t reflect.Type) {
	b.WriteString(t.Kind().String() + "/" + decimal(t.Size()) + "/" + decimal(uintptr(t.Align())))
	switch t.Kind() {
	case reflect.Array:
		b.WriteString("[" + strconv.Itoa(t.Len()) + "](")
		writeCanonical(b, t.Elem())
		b.WriteString(")")
	case reflect.Struct:
		b.WriteString("{")
		for i := range t.NumField() {
			f := t.Field(i)
			b.WriteString(f.Name + "@" + decimal(f.Offset) + ":")
			writeCanonical(b, f.Type)
			b.WriteString(";")
		}
		b.WriteString("}")
	}
}

func decimal(n uintptr) string { return strconv.FormatUint(uint64(n), 10) }
