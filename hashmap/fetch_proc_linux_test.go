package hashmap

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func init() {
	roles["fetcher"] = fetcher
	roles["sluggard"] = sluggard
}

const fetchedKeys = 40

// fetcher fetches some keys, and counts its loads in another map.
func fetcher(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	m, err := Open[string, int](a, "m", nil)
	shmtest.Must(err)
	loads, err := Open[string, int](a, "loads", nil)
	shmtest.Must(err)
	shmtest.Say("ready")
	shmtest.Hear()
	for i := range fetchedKeys {
		_, err := m.Fetch(context.Background(), fmt.Sprint(i), func(_ context.Context, k string) (int, error) { return Add(loads, k, 1) }, nil)
		shmtest.Must(err)
	}
	shmtest.Must(a.Close())
	return 0
}

// TestFetch_Processes: eight processes want the same keys, at the same time. Each
// key is loaded once.
func TestFetch_Processes(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 1 << 20, Processes: 10, Objects: 8})
	m := create[string, int](t, a, "m", nil)
	loads := create[string, int](t, a, "loads", nil)
	var all []*shmtest.Child
	for range 8 {
		c := shmtest.Start(t, "fetcher", a.Name())
		c.Expect("ready")
		all = append(all, c)
	}
	for _, c := range all {
		c.Tell("go")
	}
	for _, c := range all {
		require.False(t, c.Wait())
	}
	require.Len(t, contents(t, m), fetchedKeys)
	for k, n := range contents(t, loads) {
		require.Equal(t, 1, n, "loads of key %s", k)
		v, _ := m.Load(k)
		require.Equal(t, 1, v)
	}
}

// sluggard fetches a key; its load waits for its parent.
func sluggard(args []string) int {
	a, err := arena.Open(args[0], nil)
	shmtest.Must(err)
	m, err := Open[string, int](a, "m", nil)
	shmtest.Must(err)
	lease, err := time.ParseDuration(args[1])
	shmtest.Must(err)
	v, err := m.Fetch(context.Background(), "k", func(context.Context, string) (int, error) {
		shmtest.Say("loads")
		shmtest.Hear()
		return 1, nil
	}, &FetchOptions{Lease: lease})
	shmtest.Must(err)
	shmtest.Say("%d", v)
	shmtest.Must(a.Close())
	return 0
}

// A loader is killed while we wait for it.
func TestFetch_Killed(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	m := create[string, int](t, a, "m", nil)
	child := shmtest.Start(t, "sluggard", a.Name(), "1h")
	child.Expect("loads")
	require.Equal(t, held, look(m, "k").verdict)
	var n atomic.Int64
	w := fetching(soon(t), m, "k", loading(&n, 2), nil)
	underway(m, 1)
	require.Zero(t, n.Load())
	child.Kill()
	require.Equal(t, fetched{2, nil}, <-w)
	require.EqualValues(t, 1, n.Load())
	_, err := a.Recover()
	require.NoError(t, err)
}

// A loader is stopped past the end of its lease: another one takes over, and what
// it comes to when it goes on is not stored.
func TestFetch_Stopped(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 1 << 20, Processes: 4, Objects: 8})
	m := create[string, int](t, a, "m", nil)
	child := shmtest.Start(t, "sluggard", a.Name(), "20ms")
	child.Expect("loads")
	child.Stop()
	var n atomic.Int64
	require.Equal(t, fetched{2, nil}, <-fetching(soon(t), m, "k", loading(&n, 2), nil))
	require.EqualValues(t, 1, n.Load())
	require.NoError(t, m.Store("k", 3))
	child.Cont()
	child.Tell("go on")
	child.Expect("3")
	require.False(t, child.Wait())
	require.Equal(t, map[string]int{"k": 3}, contents(t, m))
}
