package slab_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/slab"
)

const (
	tortureCells = 300
	cellsAlarm   = 24 // offset in the root block: a process has seen a cell that was not whole
)

func init() { roles["torture"] = torture }

// tortureTime is how long the storm lasts.
func tortureTime(t *testing.T) time.Duration {
	text := os.Getenv("SHMKIT_TORTURE")
	switch {
	case text != "":
		d, err := time.ParseDuration(text)
		require.NoError(t, err, "SHMKIT_TORTURE")
		return d
	case testing.Short():
		return 300 * time.Millisecond
	default:
		return 2 * time.Second
	}
}

// One, two or eight processes do random things to the same cells, in several
// goroutines each, and are killed at random moments, one after the other. In the
// end every cell is whole and every byte accounted for.
func TestTorture_Slab(t *testing.T) {
	limit := tortureTime(t)
	if os.Getenv("SHMKIT_TORTURE") == "" {
		limit /= 3
	}
	for _, processes := range []int{1, 2, 8} {
		for name, o := range map[string]arena.Options{
			"tight": {Size: 600 << 10, Processes: 12, Objects: 8},
			"grows": {Size: 128 << 10, MaxSize: 64 << 20, PageSize: 16384, Processes: 12, Objects: 8},
		} {
			t.Run(fmt.Sprintf("%d/%s", processes, name), func(t *testing.T) { storm(t, &o, processes, limit/2) })
		}
	}
}

func storm(t *testing.T, o *arena.Options, processes int, limit time.Duration) {
	a := shmtest.Named(t, o)
	c := createCells(t, a, tortureCells)
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	start := func() *shmtest.Child {
		child := shmtest.Start(t, "torture", a.Name(), strconv.FormatUint(rnd.Uint64(), 10))
		child.Expect("at it")
		return child
	}
	children := make([]*shmtest.Child, processes)
	for i := range children {
		children[i] = start()
	}
	kills := 0
	for begin := time.Now(); time.Since(begin) < limit; kills++ {
		// How long it lives is left to chance; nothing is concluded from it.
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
		i := rnd.IntN(len(children))
		children[i].Kill()
		children[i] = start()
		require.Zero(t, c.word(c.obj.Ref()+cellsAlarm).Load(), "a process saw a cell that was not whole")
	}
	for _, child := range children {
		child.Kill()
	}
	_, err := a.Recover()
	require.NoError(t, err)
	accountFor(t, a, c)
	t.Logf("%d processes, %d kills, 0 bytes unaccounted for", processes, kills+len(children))
}

// accountFor checks the cells, empties them, and checks that all of the arena
// but their root is free and can be had.
func accountFor(t *testing.T, a *arena.Arena, c *cells) {
	t.Helper()
	shmtest.Clean(t, a)
	c.check(t)
	require.Zero(t, c.word(c.obj.Ref()+cellsAlarm).Load())
	quiet(t, c.s)
	for i := range c.n {
		require.NoError(t, c.del(i))
	}
	r := shmtest.Clean(t, a)
	require.Equal(t, 1, r.Blocks)
	class, _ := c.s.Floor().Pages.ClassFor(1000)
	free := room(c.s, class)
	refs := reserveAll(t, c.s, 1000)
	require.GreaterOrEqual(t, len(refs), free, "blocks that can be had again")
	freeAll(t, c.s, refs)
}

// torture is one of the processes.
func torture(args []string) int {
	seed, err := strconv.ParseUint(args[1], 10, 64)
	shmtest.Must(err)
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	c, err := openCells(a, tortureCells)
	shmtest.Must(err)
	shmtest.Say("at it")
	for g := range uint64(3) {
		go func() {
			rnd := rand.New(rand.NewPCG(seed, g))
			for {
				if err := tortureStep(c, rnd); err != nil {
					c.word(c.obj.Ref() + cellsAlarm).Store(1)
					shmtest.Fail("%v", err)
				}
			}
		}()
	}
	select {}
}

func tortureStep(c *cells, rnd *rand.Rand) error {
	var torn error
	i := rnd.IntN(c.n)
	if err := c.locked(func() { _, _, torn = c.get(i) }); err != nil {
		return err
	}
	if torn != nil {
		return torn
	}
	if err := step(c, rnd); !errors.Is(err, slab.ErrFull) {
		return err
	}
	return nil
}
