//go:build crash

package value_test

import (
	"context"
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

// steps are the operations to be cut off at every tick: from the state that begin
// leaves to that after do. A survivor finds what value and counter were before
// or what they are after.
var steps = map[string]struct {
	begin, do func(t *testing.T, a *arena.Arena)
	object    string
	old, new  any
}{
	"Create": {
		do: func(t *testing.T, a *arena.Arena) {
			create(t, a, 5)
		},
		object: "x", new: uint64(5),
	},
	"Store": {
		begin: makeX,
		do: func(t *testing.T, a *arena.Arena) {
			require.NoError(t, open(t, a).Store(6))
		},
		object: "x", old: uint64(5), new: uint64(6),
	},
	"Store, watched": {
		begin: func(t *testing.T, a *arena.Arena) {
			makeX(t, a)
			ctx, cancel := context.WithCancel(t.Context())
			x := open(t, a)
			got := wait(ctx, x, 1)
			asleep(x)
			for !value.Watched(x) {
			}
			cancel()
			<-got
		},
		do: func(t *testing.T, a *arena.Arena) {
			require.NoError(t, open(t, a).Store(6))
		},
		object: "x", old: uint64(5), new: uint64(6),
	},
	"Swap": {
		begin: makeX,
		do: func(t *testing.T, a *arena.Arena) {
			_, err := open(t, a).Swap(6)
			require.NoError(t, err)
		},
		object: "x", old: uint64(5), new: uint64(6),
	},
	"CompareAndSwap": {
		begin: makeX,
		do: func(t *testing.T, a *arena.Arena) {
			done, err := open(t, a).CompareAndSwap(5, 6)
			require.NoError(t, err)
			require.True(t, done)
		},
		object: "x", old: uint64(5), new: uint64(6),
	},
	"Update": {
		begin: makeX,
		do: func(t *testing.T, a *arena.Arena) {
			_, err := open(t, a).Update(func(n uint64) uint64 { return n + 1 })
			require.NoError(t, err)
		},
		object: "x", old: uint64(5), new: uint64(6),
	},
	"CreateCounter": {
		do: func(t *testing.T, a *arena.Arena) {
			c, err := value.CreateCounter(a, "c")
			require.NoError(t, err)
			keep(t, c)
		},
		object: "c", new: uint64(0),
	},
	"Add": {
		begin: makeC,
		do: func(t *testing.T, a *arena.Arena) {
			openC(t, a).Add(3)
		},
		object: "c", old: uint64(7), new: uint64(10),
	},
	"Reset": {
		begin: makeC,
		do: func(t *testing.T, a *arena.Arena) {
			require.NoError(t, openC(t, a).Reset())
		},
		object: "c", old: uint64(7), new: uint64(0),
	},
}

func makeX(t *testing.T, a *arena.Arena) { create(t, a, 5) }

func makeC(t *testing.T, a *arena.Arena) {
	c, err := value.CreateCounter(a, "c")
	require.NoError(t, err)
	keep(t, c)
	c.Add(7)
}

func openC(t *testing.T, a *arena.Arena) *value.Counter {
	c, err := value.OpenCounter(a, "c")
	require.NoError(t, err)
	keep(t, c)
	return c
}

// found reads an object of a recovered arena; nil: it is not there.
func found(t *testing.T, a *arena.Arena, object string) any {
	var n uint64
	x, err := value.Open[uint64](a, object)
	if err == nil {
		n = x.Load()
	} else if object == "c" {
		var c *value.Counter
		if c, err = value.OpenCounter(a, object); err == nil {
			n = c.Load()
		}
	}
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return nil
	}
	return n
}

func TestCrash_EachTick(t *testing.T) {
	for name, s := range steps {
		t.Run(name, func(t *testing.T) {
			shmtest.EachTick(t, func(t *testing.T) *shmtest.Run {
				seg := shmtest.Segment(t, &arena.Options{Size: 48 << 10, Processes: 2, Objects: 2})
				a := shmtest.OnSegment(t, seg, nil)
				if s.begin != nil {
					s.begin(t, a)
				}
				return &shmtest.Run{
					Segment: seg,
					Do:      func() { s.do(t, a) },
					Verify: func(t *testing.T, a *arena.Arena, whole bool) {
						got := found(t, a, s.object)
						if whole {
							require.Equal(t, s.new, got)
						} else {
							require.Contains(t, []any{s.old, s.new}, got)
						}
					},
				}
			})
		})
	}
}

// A counter goes on where the dead process left it.
func verifyVerbs(t *testing.T, a *arena.Arena, killed bool) {
	x, c := found(t, a, "x"), found(t, a, "c")
	if !killed {
		require.Equal(t, []any{uint64(4), uint64(2)}, []any{x, c})
	}
	require.True(t, slices.Contains([]any{nil, uint64(1), uint64(2), uint64(3), uint64(4)}, x), "%v", x)
	require.True(t, slices.Contains([]any{nil, uint64(0), uint64(1), uint64(2)}, c), "%v", c)
}
