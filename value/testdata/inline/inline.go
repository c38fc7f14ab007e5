// Package inline calls what must be free. A test compiles it and reads what the
// compiler decided.
package inline

import "github.com/shmkit/shmkit/value"

// Use counts and reads.
func Use(c *value.Counter, v *value.Value[uint64]) uint64 {
	c.Add(1)
	return v.Load()
}
