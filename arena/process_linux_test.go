package arena_test

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m, roles) }

var roles = map[string]func(args []string) int{
	"member":      member,
	"initialiser": initialiser,
}

// withLast is small, removed with its last process.
func withLast() *arena.Options {
	o := small()
	o.Lifetime = arena.RemoveWithLast
	return o
}

// member opens or creates when it is told to, says what it got, and closes when
// it is told to.
func member(args []string) int {
	o := small()
	if len(args) > 1 {
		o = withLast()
	}
	shmtest.Say("ready")
	shmtest.Hear()
	a, err := arena.OpenOrCreate(args[0], o)
	shmtest.Must(err)
	shmtest.Say("%d", nonce(a))
	shmtest.Hear()
	shmtest.Must(a.Close())
	shmtest.Say("closed")
	return 0
}

func number(t testing.TB, c *shmtest.Child) uint64 {
	t.Helper()
	line, ok := c.Line()
	require.True(t, ok)
	n, err := strconv.ParseUint(line, 10, 64)
	require.NoError(t, err)
	return n
}

// members starts n members that wait to be told.
func members(t testing.TB, n int, args ...string) []*shmtest.Child {
	t.Helper()
	var all []*shmtest.Child
	for range n {
		all = append(all, shmtest.Start(t, "member", args...))
	}
	for _, c := range all {
		c.Expect("ready")
	}
	return all
}

func tell(all []*shmtest.Child) {
	for _, c := range all {
		c.Tell("go")
	}
}

// Processes that start together get one arena: one creates it, the others open
// it, and all of them live in it.
func TestProcess_OpenOrCreateTogether(t *testing.T) {
	for range 10 {
		name := shmtest.Name(t)
		all := members(t, 4, name)
		tell(all)
		want := number(t, all[0])
		for _, c := range all[1:] {
			require.Equal(t, want, number(t, c))
		}
		r, err := arena.Open(name, &arena.Options{ReadOnly: true})
		require.NoError(t, err)
		ps, err := r.Processes()
		require.NoError(t, err)
		require.Len(t, ps, 4)
		require.NoError(t, r.Close())
		tell(all)
		for _, c := range all {
			c.Expect("closed")
			require.False(t, c.Wait())
		}
		a, err := arena.Open(name, nil)
		require.NoError(t, err)
		shmtest.Clean(t, a)
		require.NoError(t, a.Close())
	}
}

// A killed process is seen as dead by those who stay, and its slot is free when
// they have recovered.
func TestProcess_KilledIsRecovered(t *testing.T) {
	a := shmtest.Named(t, small())
	c := members(t, 1, a.Name())[0]
	c.Tell("go")
	require.Equal(t, nonce(a), number(t, c))
	ps, err := a.Processes()
	require.NoError(t, err)
	require.Len(t, ps, 2)
	require.Equal(t, c.PID(), ps[1].PID)
	c.Stop()
	n, err := a.Recover()
	require.NoError(t, err)
	require.Zero(t, n, "stopped is not dead")
	c.Kill()
	ps, err = a.Processes()
	require.NoError(t, err)
	require.False(t, ps[1].Alive)
	n, err = a.Recover()
	require.NoError(t, err)
	require.Equal(t, 1, n)
	shmtest.Clean(t, a)
}

func TestRemoveWithLast(t *testing.T) {
	name := shmtest.Name(t)
	a, err := arena.OpenOrCreate(name, withLast())
	require.NoError(t, err)
	b, err := arena.OpenOrCreate(name, nil)
	require.NoError(t, err)
	r, err := arena.Open(name, &arena.Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	removed, err := b.Removed()
	require.NoError(t, err)
	require.False(t, removed)
	require.NoError(t, b.Close())
	requireGone(t, name)
	removed, err = r.Removed()
	require.NoError(t, err)
	require.True(t, removed)
	require.NoError(t, r.Close())
}

// The two last ones leave at the same time: each must not leave it to the other.
func TestB9c_TwoLast(t *testing.T) {
	for range 100 {
		name := shmtest.Name(t)
		a, err := arena.OpenOrCreate(name, withLast())
		require.NoError(t, err)
		b, err := arena.OpenOrCreate(name, withLast())
		require.NoError(t, err)
		start := time.Now()
		var both sync.WaitGroup
		for _, x := range []*arena.Arena{a, b} {
			both.Go(func() {
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		requireLeft(t, name, time.Since(start))
	}
	for range 10 {
		name := shmtest.Name(t)
		all := members(t, 2, name, "last")
		tell(all)
		require.Equal(t, number(t, all[0]), number(t, all[1]))
		start := time.Now()
		tell(all)
		for _, c := range all {
			c.Expect("closed")
		}
		requireLeft(t, name, time.Since(start))
	}
}

// Nobody is left to remove the name when the last process is killed: the next
// opener finds nothing, a creator makes a new one, and two of them make one.
func TestB9d_LastIsKilled(t *testing.T) {
	for range 10 {
		name := shmtest.Name(t)
		c := members(t, 1, name, "last")[0]
		c.Tell("go")
		old := number(t, c)
		c.Kill()
		_, err := arena.Open(name, &arena.Options{ReadOnly: true})
		require.ErrorIs(t, err, fs.ErrNotExist)
		all := members(t, 3, name, "last")
		tell(all)
		fresh := number(t, all[0])
		require.NotEqual(t, old, fresh)
		require.Equal(t, fresh, number(t, all[1]))
		require.Equal(t, fresh, number(t, all[2]))
		start := time.Now()
		tell(all)
		for _, c := range all {
			c.Expect("closed")
		}
		requireLeft(t, name, time.Since(start))
	}
}

func TestB9d_OpenAfterKill(t *testing.T) {
	name := shmtest.Name(t)
	c := members(t, 1, name, "last")[0]
	c.Tell("go")
	number(t, c)
	c.Kill()
	_, err := arena.Open(name, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	requireGone(t, name)
}

// Processes come and go at random, until nobody is there: each round's arena is
// gone by then, whoever was last.
func TestB9_ComeAndGo(t *testing.T) {
	name := shmtest.Name(t)
	o := withLast()
	o.Processes = 8
	for range 20 {
		start := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					a, err := arena.OpenOrCreate(name, o)
					if err != nil {
						t.Error(err)
						return
					}
					if removed, err := a.Removed(); removed || err != nil {
						t.Error("it was removed while somebody had it open", err)
					}
					if err := a.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		requireLeft(t, name, time.Since(start))
	}
}

// Close drains what runs: an operation that is inside when Close begins has
// ended when Close returns, and nothing of this process is left in its slot.
func TestB8_CloseDrains(t *testing.T) {
	seg := shmtest.Segment(t, small())
	keeper := shmtest.OnSegment(t, seg, nil)
	for range 50 {
		a, err := arena.Attach(seg, nil)
		require.NoError(t, err)
		f := insides(a)
		r, i, ok := f.Pool.Take() // somebody is inside
		require.True(t, ok)
		closed := make(chan error)
		go func() { closed <- a.Close() }()
		for { // until it refuses new ones
			_, j, ok := f.Pool.Take()
			if !ok {
				break
			}
			f.Pool.Give(j)
		}
		_, err = a.OpenObject("x", arena.Spec{})
		if !errors.Is(err, arena.ErrClosed) {
			require.ErrorIs(t, err, fs.ErrNotExist) // not closed yet
		}
		select {
		case <-closed:
			t.Fatal("closed while an operation was inside")
		default:
		}
		alive, err := f.Owner.Alive(f.Owner.ID())
		require.NoError(t, err)
		require.True(t, alive)
		id, used := f.Slots.Current(f.Owner.ID().Slot())
		require.True(t, used, "it has let go of its slot")
		require.Equal(t, f.Owner.ID(), id)
		require.False(t, r.Open())
		f.Pool.Give(i)
		require.NoError(t, <-closed)
		_, used = f.Slots.Current(f.Owner.ID().Slot())
		require.False(t, used)
	}
	shmtest.Clean(t, keeper)
}

// The same for operations that need no record.
func TestB8_CloseDrainsInside(t *testing.T) {
	seg := shmtest.Segment(t, small())
	a, err := arena.Attach(seg, nil)
	require.NoError(t, err)
	f := insides(a)
	require.NoError(t, a.Enter())
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	for { // until it refuses new ones
		_, i, ok := f.Pool.Take()
		if !ok {
			break
		}
		f.Pool.Give(i)
	}
	require.ErrorIs(t, a.Enter(), arena.ErrClosed)
	for range 1000 {
		runtime.Gosched()
	}
	_, used := f.Slots.Current(0)
	require.True(t, used, "it has let go of its slot")
	a.Exit()
	require.NoError(t, <-closed)
}

// After Close a goroutine that is late stores into memory of our own, and reads
// zeros: it neither faults nor reaches the segment.
func TestB8_LateStore(t *testing.T) {
	a := shmtest.Named(t, small())
	b := shmtest.Again(t, a, nil)
	c, err := arena.Open(a.Name(), nil)
	require.NoError(t, err)
	word := headerWord(c, wordNonce)
	want := word.Load()
	require.NoError(t, c.Close())
	require.Zero(t, word.Load())
	word.Store(4711)
	require.Equal(t, want, nonce(a))
	require.Equal(t, want, nonce(b))
}

// Operations of many goroutines run while the arena is closed under them; the
// segment stays sound.
func TestB8_CloseUnderLoad(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, open shmtest.Opener) {
		keeper, a := open(small())
		if keeper == a {
			return // the other backings have two attaches
		}
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for {
					var err error
					switch i {
					case 0:
						_, err = a.Recover()
					case 1:
						err = a.Remove("x")
					case 2:
						err = a.Rename("x", "y")
					default:
						_, err = a.OpenObject("x", arena.Spec{})
					}
					if errors.Is(err, arena.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond) // proves nothing, lets them run
		require.NoError(t, a.Close())
		all.Wait()
		r := shmtest.Clean(t, keeper)
		require.Len(t, r.Processes, 1)
	})
}

// initialiser opens with an init function that says so and waits to be told how
// to end.
func initialiser(args []string) int {
	o := small()
	o.Init = func(*arena.Arena) error {
		shmtest.Say("init")
		switch shmtest.Hear() {
		case "fail":
			return errors.New("no luck")
		case "panic":
			panic("no luck at all")
		}
		return nil
	}
	defer func() {
		if recover() != nil {
			shmtest.Say("panicked")
			shmtest.Hear()
		}
	}()
	shmtest.Say("ready")
	shmtest.Hear()
	a, err := arena.OpenOrCreate(args[0], o)
	if err != nil {
		shmtest.Say("error")
		shmtest.Hear()
		return 0
	}
	shmtest.Say("open")
	shmtest.Hear()
	shmtest.Must(a.Close())
	return 0
}

func initialisers(t testing.TB, n int, name string) []*shmtest.Child {
	t.Helper()
	var all []*shmtest.Child
	for range n {
		all = append(all, shmtest.Start(t, "initialiser", name))
	}
	for _, c := range all {
		c.Expect("ready")
		c.Tell("go")
	}
	return all
}

// next returns the first of the children that says something, and what.
func next(t testing.TB, all []*shmtest.Child) (*shmtest.Child, string) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		for _, c := range all {
			if line, ok := c.Poll(); ok {
				return c, line
			}
		}
	}
	t.Fatal("nobody says anything")
	return nil, ""
}

func without(all []*shmtest.Child, c *shmtest.Child) (rest []*shmtest.Child) {
	for _, x := range all {
		if x != c {
			rest = append(rest, x)
		}
	}
	return rest
}

// Init is completed once. One that fails, panics, or is killed in it leaves it
// to the next; the others wait, and run none when it is completed.
func TestB16_InitExactlyOnce(t *testing.T) {
	for _, end := range []string{"succeed", "fail", "panic", "killed"} {
		t.Run(end, func(t *testing.T) {
			name := shmtest.Name(t)
			all := initialisers(t, 3, name)
			first, line := next(t, all)
			require.Equal(t, "init", line)
			r, err := arena.Open(name, &arena.Options{ReadOnly: true})
			require.ErrorIs(t, err, arena.ErrNotReady, "%v", r)
			rest := without(all, first)
			for _, c := range rest {
				_, ok := c.Poll()
				require.False(t, ok, "two at the same time")
			}
			inits := 1
			switch end {
			case "killed":
				first.Kill()
			case "succeed":
				first.Tell(end)
				first.Expect("open")
			default:
				first.Tell(end)
				first.Expect(map[string]string{"fail": "error", "panic": "panicked"}[end])
			}
			for opened := 0; opened < len(rest); {
				c, line := next(t, rest)
				switch line {
				case "init":
					inits++
					c.Tell("succeed")
				case "open":
					opened++
				default:
					t.Fatalf("a child said %q", line)
				}
			}
			require.Equal(t, map[bool]int{true: 1, false: 2}[end == "succeed"], inits)
			a, err := arena.Open(name, nil)
			if end == "killed" || end == "succeed" {
				require.NoError(t, err)
				shmtest.Clean(t, a)
				require.NoError(t, a.Close())
			}
		})
	}
}

// Who has no init function does not get an arena that needs one, and does not
// wait for somebody to bring one.
func TestB16_NotReady(t *testing.T) {
	name := shmtest.Name(t)
	o := small()
	bad := errors.New("no luck")
	o.Init = func(a *arena.Arena) error {
		require.Equal(t, name, a.Name())
		return bad
	}
	_, err := arena.Create(name, o)
	require.ErrorIs(t, err, bad)
	_, err = arena.Open(name, nil)
	require.ErrorIs(t, err, arena.ErrNotReady)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = arena.OpenOrCreate(name, small())
	require.ErrorIs(t, err, arena.ErrNotReady)
	n := 0
	o.Init = func(*arena.Arena) error { n++; return nil }
	for range 3 {
		a, err := arena.OpenOrCreate(name, o)
		require.NoError(t, err)
		require.EqualValues(t, 1, headerWord(a, wordReady).Load())
		require.NoError(t, a.Close())
	}
	require.Equal(t, 1, n)
}

// What init returns is not mistaken for news about the arena's name.
func TestB16_InitErrors(t *testing.T) {
	for _, bad := range []error{fs.ErrNotExist, fs.ErrExist, arena.ErrNotReady} {
		name := shmtest.Name(t)
		o, n := small(), 0
		o.Init = func(*arena.Arena) error {
			n++
			return fmt.Errorf("reading the configuration: %w", bad)
		}
		for i := range 3 {
			done := make(chan error)
			go func() {
				_, err := arena.OpenOrCreate(name, o)
				done <- err
			}()
			select {
			case err := <-done:
				require.ErrorIs(t, err, bad)
				require.ErrorContains(t, err, "init: reading the configuration")
				require.Equal(t, i+1, n)
			case <-time.After(20 * time.Second):
				t.Fatal("it tries again and again")
			}
		}
	}
}

// Those who wait for a living initialiser are told so, and whom they wait for.
func TestB16_StalledInit(t *testing.T) {
	name := shmtest.Name(t)
	c := initialisers(t, 1, name)[0]
	c.Expect("init")
	c.Stop()
	stalls := make(chan arena.Stall, 10)
	opened := make(chan error)
	go func() {
		o := small()
		o.Init = func(*arena.Arena) error { return errors.New("a second init") }
		o.OnStall = func(s arena.Stall) { stalls <- s }
		a, err := arena.OpenOrCreate(name, o)
		if err == nil {
			err = a.Close()
		}
		opened <- err
	}()
	s := <-stalls
	require.Equal(t, name, s.Arena)
	require.Equal(t, c.PID(), s.Holder.PID)
	require.GreaterOrEqual(t, s.Waited, time.Second)
	c.Cont()
	c.Tell("succeed")
	require.NoError(t, <-opened)
}
