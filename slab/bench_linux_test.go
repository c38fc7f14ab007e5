package slab_test

import (
	"fmt"
	"testing"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

func init() { roles["churn"] = churnRole }

// churnRole replaces blocks until it is killed.
func churnRole(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	s, c := slab.Of(a), newChurn()
	table, err := c.fill(s)
	shmtest.Must(err)
	fmt.Println("ready")
	for i := 0; ; i++ {
		at, n := c.pick(i)
		shmtest.Must(replace(s, &table[at], n))
	}
}

// BenchmarkSlab_AllocFreeBeside is BenchmarkSlab_AllocFree in a named arena, beside
// another process that does the same.
func BenchmarkSlab_AllocFreeBeside(b *testing.B) {
	a := shmtest.Named(b, benchOptions, shmtest.Unchecked)
	other := shmtest.Start(b, "churn", a.Name())
	other.Expect("ready")
	b.Run("process", func(b *testing.B) { newChurn().bench(b, slab.Of(a)) })
	other.Kill()
}
