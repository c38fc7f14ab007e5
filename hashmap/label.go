package hashmap

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/cespare/xxhash/v2"
)

// What encoded values are is compared as text, and not by a fingerprint: the
// error can then say what there is. The text stands behind the stripes.

// labelLimit is the most bytes of a label.
const labelLimit = 1000

// encodedShape is the shape of a map of keys K and of values that a codec of that
// name makes of a value's type.
func encodedShape[K comparable](codec string, value reflect.Type) (shape, error) {
	s, err := shapeOf[K, []byte]()
	if err != nil {
		return s, err
	}
	if codec == "" {
		return s, fmt.Errorf("hashmap: %w: the codec for %s has no name", ErrTypeMismatch, value)
	}
	s.label = labelOf(codec + " of " + value.String())
	s.types = fmt.Sprintf("Encoded[%s, …] as %s", reflect.TypeFor[K](), s.label)
	s.print = xxhash.Sum64String(fmt.Sprintf("encoded %016x", s.print))
	return s, nil
}

// labelOf shortens a text that has not enough room, so that two of them differ
// still.
func labelOf(text string) string {
	if len(text) <= labelLimit {
		return text
	}
	sum := fmt.Sprintf("… %016x", xxhash.Sum64String(text))
	return text[:labelLimit-len(sum)] + sum
}

// checkLabel compares the label of the map with that of the codec and the type it
// was opened with.
func (t *table) checkLabel() error {
	if t.label == "" {
		return nil
	}
	from, end := t.plan.size(), min(t.object.Size(), t.plan.size()+labelLimit)
	b, err := t.floor.View.Slice(t.object.Ref()+from, end-from)
	if err != nil {
		return err
	}
	if stored := string(bytes.TrimRight(b, "\x00")); stored != t.label {
		return fmt.Errorf("%w: the values are %q, want %q", ErrTypeMismatch, stored, t.label)
	}
	return nil
}
