// Package inline calls what must be free. A test compiles it and reads what the
// compiler decided.
package inline

import "github.com/shmkit/shmkit/array"

// Use reads.
func Use(x *array.Array[uint64], y *array.Array[[3]byte]) (uint64, [3]byte) {
	return x.Load(1), y.Load(2)
}
