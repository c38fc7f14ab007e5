package shm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What child processes of these tests do, chosen by childVariable. A child
// says "ready", works when its standard input ends, and prints one line more.
var childWork = map[string]func(dir, name string) string{
	"race":           func(dir, name string) string { return strconv.Itoa(raceFor(name, dir, createNamed)) },
	"race-hidden":    func(dir, name string) string { return strconv.Itoa(raceFor(name, dir, createHidden)) },
	"killed":         func(dir, name string) string { return dieIn(dir, name, createNamed) },
	"killed-hidden":  func(dir, name string) string { return dieIn(dir, name, createHidden) },
	"file-size":      hitFileSizeLimit,
	"without-proc":   createWithoutProc,
	"mode-and-umask": createUnderUmask,
}

const childVariable = "SHMKIT_TEST_SHM_CHILD"

// TestChild is no test: it is where the other processes of the tests start.
func TestChild(t *testing.T) {
	work, dir, name := splitChild(os.Getenv(childVariable))
	if work == "" {
		t.Skip("the child processes of other tests run here")
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(childWork[work](dir, name))
	os.Exit(0)
}

func splitChild(s string) (work, dir, name string) {
	work, rest, _ := strings.Cut(s, " ")
	dir, name, _ = strings.Cut(rest, " ")
	return work, dir, name
}

// A child is another process that runs TestChild.
type child struct {
	*exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func startChild(t *testing.T, work, dir, name string, attr *syscall.SysProcAttr) *child {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+work+" "+dir+" "+name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if err := cmd.Start(); errors.Is(err, fs.ErrPermission) {
		t.Skipf("start: %v", err)
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	c := &child{cmd, in, bufio.NewReader(out)}
	require.Equal(t, "ready", c.line(t))
	return c
}

func (c *child) line(t *testing.T) string {
	line, err := c.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// finish lets the child work and returns what it said.
func (c *child) finish(t *testing.T) string {
	require.NoError(t, c.in.Close())
	line := c.line(t)
	require.NoError(t, c.Wait())
	return line
}

// createHidden is createNamed on a file system without unnamed files.
func createHidden(p plan) (*Segment, error) {
	d, err := openHidden(p.path)
	if err != nil {
		return nil, err
	}
	return build(p, d)
}

func testPlan(name, dir string, prepare func(*Segment) error) plan {
	p, err := newPlan(&Options{Size: 4096, Prepare: prepare})
	if err != nil {
		panic(err)
	}
	p.name = name
	if p.path, err = pathOf(dir, name); err != nil {
		panic(err)
	}
	return p
}

// raceFor has 8 goroutines create one name and returns how many did.
func raceFor(name, dir string, create func(plan) (*Segment, error)) int {
	var won atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := create(testPlan(name, dir, func(s *Segment) error {
				b, err := s.View().Slice(0, 8)
				copy(b, "complete")
				return err
			}))
			switch {
			case err == nil:
				won.Add(1)
				s.Close()
			case !errors.Is(err, fs.ErrExist):
				panic(err)
			}
		})
	}
	all.Wait()
	return int(won.Load())
}

// Of 40 creators in 5 processes one wins, whichever way they create.
func TestCreate_Race(t *testing.T) {
	dir := testDir(t)
	for _, name := range []string{"named", "hidden"} {
		var children []*child
		for i := range 4 {
			work := []string{"race", "race-hidden"}[i%2]
			children = append(children, startChild(t, work, dir, name, nil))
		}
		for _, c := range children {
			require.NoError(t, c.in.Close())
		}
		create := map[string]func(plan) (*Segment, error){"named": createNamed, "hidden": createHidden}[name]
		won := raceFor(name, dir, create)
		for _, c := range children {
			n, err := strconv.Atoi(c.finishLate(t))
			require.NoError(t, err)
			won += n
		}
		require.Equal(t, 1, won)
		s := mustOpen(t, name, &OpenOptions{Dir: dir})
		require.Equal(t, "complete", string(slice(t, s, 0, 8)))
		require.Equal(t, []string{filePrefix + name}, filesOf(t, dir, name))
	}
}

// finishLate is finish for a child that was let go already.
func (c *child) finishLate(t *testing.T) string {
	line := c.line(t)
	require.NoError(t, c.Wait())
	return line
}

func TestCreate_Exists(t *testing.T) {
	name := testName(t)
	s := mustCreate(t, name, &Options{Size: 4096})
	copy(slice(t, s, 0, 4), "mine")
	_, err := Create(name, &Options{Size: 1 << 40, Prepare: func(*Segment) error {
		t.Error("prepared, though the name was taken from the start")
		return nil
	}})
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, s.Path())
	require.Equal(t, "mine", string(slice(t, mustOpen(t, name, nil), 0, 4)))
}

func TestCreate_NoDirectory(t *testing.T) {
	_, err := Create("x", &Options{Size: 1, Dir: filepath.Join(t.TempDir(), "missing")})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// While a draft is prepared nobody can see it, not even under another name
// that a sweeper would remove.
func TestCreate_Unseen(t *testing.T) {
	eachCreate(t, func(t *testing.T, create func(plan) (*Segment, error)) {
		dir := testDir(t)
		s, err := create(testPlan("draft", dir, func(s *Segment) error {
			list, err := List(dir) // sweeps
			require.NoError(t, err)
			require.Empty(t, list)
			_, err = Open("draft", &OpenOptions{Dir: dir})
			require.ErrorIs(t, err, fs.ErrNotExist)
			requireLinked(t, false, s)
			b, err := s.Locks()
			require.NoError(t, err)
			return b.Close()
		}))
		require.NoError(t, err)
		defer s.Close()
		requireLinked(t, true, s)
		require.Equal(t, []string{"shmkit.draft"}, filesOf(t, dir, ""))
	})
}

func eachCreate(t *testing.T, test func(t *testing.T, create func(plan) (*Segment, error))) {
	t.Run("unnamed", func(t *testing.T) { test(t, createNamed) })
	t.Run("hidden", func(t *testing.T) { test(t, createHidden) })
}

func TestCreate_PrepareFails(t *testing.T) {
	eachCreate(t, func(t *testing.T, create func(plan) (*Segment, error)) {
		dir := testDir(t)
		sad := errors.New("sad")
		var kept *Segment
		s, err := create(testPlan("x", dir, func(s *Segment) error { kept = s; return sad }))
		require.ErrorIs(t, err, sad)
		require.Nil(t, s)
		requireClosed(t, kept)

		require.PanicsWithValue(t, "ouch", func() {
			create(testPlan("x", dir, func(s *Segment) error { kept = s; panic("ouch") }))
		})
		requireClosed(t, kept)

		_, err = create(testPlan("x", dir, func(s *Segment) error { return s.Close() }))
		require.ErrorIs(t, err, ErrClosed)
		require.Empty(t, filesOf(t, dir, ""))
	})
}

// A creator killed before the link leaves nothing, or a hidden file that is
// swept. The sweeper does not touch the file of a creator who lives.
func TestCreate_Killed(t *testing.T) {
	dir := testDir(t)
	for _, work := range []string{"killed", "killed-hidden"} {
		c := startChild(t, work, dir, "dead", nil)
		require.NoError(t, c.in.Close())
		require.Equal(t, "prepared", c.line(t))
		require.Error(t, c.Wait())
		require.True(t, c.ProcessState.Sys().(syscall.WaitStatus).Signaled())

		left := filesOf(t, dir, "dead")
		if work == "killed" {
			require.Empty(t, left)
			continue
		}
		require.Len(t, left, 1)
		require.True(t, strings.HasPrefix(left[0], ".shmkit.dead."), left[0])
		list, err := List(dir)
		require.NoError(t, err)
		require.Empty(t, list)
		require.Empty(t, filesOf(t, dir, "dead"))
	}
}

func dieIn(dir, name string, create func(plan) (*Segment, error)) string {
	_, err := create(testPlan(name, dir, func(*Segment) error {
		fmt.Println("prepared")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}))
	return fmt.Sprint("alive: ", err)
}

// A sweeper removes a hidden file unless somebody holds it.
func TestCreate_Sweep(t *testing.T) {
	dir := testDir(t)
	path := filepath.Join(dir, ".shmkit.x.random")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	lock, err := lockHidden(path)
	require.NoError(t, err)
	require.NotNil(t, lock)
	again, err := lockHidden(path)
	require.NoError(t, err)
	require.Nil(t, again, "held by somebody else")
	require.NoError(t, sweep(dir))
	require.FileExists(t, path)
	require.NoError(t, lock.Close())
	require.NoError(t, sweep(dir))
	require.NoFileExists(t, path)
	gone, err := lockHidden(path)
	require.NoError(t, err)
	require.Nil(t, gone)
}

// A sweeper may come between the creation of a hidden file and its lock. The
// creator notices, whatever there is by then under the name, and in
// openHidden makes another file.
func TestCreate_SweptTooEarly(t *testing.T) {
	path := filepath.Join(testDir(t), "shmkit.x")
	for event, happen := range map[string]func(hidden string) error{
		"removed":  func(string) error { return sweep(filepath.Dir(path)) },
		"replaced": func(hidden string) error { return errors.Join(os.Remove(hidden), os.WriteFile(hidden, nil, 0o600)) },
		"held": func(hidden string) error {
			lock, err := lockHidden(hidden)
			if err == nil {
				t.Cleanup(func() { lock.Close() })
			}
			return err
		},
	} {
		d := &draft{path: hiddenPath(path)}
		require.NoError(t, d.create(), event)
		require.NoError(t, happen(d.path), event)
		require.ErrorIs(t, d.claim(), errSwept, event)
		d.discard()
	}
}

// Sweepers run against creators all the time; no creator is disturbed.
func TestCreate_HiddenUnderSweepers(t *testing.T) {
	dir := testDir(t)
	var stop atomic.Bool
	var sweepers, creators sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			for !stop.Load() {
				if _, err := List(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 4 {
		creators.Go(func() {
			for j := range 50 {
				s, err := createHidden(testPlan(fmt.Sprintf("s-%d-%d", i, j), dir, nil))
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			}
		})
	}
	creators.Wait()
	stop.Store(true)
	sweepers.Wait()
	list, err := List(dir)
	require.NoError(t, err)
	require.Len(t, list, 200)
	require.Len(t, filesOf(t, dir, ""), 200)
}

func TestCreate_Mode(t *testing.T) {
	dir := testDir(t)
	require.Equal(t, "<nil>", startChild(t, "mode-and-umask", dir, "wide", nil).finish(t))
	fi, err := os.Stat(filepath.Join(dir, "shmkit.wide"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o664), fi.Mode())
}

func createUnderUmask(dir, name string) string {
	unix.Umask(0o077)
	_, err := Create(name, &Options{Size: 1, Mode: 0o664, Dir: dir})
	return fmt.Sprint(err)
}

// A limit of the process is no space too, and its signal kills nobody.
func TestCreate_FileSizeLimit(t *testing.T) {
	dir := testDir(t)
	require.Equal(t, "true true", startChild(t, "file-size", dir, "big", nil).finish(t))
	require.Empty(t, filesOf(t, dir, ""))
}

func hitFileSizeLimit(dir, name string) string {
	lim := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &lim); err != nil {
		return err.Error()
	}
	_, err := Create(name, &Options{Size: 2 << 20, Dir: dir})
	return fmt.Sprint(errors.Is(err, ErrNoSpace), errors.Is(err, unix.EFBIG))
}

// Without /proc a file without a name could not be linked, and descriptors
// could not be opened again; names must do.
func TestCreate_WithoutProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can hide /proc from a child")
	}
	dir := testDir(t)
	c := startChild(t, "without-proc", dir, "x", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	require.Equal(t, "true", c.finish(t))
	require.Equal(t, []string{"shmkit.x"}, filesOf(t, dir, ""))
}

func createWithoutProc(dir, name string) string {
	if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
		return err.Error()
	}
	s, err := Create(name, &Options{Size: 1, Dir: dir})
	if err != nil {
		return err.Error()
	}
	one, err := s.Locks()
	if err != nil {
		return err.Error()
	}
	two, err := s.Locks()
	if err != nil {
		return err.Error()
	}
	if ok, err := one.TryLock(1 << 62); !ok || err != nil {
		return fmt.Sprint(ok, err)
	}
	held, err := two.Held(1<<62, 1)
	if err != nil {
		return err.Error()
	}
	os.Rename(s.Path(), s.Path()+"-away")
	os.WriteFile(s.Path(), []byte("another"), 0o600)
	if _, err := s.Locks(); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprint("locks of another file: ", err)
	}
	os.Rename(s.Path()+"-away", s.Path())
	return fmt.Sprint(held)
}
