package value_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/slab"
)

// forge makes an object that says it holds a uint64, with a root block of any
// size.
func forge(t *testing.T, a *arena.Arena, name string, kind arena.Kind, size uint64) {
	t.Helper()
	info, err := mem.Describe(reflect.TypeFor[uint64]())
	require.NoError(t, err)
	spec := arena.Spec{Kind: kind, Fingerprint: info.Fingerprint, Size: size}
	o, err := slab.Of(a).Create(name, spec, func(at mem.Ptr) { mem.Zero(at, size) })
	require.NoError(t, err)
	require.NoError(t, o.Close())
}
