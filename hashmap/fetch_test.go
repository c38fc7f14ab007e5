package hashmap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

type loader func(context.Context, string) (int, error)

// loading returns a load that returns v at once, and counts.
func loading(n *atomic.Int64, v int) loader {
	return func(context.Context, string) (int, error) {
		n.Add(1)
		return v, nil
	}
}

func failing(n *atomic.Int64, err error) loader {
	return func(context.Context, string) (int, error) {
		n.Add(1)
		return 0, err
	}
}

// unwanted is a load that must not be called.
func unwanted(t *testing.T) loader {
	return func(context.Context, string) (int, error) {
		t.Error("load was called")
		return 0, nil
	}
}

// slow is a load that waits.
type slow struct {
	begun chan struct{}
	let   chan struct{}
	v     int
	err   error
}

func hold(v int, err error) *slow {
	return &slow{make(chan struct{}), make(chan struct{}), v, err}
}

func (h *slow) load(context.Context, string) (int, error) {
	close(h.begun)
	<-h.let
	return h.v, h.err
}

// fetched is what a Fetch returned.
type fetched struct {
	v   int
	err error
}

// fetching fetches in another goroutine.
func fetching(ctx context.Context, m *Map[string, int], k string, load loader, o *FetchOptions) <-chan fetched {
	c := make(chan fetched, 1)
	go func() {
		v, err := m.Fetch(ctx, k, load, o)
		c <- fetched{v, err}
	}()
	return c
}

// underway returns when a goroutine of the handle is on its way to so many keys.
func underway(m *Map[string, int], n int) {
	for {
		m.flights.mu.Lock()
		got := len(m.flights.all)
		m.flights.mu.Unlock()
		if got >= n {
			return
		}
		runtime.Gosched()
	}
}

// soon is what every wait in a test ends by.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// couple returns handles on one map, of different attaches.
func couple(t *testing.T, n int, o *Options) []*Map[string, int] {
	t.Helper()
	seg := shmtest.Segment(t, roomy)
	all := []*Map[string, int]{create[string, int](t, shmtest.OnSegment(t, seg, roomy), "m", o)}
	for len(all) < n {
		all = append(all, open[string, int](t, shmtest.OnSegment(t, seg, roomy), "m"))
	}
	return all
}

func TestFetch(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, openArena shmtest.Opener) {
		a, b := openArena(roomy)
		m := create[string, int](t, a, "m", nil)
		x := open[string, int](t, b, "m")
		var n atomic.Int64
		for _, h := range []*Map[string, int]{m, x, m} {
			v, err := h.Fetch(t.Context(), "k", loading(&n, 7), nil)
			require.NoError(t, err)
			require.Equal(t, 7, v)
		}
		require.EqualValues(t, 1, n.Load())
		require.Empty(t, m.flights.all)
		left, ok := m.TTL("k")
		require.True(t, ok)
		require.Zero(t, left)
	})
}

// A hit costs what a Load does: no allocation, whatever load refers to.
func TestFetch_Hit(t *testing.T) {
	m := create[string, int](t, shmtest.Heap(t, roomy), "m", nil)
	require.NoError(t, m.Store("k", 7))
	o, sum := FetchOptions{TTL: time.Second}, 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		v, err := m.Fetch(context.Background(), "k", func(context.Context, string) (int, error) { sum++; return sum, nil }, &o)
		if err != nil {
			panic(err)
		}
		sum += v
	}))
}

func TestFetch_Once(t *testing.T) {
	all := couple(t, 4, nil)
	for round := range 4 {
		k := fmt.Sprint("cold", round)
		var n atomic.Int64
		var crowd sync.WaitGroup
		start := make(chan struct{})
		load := func(context.Context, string) (int, error) {
			if round%2 == 0 { // the others have come, or some of them
				for _, m := range all {
					underway(m, 1)
				}
			}
			return int(n.Add(1)), nil
		}
		for i := range 1000 {
			crowd.Go(func() {
				<-start
				if v, err := all[i%len(all)].Fetch(t.Context(), k, load, nil); v != 1 || err != nil {
					t.Errorf("found %d, %v", v, err)
				}
			})
		}
		close(start)
		crowd.Wait()
		require.EqualValues(t, 1, n.Load())
	}
}

// Many keys, many more than leases: each is loaded, and waited for.
func TestFetch_ManyKeys(t *testing.T) {
	all := couple(t, 3, nil)
	var crowd sync.WaitGroup
	for i := range 600 {
		crowd.Go(func() {
			k := fmt.Sprint(i % 100)
			v, err := all[i%len(all)].Fetch(t.Context(), k, func(context.Context, string) (int, error) {
				runtime.Gosched()
				return i % 100, nil
			}, nil)
			if v != i%100 || err != nil {
				t.Errorf("key %s: found %d, %v", k, v, err)
			}
		})
	}
	crowd.Wait()
	require.Len(t, contents(t, all[0]), 100)
}

func TestFetch_Bytes(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, roomy), "m", nil)
	begun, let := make(chan struct{}), make(chan struct{})
	var got [8][]byte
	var crowd sync.WaitGroup
	for i := range got {
		crowd.Go(func() {
			got[i], _ = m.Fetch(t.Context(), "k", func(context.Context, string) ([]byte, error) {
				close(begun)
				<-let
				return []byte("value"), nil
			}, nil)
			got[i][0] = byte(i) // each has his own
		})
	}
	<-begun
	close(let)
	crowd.Wait()
	for i := range got {
		require.Equal(t, string(rune(i))+"alue", string(got[i]))
	}
	v, ok := m.Load("k")
	require.True(t, ok)
	require.Equal(t, "value", string(v))
}

func TestFetch_Errors(t *testing.T) {
	all := couple(t, 2, nil)
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	boom := errors.New("boom")
	var n atomic.Int64
	fetch := func(m *Map[string, int], k string, o *FetchOptions) error {
		v, err := m.Fetch(t.Context(), k, failing(&n, boom), o)
		require.Zero(t, v)
		return err
	}
	require.Equal(t, boom, fetch(all[0], "k", nil), "as it is")
	require.Equal(t, boom, fetch(all[1], "k", nil))
	require.EqualValues(t, 2, n.Load(), "not remembered")

	o := &FetchOptions{ErrorTTL: time.Second}
	require.Equal(t, boom, fetch(all[0], "k", o))
	for _, m := range all {
		err := fetch(m, "k", nil)
		require.ErrorIs(t, err, ErrLoad)
		require.EqualError(t, err, "boom")
	}
	require.EqualValues(t, 3, n.Load(), "remembered")
	require.Equal(t, boom, fetch(all[1], "other", nil), "by that key only")
	s.at = time.Second
	v, err := all[1].Fetch(t.Context(), "k", loading(&n, 8), nil)
	require.NoError(t, err)
	require.Equal(t, 8, v)

	boom = errors.New(strings.Repeat("0123456", 19) + "äöüß")
	_ = fetch(all[0], "long", o)
	require.EqualError(t, fetch(all[1], "long", o), strings.Repeat("0123456", 19)+"ä")
	boom = errors.New("")
	_ = fetch(all[0], "none", o)
	require.EqualError(t, fetch(all[1], "none", o), "")
}

// Who waits for a load that fails gets its error, also if it is not remembered.
func TestFetch_ErrorToWaiters(t *testing.T) {
	all := couple(t, 2, nil)
	boom := errors.New("boom")
	h := hold(0, boom)
	first := fetching(soon(t), all[0], "k", h.load, nil)
	<-h.begun
	var n atomic.Int64
	same := fetching(soon(t), all[0], "k", failing(&n, boom), nil)
	other := fetching(soon(t), all[1], "k", failing(&n, boom), nil)
	underway(all[1], 1)
	var c claim
	for c.verdict != held { // it has looked at the lease, and will find the same ticket
		c = look(all[1], "k")
	}
	close(h.let)
	require.Equal(t, fetched{0, boom}, <-first)
	require.ErrorContains(t, (<-same).err, "boom")
	require.ErrorContains(t, (<-other).err, "boom")
}

// look returns what a claim of a key would find.
func look(m *Map[string, int], k string) claim {
	return m.choose(m.idOf(&k), m.clock.now(), 0)
}

func TestFetch_TTL(t *testing.T) {
	all := couple(t, 2, &Options{TTL: time.Hour})
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	var n atomic.Int64
	for k, o := range map[string]*FetchOptions{"map": nil, "own": {TTL: time.Minute}, "both": {TTL: time.Minute, Stale: time.Second}} {
		_, err := all[0].Fetch(t.Context(), k, loading(&n, 7), o)
		require.NoError(t, err)
	}
	for k, want := range map[string]time.Duration{"map": time.Hour, "own": time.Minute, "both": 61 * time.Second} {
		left, ok := all[1].TTL(k)
		require.True(t, ok)
		require.Equal(t, want, left, k)
	}
	s.at = time.Minute
	v, err := all[1].Fetch(t.Context(), "own", loading(&n, 8), nil)
	require.NoError(t, err)
	require.Equal(t, 8, v)
	for _, o := range []FetchOptions{{TTL: -1}, {Stale: -1}, {ErrorTTL: -1}, {Lease: -1}} {
		_, err := all[0].Fetch(t.Context(), "none", unwanted(t), &o)
		require.Error(t, err)
	}
}

// A value that is not fresh is returned to all but one.
func TestFetch_Stale(t *testing.T) {
	all := couple(t, 2, nil)
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	o := &FetchOptions{TTL: time.Minute, Stale: time.Hour, ErrorTTL: time.Minute}
	var n atomic.Int64
	get := func(m *Map[string, int], load loader) int {
		v, err := m.Fetch(soon(t), "k", load, o)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, 1, get(all[0], loading(&n, 1)))
	s.at = time.Minute - 1
	require.Equal(t, 1, get(all[1], unwanted(t)), "fresh")
	s.at = time.Minute
	h := hold(2, nil)
	first := fetching(soon(t), all[0], "k", h.load, o)
	<-h.begun
	for _, m := range all {
		require.Equal(t, 1, get(m, unwanted(t)), "while one loads")
	}
	close(h.let)
	require.Equal(t, fetched{2, nil}, <-first)
	require.Equal(t, 2, get(all[1], unwanted(t)))

	s.at = 2 * time.Minute
	require.Equal(t, 2, get(all[1], failing(&n, errors.New("boom"))), "better than nothing")
	require.Equal(t, 2, get(all[0], unwanted(t)), "the error is remembered")
	s.at = 3 * time.Minute
	require.Equal(t, 3, get(all[0], loading(&n, 3)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.at = 4 * time.Minute
	v, err := all[0].Fetch(ctx, "k", failing(&n, ctx.Err()), o)
	require.NoError(t, err)
	require.Equal(t, 3, v)
	s.at = 2 * time.Hour
	require.Equal(t, 4, get(all[0], loading(&n, 4)), "not even stale")
}

// A value that was stored while another one was loaded stays.
func TestFetch_StoredMeanwhile(t *testing.T) {
	m := couple(t, 1, nil)[0]
	s := new(sundial)
	s.rule(&m.table)
	o := &FetchOptions{TTL: time.Minute, Stale: time.Hour}
	for range 2 { // there was nothing; there was a stale value
		h := hold(1, nil)
		first := fetching(soon(t), m, "k", h.load, o)
		<-h.begun
		require.NoError(t, m.StoreTTL("k", 2, 2*time.Hour))
		close(h.let)
		require.Equal(t, fetched{2, nil}, <-first)
		require.Equal(t, map[string]int{"k": 2}, contents(t, m))
		require.NoError(t, m.StoreTTL("k", 3, time.Minute))
	}
}

func TestFetch_Context(t *testing.T) {
	all := couple(t, 2, nil)
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan struct{})
	first := fetching(ctx, all[0], "k", func(ctx context.Context, _ string) (int, error) {
		close(done)
		<-ctx.Done()
		return 0, fmt.Errorf("load: %w", ctx.Err())
	}, nil)
	<-done
	for _, m := range all {
		brief, drop := context.WithCancel(soon(t))
		w := fetching(brief, m, "k", unwanted(t), nil)
		underway(m, 1)
		drop()
		require.ErrorIs(t, (<-w).err, context.Canceled)
	}
	var n atomic.Int64
	same, other := fetching(soon(t), all[0], "k", loading(&n, 5), nil), fetching(soon(t), all[1], "k", loading(&n, 5), nil)
	underway(all[1], 1)
	cancel()
	require.EqualError(t, (<-first).err, "load: context canceled")
	require.Equal(t, fetched{5, nil}, <-same)
	require.Equal(t, fetched{5, nil}, <-other)
	require.EqualValues(t, 1, n.Load())
	_, err := all[0].Fetch(ctx, "none", unwanted(t), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fetched{5, nil}, <-fetching(ctx, all[0], "k", unwanted(t), nil), "what is there needs no context")
}

func TestFetch_Panic(t *testing.T) {
	all := couple(t, 2, nil)
	for k, end := range map[string]func(){"panic": func() { panic("boom") }, "goexit": runtime.Goexit} {
		begun, let, over := make(chan struct{}), make(chan struct{}), make(chan any)
		go func() {
			defer func() { over <- recover() }()
			_, _ = all[0].Fetch(soon(t), k, func(context.Context, string) (int, error) {
				close(begun)
				<-let
				end()
				return 0, nil
			}, nil)
		}()
		<-begun
		var n atomic.Int64
		same, other := fetching(soon(t), all[0], k, loading(&n, 5), nil), fetching(soon(t), all[1], k, loading(&n, 5), nil)
		underway(all[1], 1)
		close(let)
		if k == "panic" {
			require.Equal(t, "boom", <-over)
		} else {
			require.Nil(t, <-over)
		}
		require.Equal(t, fetched{5, nil}, <-same)
		require.Equal(t, fetched{5, nil}, <-other)
		require.EqualValues(t, 1, n.Load())
	}
}

// The time of a lease is over: another one loads, and what the first one comes to
// is not stored, whether the other one has stored already or not.
func TestFetch_Late(t *testing.T) {
	for _, other := range []int{0, 1} { // in the same process; in another one
		for _, storedFirst := range []bool{true, false} {
			all := couple(t, 2, nil)
			s := new(sundial)
			s.rule(&all[0].table, &all[1].table)
			late, quick := hold(1, nil), hold(2, nil)
			first := fetching(soon(t), all[0], "k", late.load, &FetchOptions{Lease: time.Minute})
			<-late.begun
			s.at = time.Minute - 1
			require.Equal(t, held, look(all[other], "k").verdict)
			s.at = time.Minute
			second := fetching(soon(t), all[other], "k", quick.load, nil)
			<-quick.begun
			if storedFirst {
				close(quick.let)
				require.Equal(t, fetched{2, nil}, <-second)
				close(late.let)
				require.Equal(t, fetched{2, nil}, <-first, "the newer one")
			} else {
				close(late.let)
				require.Equal(t, fetched{1, nil}, <-first, "his own")
				require.Empty(t, contents(t, all[0]))
				require.Equal(t, held, look(all[0], "k").verdict, "the lease is the other one's still")
				close(quick.let)
				require.Equal(t, fetched{2, nil}, <-second)
			}
			require.Equal(t, map[string]int{"k": 2}, contents(t, all[0]))
		}
	}
}

// A late error does not disturb either.
func TestFetch_LateError(t *testing.T) {
	all := couple(t, 2, nil)
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	boom := errors.New("boom")
	late, quick := hold(0, boom), hold(2, nil)
	first := fetching(soon(t), all[0], "k", late.load, &FetchOptions{ErrorTTL: time.Hour})
	<-late.begun
	s.at = usualLease
	second := fetching(soon(t), all[1], "k", quick.load, nil)
	<-quick.begun
	close(late.let)
	require.Equal(t, fetched{0, boom}, <-first)
	require.Equal(t, held, look(all[0], "k").verdict)
	close(quick.let)
	require.Equal(t, fetched{2, nil}, <-second)
}

// All places are held: load is called, by each, and nobody waits. Errors that are
// remembered and leases whose time is over give way.
func TestFetch_Crowded(t *testing.T) {
	pair := couple(t, 2, &Options{Capacity: 10})
	m, x := pair[0], pair[1]
	require.EqualValues(t, leaseProbes, m.plan.leases)
	s := new(sundial)
	s.rule(&m.table, &x.table)
	var n atomic.Int64
	boom := errors.New("boom")
	for i := range 3 * leaseProbes {
		_, err := m.Fetch(t.Context(), fmt.Sprint("error", i), failing(&n, boom), &FetchOptions{ErrorTTL: time.Hour})
		require.Equal(t, boom, err)
	}
	require.EqualValues(t, 3*leaseProbes, n.Load(), "each had a place")
	var all []*slow
	var results []<-chan fetched
	begin := func(m *Map[string, int], k string) {
		h := hold(len(all), nil)
		all = append(all, h)
		results = append(results, fetching(soon(t), m, k, h.load, nil))
		<-h.begun
	}
	for i := range leaseProbes {
		begin(m, fmt.Sprint("k", i))
		require.Equal(t, held, look(m, fmt.Sprint("k", i)).verdict)
	}
	begin(m, "alone")
	require.Equal(t, crowded, look(m, "alone").verdict)
	begin(x, "alone") // at the same time
	s.at = usualLease
	begin(x, "late")
	require.Equal(t, held, look(m, "late").verdict)
	for i, h := range all {
		close(h.let)
		want := i
		if i == leaseProbes+1 {
			want = leaseProbes // it finds what the other one has stored
		}
		require.Equal(t, fetched{want, nil}, <-results[i])
	}
	require.Len(t, contents(t, m), leaseProbes+1, "that of the lease that gave way was not stored")
}

// Keys of one hash are told apart.
func TestFetch_OneHash(t *testing.T) {
	all := couple(t, 2, nil)
	collide(t, 16, &all[0].table, &all[1].table)
	h := hold(1, nil)
	first := fetching(soon(t), all[0], key16(1), h.load, nil)
	<-h.begun
	var n atomic.Int64
	require.Equal(t, fetched{2, nil}, <-fetching(soon(t), all[1], key16(2), loading(&n, 2), nil))
	close(h.let)
	require.Equal(t, fetched{1, nil}, <-first)
	require.Equal(t, map[string]int{key16(1): 1, key16(2): 2}, contents(t, all[0]))
}

// There is no room for the value: it is returned, with the error; those who wait
// in other processes load for themselves, at once.
func TestFetch_Full(t *testing.T) {
	seg := shmtest.Segment(t, small)
	m := create[string, []byte](t, shmtest.OnSegment(t, seg, small), "m", nil)
	x := open[string, []byte](t, shmtest.OnSegment(t, seg, small), "m")
	huge := func(b byte) []byte { return []byte(strings.Repeat(string(b), 1<<20)) }
	begun, let, got := make(chan struct{}), make(chan struct{}), make(chan []byte)
	go func() {
		v, err := m.Fetch(soon(t), "k", func(context.Context, string) ([]byte, error) {
			close(begun)
			<-let
			return huge('a'), nil
		}, nil)
		if !errors.Is(err, ErrFull) {
			t.Errorf("found %v", err)
		}
		got <- v
	}()
	<-begun
	go func() {
		v, err := x.Fetch(soon(t), "k", func(context.Context, string) ([]byte, error) { return huge('b'), nil }, nil)
		if !errors.Is(err, ErrFull) {
			t.Errorf("found %v", err)
		}
		got <- v
	}()
	close(let)
	first, second := <-got, <-got
	if first[0] == 'b' {
		first, second = second, first
	}
	require.True(t, string(first) == string(huge('a')) && string(second) == string(huge('b')))
	_, ok := m.Load("k")
	require.False(t, ok)
	require.Equal(t, uint64(leaseUnstored), m.lease(m.leaseOff(m.idOf(new("k")), 0)).holder.Load()&leaseState)
	v, err := m.Fetch(t.Context(), "k", func(context.Context, string) ([]byte, error) { return []byte("small"), nil }, nil)
	require.NoError(t, err)
	require.Equal(t, "small", string(v))
	_, err = m.Fetch(t.Context(), strings.Repeat("k", 100_000), nil, nil)
	require.ErrorIs(t, err, ErrTooLarge)
}

// A handle, a map, an arena ends while some load, and others wait.
func TestFetch_Ends(t *testing.T) {
	ends := map[string]struct {
		end  func(a *arena.Arena, m *Map[string, int]) error
		want error // for who waits beside the loader
	}{
		"close":  {func(_ *arena.Arena, m *Map[string, int]) error { return m.Close() }, ErrClosed},
		"arena":  {func(a *arena.Arena, _ *Map[string, int]) error { return a.Close() }, ErrClosed},
		"remove": {func(a *arena.Arena, _ *Map[string, int]) error { return a.Remove("m") }, ErrRemoved},
	}
	for what, e := range ends {
		seg := shmtest.Segment(t, roomy)
		a, b := shmtest.OnSegment(t, seg, roomy), shmtest.OnSegment(t, seg, roomy)
		m, x := create[string, int](t, a, "m", nil), open[string, int](t, b, "m")
		h := hold(1, nil)
		first := fetching(soon(t), m, "k", h.load, nil)
		<-h.begun
		var n atomic.Int64
		same, other := fetching(soon(t), m, "k", unwanted(t), nil), fetching(soon(t), x, "k", loading(&n, 2), nil)
		underway(x, 1)
		require.NoError(t, e.end(a, m))
		require.ErrorIs(t, (<-same).err, e.want, what)
		if what == "remove" {
			require.ErrorIs(t, (<-other).err, ErrRemoved)
		} else {
			require.Equal(t, fetched{2, nil}, <-other, "it does not wait for the end of the lease")
		}
		close(h.let)
		got := <-first
		require.Equal(t, 1, got.v, what)
		require.ErrorIs(t, got.err, e.want, what)
		_, err := m.Fetch(t.Context(), "none", unwanted(t), nil)
		require.ErrorIs(t, err, e.want, what)
		require.NoError(t, errors.Join(m.Close(), m.Close(), x.Close()))
	}
}

func TestFetch_ReadOnly(t *testing.T) {
	a := shmtest.Named(t, roomy)
	m := create[string, int](t, a, "m", nil)
	require.NoError(t, m.Store("k", 1))
	r := open[string, int](t, shmtest.Again(t, a, &arena.Options{ReadOnly: true}), "m")
	for _, k := range []string{"k", "none"} {
		_, err := r.Fetch(t.Context(), k, unwanted(t), nil)
		require.ErrorIs(t, err, ErrReadOnly)
	}
}

// What stands in a lease may be anything.
func TestFetch_Damaged(t *testing.T) {
	m, err := Create[string, int](shmtest.Heap(t, roomy, shmtest.Unchecked), "m", nil)
	require.NoError(t, err)
	k := "k"
	l := m.lease(m.leaseOff(m.idOf(&k), 0))
	for state := range leaseState + 1 {
		for _, holder := range []uint64{0, uint64(m.floor.Owner.ID()), 77<<32 | 3<<20, ^uint64(7)} {
			for _, until := range []uint64{0, 1 << 62} {
				if holder == uint64(m.floor.Owner.ID()) && until != 0 && (state == leaseLoading || state == leaseTelling) {
					continue // it is held
				}
				_, err := m.Delete(k)
				require.NoError(t, err)
				id := m.idOf(&k)
				l.holder.Store(holder | state)
				l.hash.Store(id.h)
				l.print.Store(id.print)
				l.until.Store(until)
				l.forget.Store(until)
				l.length.Store(1 << 60)
				require.ErrorIs(t, m.Check(), ErrCorrupt)
				var n atomic.Int64
				v, err := m.Fetch(soon(t), k, loading(&n, 7), nil)
				if state == leaseFailed && until != 0 {
					require.ErrorIs(t, err, ErrLoad)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, 7, v)
			}
		}
	}
}

// What was changed while a stale value is loaded anew stays, also if the entry has the
// block and the deadline of before.
func TestFetch_ChangedAndBack(t *testing.T) {
	for changes := range 5 {
		m := couple(t, 1, nil)[0]
		new(sundial).rule(&m.table)
		require.NoError(t, m.StoreTTL("k", 1, 30*time.Minute)) // stale
		h := hold(100, nil)
		first := fetching(soon(t), m, "k", h.load, &FetchOptions{TTL: time.Minute, Stale: time.Hour})
		<-h.begun
		for range changes {
			require.NoError(t, second(Add(m, "k", 1)))
		}
		close(h.let)
		want := 100
		if changes > 0 {
			want = 1 + changes
		}
		require.Equal(t, fetched{want, nil}, <-first)
		require.Equal(t, map[string]int{"k": want}, contents(t, m))
	}
}

// Who waits for a lease sees that its place is another key's by now, though who has
// claimed it was killed at once.
func TestFetch_PlaceOfAnother(t *testing.T) {
	all := couple(t, 2, nil)
	m, other := all[0], all[1]
	k := "k"
	key, n := m.key(&k)
	id := m.identify(key, n)
	c := m.lend(id, uint64(time.Hour), 0)
	require.Equal(t, granted, c.verdict)
	waiting := other.lend(id, uint64(time.Hour), 0)
	require.Equal(t, held, waiting.verdict)
	failed := waiting
	m.tellFailure(&c, "of k", ^uint64(0))
	require.Error(t, other.told(&failed))

	l := m.lease(c.off)
	word := l.holder.Load() // a third one seizes it, and is killed after his first store
	require.True(t, l.holder.CompareAndSwap(word, 1<<40|(c.ticket+1)<<ticketShift&leaseTicket|leaseClaimed))
	v, _, err := other.await(soon(t), &waiting)
	require.NoError(t, err)
	require.Equal(t, there, v)
	l.holder.Store(l.holder.Load()&^leaseState | leaseFailed)
	require.NoError(t, other.told(&failed), "of another key")
}

// A place that another one has claimed, after one has looked at it, is his.
func TestFetch_PlaceTaken(t *testing.T) {
	m := couple(t, 1, nil)[0]
	one, two := keyID{h: 1, print: 1}, keyID{h: 2, print: 2}
	seen := m.choose(one, m.clock.now(), 0)
	c := m.lend(two, uint64(time.Hour), 0)
	require.Equal(t, granted, c.verdict)
	require.Equal(t, seen.off, c.off)
	require.False(t, m.seize(&seen, one, m.clock.now(), uint64(time.Hour)))
	require.True(t, m.owns(&c))
	require.NotEqual(t, held, m.choose(keyID{h: 3, print: 2}, m.clock.now(), 0).verdict, "both hashes count")
	m.lease(c.off).holder.Store(1<<40 | leaseClaimed) // by a third one, who has not yet raised the ticket
	require.False(t, m.owns(&c))
}

// The word of a holder has the low bits of the ticket: it comes again, for the same
// holder, after so many claims. Then it is another load.
func TestFetch_TicketsWrap(t *testing.T) {
	all := couple(t, 2, nil)
	m, other := all[0], all[1]
	id := m.idOf(new("k"))
	c := m.lend(id, uint64(time.Hour), 0)
	waiting := other.lend(id, uint64(time.Hour), 0)
	require.Equal(t, held, waiting.verdict)
	l := m.lease(c.off)
	l.ticket.Store(c.ticket + leaseTicket>>ticketShift + 1)
	require.False(t, m.owns(&c))
	v, _, err := other.await(soon(t), &waiting)
	require.NoError(t, err)
	require.Equal(t, there, v)
	l.holder.Store(c.word&leaseTicket | leaseFailed)
	require.NoError(t, other.told(&waiting))
}

// bury has a dead one hold a place, in a state, for ever.
func bury(l *lease, id keyID, state uint64) {
	l.holder.Store(77<<32 | 2<<20 | state) // an incarnation that never was
	l.hash.Store(id.h)
	l.print.Store(id.print)
	l.until.Store(^uint64(0))
}

// All places are held by a dead one: they are free.
func TestFetch_OfTheDead(t *testing.T) {
	for _, state := range []uint64{leaseClaimed, leaseLoading, leaseTelling} {
		m := couple(t, 1, &Options{Capacity: 10})[0]
		for i := range m.plan.leases {
			bury(m.lease(m.leaseOff(keyID{}, i)), keyID{h: i, print: 1}, state)
		}
		_, err := m.Fetch(soon(t), "k", func(context.Context, string) (int, error) {
			require.Equal(t, held, look(m, "k").verdict)
			return 1, nil
		}, nil)
		require.NoError(t, err)
	}
}

// The one who loads a stale value anew is dead: another one does it.
func TestFetch_StaleOfTheDead(t *testing.T) {
	m := couple(t, 1, nil)[0]
	require.NoError(t, m.StoreTTL("k", 1, time.Minute))
	id := m.idOf(new("k"))
	bury(m.lease(m.leaseOff(id, 0)), id, leaseLoading)
	var n atomic.Int64
	v, err := m.Fetch(soon(t), "k", loading(&n, 2), &FetchOptions{TTL: time.Minute, Stale: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 2, v)
}

// No place is free: a stale value is good enough.
func TestFetch_StaleAndCrowded(t *testing.T) {
	m := couple(t, 1, &Options{Capacity: 10})[0]
	require.NoError(t, m.StoreTTL("k", 1, time.Minute))
	for i := range m.plan.leases {
		require.Equal(t, granted, m.lend(keyID{h: i, print: 1}, uint64(time.Hour), 0).verdict)
	}
	v, err := m.Fetch(soon(t), "k", unwanted(t), &FetchOptions{TTL: time.Minute, Stale: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 1, v)
}

// A stale value that was stored again meanwhile, the same one for as long, or for
// longer, stays.
func TestFetch_SameMeanwhile(t *testing.T) {
	for _, change := range []func(m *Map[string, int]) error{
		func(m *Map[string, int]) error { return m.StoreTTL("k", 1, 30*time.Minute) },
		func(m *Map[string, int]) error { return second(m.Expire("k", 45*time.Minute)) },
	} {
		m := couple(t, 1, nil)[0]
		new(sundial).rule(&m.table)
		require.NoError(t, m.StoreTTL("k", 1, 30*time.Minute))
		h := hold(100, nil)
		first := fetching(soon(t), m, "k", h.load, &FetchOptions{TTL: time.Minute, Stale: time.Hour})
		<-h.begun
		require.NoError(t, change(m))
		close(h.let)
		require.Equal(t, fetched{1, nil}, <-first)
		require.Equal(t, map[string]int{"k": 1}, contents(t, m))
	}
}

// The time of a lease is over, and its loader's context then ends: the lease is the
// other one's still.
func TestFetch_LateEnd(t *testing.T) {
	all := couple(t, 2, nil)
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	ctx, cancel := context.WithCancel(soon(t))
	late, quick := hold(0, context.Canceled), hold(2, nil)
	first := fetching(ctx, all[0], "k", late.load, nil)
	<-late.begun
	s.at = usualLease
	second := fetching(soon(t), all[1], "k", quick.load, nil)
	<-quick.begun
	cancel()
	close(late.let)
	require.ErrorIs(t, (<-first).err, context.Canceled)
	require.Equal(t, held, look(all[0], "k").verdict)
	close(quick.let)
	require.Equal(t, fetched{2, nil}, <-second)
}

// Who is stopped while he tells his error has the time of his lease end: nobody waits
// for him, and nobody takes the lease that he will write to.
func TestFetch_Telling(t *testing.T) {
	all := couple(t, 2, nil)
	s := new(sundial)
	s.rule(&all[0].table, &all[1].table)
	c := all[0].lend(all[0].idOf(new("k")), 1, 0)
	holder := &all[0].lease(c.off).holder
	word := c.word&^leaseState | leaseTelling
	holder.Store(word)
	s.at = time.Second
	var n atomic.Int64
	require.Equal(t, fetched{2, nil}, <-fetching(soon(t), all[1], "k", loading(&n, 2), nil))
	require.Equal(t, word, holder.Load())
}

// Who waits for a goroutine of his process goes when his context ends, and what he gets
// is his own.
func TestFetch_Follows(t *testing.T) {
	m := create[string, []byte](t, shmtest.Heap(t, roomy), "m", nil)
	f, first := m.flights.join("k")
	require.True(t, first)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, said, err := m.follow(ctx, "k", f)
	require.False(t, said)
	require.ErrorIs(t, err, context.Canceled)
	v := []byte("value")
	_, _, err = m.say(f, v, nil)
	require.NoError(t, err)
	m.flights.leave("k", f)
	for range 3 {
		v[0] = 'x'
		v, said, err = m.follow(soon(t), "k", f)
		require.NoError(t, err)
		require.True(t, said)
		require.Equal(t, "value", string(v))
	}
}

// The longest time to live, and a clock that is a little behind: the value is fresh.
func TestFetch_Longest(t *testing.T) {
	all := couple(t, 2, &Options{TTL: math.MaxInt64})
	require.NoError(t, all[0].Store("k", 1))
	all[1].clock.shift -= uint64(time.Second)
	for _, m := range all {
		v, err := m.Fetch(soon(t), "k", unwanted(t), &FetchOptions{Stale: time.Second})
		require.NoError(t, err)
		require.Equal(t, 1, v)
	}
}
