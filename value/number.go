package value

import (
	"math"

	"github.com/shmkit/shmkit/internal/mem"
)

// Integer is what Add adds.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Add adds delta to the value and returns the sum, which wraps around as that of
// a T does.
func Add[T Integer](v *Value[T], delta T) (T, error) {
	if mem.Word(^T(0)) != math.MaxUint64 {
		// A carry must not leave the bytes of a T.
		return v.Update(func(x T) T { return x + delta })
	}
	sum, err := v.add(mem.Word(delta))
	return mem.FromWord[T](sum), err
}
