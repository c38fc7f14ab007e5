package value_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
	"github.com/shmkit/shmkit/value"
)

func TestMain(m *testing.M) {
	shmtest.Main(m, map[string]func(args []string) int{
		"adder": adder,
		"echo":  echo,
		"verbs": verbs,
	})
}

// adder adds until it is killed. After each step it notes, in a value of its own,
// how far it has come.
func adder(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	hits, err := value.OpenCounter(a, "hits")
	shmtest.Must(err)
	sum, err := value.Open[uint64](a, "sum")
	shmtest.Must(err)
	done, err := value.Open[uint64](a, "done "+args[1])
	shmtest.Must(err)
	shmtest.Say("ready")
	for {
		hits.Add(1)
		_, err := value.Add(sum, 1)
		shmtest.Must(err)
		_, err = value.Add(done, 1)
		shmtest.Must(err)
	}
}

// Processes that add are killed at any moment. Nothing that was added is lost,
// and nobody sees the counter go back.
func TestProcess_Killed(t *testing.T) {
	const children, rounds = 4, 10
	a := shmtest.Named(t, nil)
	hits, err := value.CreateCounter(a, "hits")
	require.NoError(t, err)
	sum, err := value.Create(a, "sum", uint64(0))
	require.NoError(t, err)
	var done [children]*value.Value[uint64]
	for i := range done {
		done[i], err = value.Create(a, "done "+strconv.Itoa(i), uint64(0))
		require.NoError(t, err)
	}
	reader := shmtest.Again(t, a, &arena.Options{ReadOnly: true})
	watch, err := value.OpenCounter(reader, "hits")
	require.NoError(t, err)

	last := uint64(0)
	for range rounds {
		var all [children]*shmtest.Child
		for i := range all {
			all[i] = shmtest.Start(t, "adder", a.Name(), strconv.Itoa(i))
		}
		for i, child := range all {
			child.Expect("ready")
			for end := time.Now().Add(time.Duration(rand.IntN(2000)) * time.Microsecond); time.Now().Before(end); {
				noted := done[i].Load()
				n := watch.Load()
				require.GreaterOrEqual(t, n, noted, "lost")
				require.GreaterOrEqual(t, n, last, "went back")
				last = n
			}
			child.Kill()
		}
	}
	_, err = a.Recover()
	require.NoError(t, err)
	noted := uint64(0)
	for _, d := range done {
		noted += d.Load()
	}
	require.NotZero(t, noted)
	for _, n := range []uint64{hits.Load(), sum.Load()} {
		require.GreaterOrEqual(t, n, noted)
		require.LessOrEqual(t, n, noted+children*rounds, "one step in flight for each death")
	}
}

// echo stores in "pong" what it gets from "ping", until it gets zero.
func echo(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	ping, err := value.Open[uint64](a, "ping")
	shmtest.Must(err)
	pong, err := value.Open[uint64](a, "pong")
	shmtest.Must(err)
	for version := uint64(1); ; {
		var n uint64
		n, version, err = ping.Wait(context.Background(), version)
		shmtest.Must(err)
		if n == 0 {
			shmtest.Must(a.Close())
			return 0
		}
		shmtest.Must(pong.Store(n))
	}
}

// Waiters in different processes wake each other.
func TestProcess_Echo(t *testing.T) {
	a := shmtest.Named(t, nil)
	ping, err := value.Create(a, "ping", uint64(0))
	require.NoError(t, err)
	pong, err := value.Create(a, "pong", uint64(0))
	require.NoError(t, err)
	child := shmtest.Start(t, "echo", a.Name())
	ctx, version := soon(t), uint64(1)
	for i := uint64(1); i <= 500; i++ {
		require.NoError(t, ping.Store(i))
		var n uint64
		n, version, err = pong.Wait(ctx, version)
		require.NoError(t, err)
		require.Equal(t, i, n)
	}
	require.NoError(t, ping.Store(0))
	require.False(t, child.Wait())
}

// verbs is a process that uses everything once, counted in ticks.
func verbs(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	shmtest.Arm()
	x, err := value.OpenOrCreate(a, "x", uint64(1))
	shmtest.Must(err)
	shmtest.Must(x.Store(2))
	_, err = x.Swap(3)
	shmtest.Must(err)
	_, err = value.Add(x, 1)
	shmtest.Must(err)
	c, err := value.OpenOrCreateCounter(a, "c")
	shmtest.Must(err)
	c.Add(1)
	shmtest.Must(c.Reset())
	c.Add(2)
	shmtest.Must(a.Close())
	return 0
}
