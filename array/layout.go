//lint:file-ignore U1000 Stored structs: some fields are reached by their offset, some keep others apart.

package array

import "github.com/shmkit/shmkit/internal/psync"

// header begins the root block of an array; the elements follow, a word each.
type header struct {
	length psync.Word64    // number of elements; by the creator, before the array has a name
	spare  [7]psync.Word64 // 0
}
