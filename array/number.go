package array

import (
	"math"

	"github.com/shmkit/shmkit/internal/mem"
)

// Integer is what Add adds.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Add adds delta to element i and returns the sum, which wraps around as that of
// a T does.
func Add[T Integer](x *Array[T], i int, delta T) (T, error) {
	w := &x.words[i]
	for !x.handle.Barred() {
		if mem.Word(^T(0)) == math.MaxUint64 {
			sum := w.Add(mem.Word(delta)) // survivor: the new element
			return mem.FromWord[T](sum), x.handle.Kept()
		}
		// A carry must not leave the bytes of a T.
		old := w.Load()
		sum := mem.FromWord[T](old) + delta
		if w.CompareAndSwap(old, mem.Word(sum)) { // survivor: the new element
			return sum, x.handle.Kept()
		}
	}
	return 0, x.handle.Refusal()
}
