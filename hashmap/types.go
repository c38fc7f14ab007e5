package hashmap

import (
	"fmt"
	"reflect"

	"github.com/cespare/xxhash/v2"

	"github.com/shmkit/shmkit/internal/mem"
)

// shape is what a map needs to know of K and V.
type shape struct {
	textKey    bool   // K is a string; otherwise fixed
	bytesValue bool   // V is a []byte or a string; otherwise fixed
	textValue  bool   // V is a string
	keySize    uint64 // of a fixed K
	valueSize  uint64 // of a fixed V
	print      uint64
	types      string
	label      string // what encoded values are; empty: they are plain
}

const (
	keyLimit = 64 << 10
	maxFixed = 1 << 20

	mostValue uint64 = 1<<32 - 1 // bytes of a []byte or a string
)

func shapeOf[K comparable, V any]() (shape, error) {
	var s shape
	k, v := reflect.TypeFor[K](), reflect.TypeFor[V]()
	keyPrint, err := s.describeKey(k)
	if err != nil {
		return s, fmt.Errorf("hashmap: key type %s: %w: %w", k, ErrTypeMismatch, err)
	}
	valuePrint, err := s.describeValue(v)
	if err != nil {
		return s, fmt.Errorf("hashmap: value type %s: %w: %w", v, ErrTypeMismatch, err)
	}
	s.types = fmt.Sprintf("Map[%s, %s]", k, v)
	s.print = xxhash.Sum64String(fmt.Sprintf("map %016x %016x", keyPrint, valuePrint))
	return s, nil
}

// describeKey accepts strings, and types whose equal values have equal bytes.
func (s *shape) describeKey(t reflect.Type) (uint64, error) {
	if t.Kind() == reflect.String {
		s.textKey = true
		return xxhash.Sum64String("string"), nil
	}
	info, err := mem.Describe(t)
	if err == nil {
		err = mem.PaddingFree(t)
	}
	if err == nil {
		err = mem.FloatFree(t)
	}
	s.keySize = uint64(info.Size)
	if err == nil && s.keySize > keyLimit {
		err = fmt.Errorf("%d bytes, want at most %d", s.keySize, keyLimit)
	}
	return info.Fingerprint, err
}

func (s *shape) describeValue(t reflect.Type) (uint64, error) {
	if t.Kind() == reflect.String {
		s.bytesValue, s.textValue = true, true
		return xxhash.Sum64String("string"), nil
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		s.bytesValue = true
		return xxhash.Sum64String("[]byte"), nil
	}
	info, err := mem.Describe(t)
	s.valueSize = uint64(info.Size)
	if err == nil && s.valueSize > maxFixed {
		err = fmt.Errorf("%d bytes, want at most %d; use []byte", s.valueSize, maxFixed)
	}
	return info.Fingerprint, err
}

// comparable returns nil if equal values have equal bytes, and these are the
// same in every copy. Floating-point numbers count as their bits; padding has
// none that a copy would keep.
func (s *shape) comparable(v reflect.Type) error {
	if s.bytesValue {
		return nil
	}
	return mem.PaddingFree(v)
}

func pad8(n uint64) uint64 { return (n + 7) &^ 7 }
