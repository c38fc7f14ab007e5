package array_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestMain(m *testing.M) {
	shmtest.Main(m, map[string]func(args []string) int{
		"adder": adder,
		"verbs": verbs,
	})
}

const (
	sumAt   = 0 // what all children add to
	firstAt = 1 // what each one notes how far it has come in
)

// adder adds until it is killed.
func adder(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	x, err := array.Open[uint64](a, "x")
	shmtest.Must(err)
	me, err := strconv.Atoi(args[1])
	shmtest.Must(err)
	shmtest.Say("ready")
	for {
		_, err := array.Add(x, sumAt, 1)
		shmtest.Must(err)
		_, err = array.Add(x, firstAt+me, 1)
		shmtest.Must(err)
	}
}

// Processes that add are killed at any moment; what they added is there.
func TestProcess_Killed(t *testing.T) {
	const children, rounds = 4, 5
	a := shmtest.Named(t, nil)
	x := create(t, a, firstAt+children)
	watch := open(t, shmtest.Again(t, a, &arena.Options{ReadOnly: true}))
	last := uint64(0)
	for range rounds {
		var all [children]*shmtest.Child
		for i := range all {
			all[i] = shmtest.Start(t, "adder", a.Name(), strconv.Itoa(i))
		}
		for _, child := range all {
			child.Expect("ready")
			for end := time.Now().Add(time.Duration(rand.IntN(2000)) * time.Microsecond); time.Now().Before(end); {
				n := watch.Load(sumAt)
				require.GreaterOrEqual(t, n, last, "went back")
				last = n
			}
			child.Kill()
		}
	}
	_, err := a.Recover()
	require.NoError(t, err)
	noted := uint64(0)
	for i := range children {
		noted += x.Load(firstAt + i)
	}
	require.NotZero(t, noted)
	require.GreaterOrEqual(t, x.Load(sumAt), noted)
	require.LessOrEqual(t, x.Load(sumAt), noted+children*rounds, "one step in flight for each death")
}

// verbs is a process that uses everything once, counted in ticks.
func verbs(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	shmtest.Arm()
	x, err := array.OpenOrCreate[uint64](a, "x", 3)
	shmtest.Must(err)
	shmtest.Must(x.Store(0, 1))
	shmtest.Must(x.Fill(1))
	_, err = x.CopyFrom([]uint64{2, 2, 2})
	shmtest.Must(err)
	shmtest.Must(a.Close())
	return 0
}
