package mem

import (
	"fmt"
	"reflect"
	"strconv"
)

// TypeError reports a type that cannot live in a segment, by the path of the
// field that is in the way.
type TypeError struct {
	Path   string // "Route.Hops[].Next"
	Found  string // "pointer (*main.Route)"
	Reason string
}

func (e *TypeError) Error() string { return e.Path + ": " + e.Found + ": " + e.Reason }

// PointerFree returns nil when a T means the same in every process that maps it:
// numbers, booleans, and arrays and structs of them. Otherwise it returns a
// *TypeError for the first field, in order, that does not.
func PointerFree(t reflect.Type) error {
	return walk(t, rootName(t), func(path string, t reflect.Type) error {
		if reason := unshareable(t); reason != "" {
			return &TypeError{Path: path, Found: found(t), Reason: reason}
		}
		return nil
	})
}

// PaddingFree returns nil when every byte of a T belongs to a named field, so
// that equal values have equal bytes, floating-point numbers set aside. Otherwise
// it returns a *TypeError with the place of the first hole. Blank fields count as
// holes: Go gives their bytes no value.
func PaddingFree(t reflect.Type) error {
	return walk(t, rootName(t), func(path string, t reflect.Type) error {
		if t.Kind() == reflect.Struct {
			return holeIn(path, t)
		}
		return nil
	})
}

// FloatFree returns nil when a T has no floating-point part, by which two equal
// values (0 and -0) would differ in bytes and two equal NaNs would not be equal.
func FloatFree(t reflect.Type) error {
	return walk(t, rootName(t), func(path string, t reflect.Type) error {
		switch t.Kind() {
		case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
			return &TypeError{Path: path, Found: found(t), Reason: "equal floating-point values may differ in bytes"}
		}
		return nil
	})
}

// walk visits t and everything inside it, outermost first, fields in order. It
// ends: a type that contains itself does so through a pointer, slice or the like,
// which are not entered.
func walk(t reflect.Type, path string, visit func(string, reflect.Type) error) error {
	if err := visit(path, t); err != nil {
		return err
	}
	switch t.Kind() {
	case reflect.Array:
		return walk(t.Elem(), path+"[]", visit)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if err := walk(f.Type, path+"."+f.Name, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// unshareable says why a value of exactly this type, its parts aside, cannot be
// shared; it is empty for one that can.
func unshareable(t reflect.Type) string {
	switch t.PkgPath() {
	case "sync", "sync/atomic", "internal/sync":
		return "works within one process only and must not be copied; use a plain number"
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Array, reflect.Struct,
		reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return ""
	case reflect.Int, reflect.Uint:
		if strconv.IntSize == 64 { // the only machines we share between
			return ""
		}
		return "its size depends on the machine; use int32 or int64"
	case reflect.String, reflect.Slice:
		return "its bytes lie outside the value; use an array of fixed length"
	case reflect.Uintptr:
		return "an address means nothing in another process; use uint64 for a number"
	default:
		return "an address means nothing in another process"
	}
}

// found names t for a reader: its kind, and the type where that says more.
func found(t reflect.Type) string {
	kind := t.Kind().String()
	if t.Kind() == reflect.Pointer {
		kind = "pointer"
	}
	if kind == t.String() {
		return kind
	}
	return kind + " (" + t.String() + ")"
}

// rootName starts the path: the name without its package, or the whole literal.
func rootName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// holeIn returns a *TypeError for the first byte of the struct t that no named
// field owns; offsets are counted from the start of t.
func holeIn(path string, t reflect.Type) error {
	end := uintptr(0)
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Offset > end {
			return padding(path, end, f.Offset-end, "before field "+f.Name)
		}
		if f.Name == "_" && f.Type.Size() > 0 {
			return &TypeError{
				Path:   path + "._",
				Found:  fmt.Sprintf("blank field of %d bytes at offset %d", f.Type.Size(), f.Offset),
				Reason: "its bytes have no value; give it a name",
			}
		}
		end = f.Offset + f.Type.Size()
	}
	if t.Size() > end {
		return padding(path, end, t.Size()-end, "at the end")
	}
	return nil
}

func padding(path string, off, n uintptr, where string) error {
	return &TypeError{
		Path:   path,
		Found:  fmt.Sprintf("%d bytes of padding at offset %d, %s", n, off, where),
		Reason: "its bytes have no value; fill the hole with a field",
	}
}
