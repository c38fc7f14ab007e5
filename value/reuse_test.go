package value_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

// A process that makes and removes values in a loop does not run out of objects
// because Go has not collected its handles yet.
func TestCreateRemoveLoop(t *testing.T) {
	name := shmtest.Name(t)
	a, err := arena.Create(name, &arena.Options{Objects: 8})
	require.NoError(t, err)
	defer a.Close()
	for i := range 100 {
		v, err := value.Create(a, fmt.Sprint(i), i)
		require.NoError(t, err)
		require.NoError(t, a.Remove(fmt.Sprint(i)))
		require.NoError(t, v.Close())
	}
}
