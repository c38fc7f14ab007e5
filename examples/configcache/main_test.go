package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is this example, built.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "configcache")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "configcache")
		if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			fmt.Printf("%s\n%v\n", out, err)
			return 1
		}
		return m.Run()
	}())
}

func TestRun(t *testing.T) {
	s := start(t, arenaName(t), "-duration", "3s", "-reload", "100ms", "-kill", "200ms", "-workers", "3")
	sum := s.succeed(t)
	if sum.Kills < 4 || sum.Reloads < 4 || sum.Lookups < 100_000 || sum.Keys < 2000 || sum.Workers != 3 || !sum.Loader {
		t.Errorf("%+v: want at least 4 kills, 4 reloads, 100000 lookups, 2000 keys, by 3 workers", sum)
	}
	if sum.Check != "ok" || sum.SegmentBytes < 1<<20 {
		t.Errorf("%+v: want a segment that was checked", sum)
	}
}

func TestRun_Churn(t *testing.T) {
	s := start(t, arenaName(t), "-duration", "1s", "-churn", "-kill", "50ms")
	if sum := s.succeed(t); sum.Reloads < 2 {
		t.Errorf("%+v: want at least 2 reloads", sum)
	}
}

// TestRun_File changes the set of keys under the workers.
func TestRun_File(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	write(t, file, `{"a": 1, "b": {"c": [2, 3]}, "d": null}`)
	s := start(t, arenaName(t), "-config", file, "-reload", "0", "-kill", "100ms")
	s.await(t, "keys 3  generation 1 ")
	write(t, file, `{"a": `)
	s.await(t, "generation 1 stays")
	write(t, file, `{"a": 1, "z": true}`)
	s.await(t, "keys 2  generation 2 ")
	s.signal(t, os.Interrupt)
	if sum := s.succeed(t); sum.Keys != 2 {
		t.Errorf("%+v: want 2 keys", sum)
	}
}

func TestRun_Refuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	write(t, file, `[1]`)
	for _, c := range []struct{ args, want string }{
		{"-config " + file, "want a JSON object"},
		{"-config " + file + ".none", "no such file"},
		{"-workers 0", "want 1 to"},
		{"-size 1000", "1000"},
		{"more", "unexpected argument"},
	} {
		s := start(t, arenaName(t), strings.Fields(c.args)...)
		if err := s.cmd.Wait(); err == nil || !strings.Contains(s.messages.String(), c.want) {
			t.Errorf("%s: %v, %q; want it to fail and say %q", c.args, err, s.messages.String(), c.want)
		}
	}
}

// TestTwoSupervisors starts two at the same instant: one creates the arena, the
// other joins.
func TestTwoSupervisors(t *testing.T) {
	name := arenaName(t)
	a := start(t, name, "-duration", "4s", "-kill", "200ms")
	b := start(t, name, "-duration", "4s", "-kill", "200ms")
	sumA, sumB := a.succeed(t), b.succeed(t)
	if !sumA.Loader && !sumB.Loader {
		t.Errorf("%+v and %+v: want a loader", sumA, sumB)
	}
	if n := strings.Count(a.messages.String()+b.messages.String(), "joined: another"); n != 1 {
		t.Errorf("%d of 2 joined the other, want 1:\n%s%s", n, a.messages.String(), b.messages.String())
	}
}

// TestTakeover kills the loader beside a guest.
func TestTakeover(t *testing.T) {
	name := arenaName(t)
	a := start(t, name, "-reload", "20ms")
	a.await(t, "generation")
	b := start(t, name, "-reload", "20ms", "-kill", "100ms")
	b.await(t, "joined: another supervisor loads")
	a.signal(t, syscall.SIGKILL)
	a.cmd.Wait()
	b.await(t, "took over")
	b.signal(t, os.Interrupt)
	if sum := b.succeed(t); !sum.Loader {
		t.Errorf("%+v: want the loader", sum)
	}
}

// TestKilledSupervisor starts again at once after a kill, while the workers of
// the killed one may still be there.
func TestKilledSupervisor(t *testing.T) {
	name := arenaName(t)
	for range 3 {
		s := start(t, name, "-churn")
		s.await(t, "generation")
		s.signal(t, syscall.SIGKILL)
		s.cmd.Wait()
	}
	s := start(t, name, "-duration", "1500ms", "-kill", "100ms")
	if sum := s.succeed(t); !sum.Loader || sum.Lookups == 0 {
		t.Errorf("%+v: want a loader and lookups", sum)
	}
}

// TestNobodyReads: who prints into a pipe that nobody reads is killed for it.
func TestNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	s := startTo(t, w, arenaName(t), "-duration", "300ms")
	if err := s.cmd.Wait(); err == nil {
		t.Error("it printed its summary; where?")
	}
}

// running is the program, started.
type running struct {
	cmd      *exec.Cmd
	out      bytes.Buffer
	messages text
}

// text is a buffer that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func start(t *testing.T, name string, args ...string) *running {
	t.Helper()
	return startTo(t, nil, name, args...)
}

// startTo starts the program with its summary going to a file.
func startTo(t *testing.T, out *os.File, name string, args ...string) *running {
	t.Helper()
	s := &running{cmd: exec.Command(program, append([]string{"-json", "-name", name}, args...)...)}
	if s.cmd.Stdout = &s.out; out != nil {
		s.cmd.Stdout = out
	}
	s.cmd.Stderr = &s.messages
	s.cmd.WaitDelay = 10 * time.Second // its workers have its standard error
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	return s
}

func (s *running) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// await waits until the program has said something.
func (s *running) await(t *testing.T, said string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.messages.String(), said); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %q; got\n%s", said, s.messages.String())
		}
	}
}

// succeed waits for the end and returns the summary of a faultless run.
func (s *running) succeed(t *testing.T) (sum summary) {
	t.Helper()
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, s.messages.String(), s.out.String())
	}
	lines := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		t.Fatalf("%v in %q", err, lines)
	}
	if sum.Torn+sum.Wrong+sum.Stale != 0 || sum.LeakedBytes != 0 {
		t.Errorf("%+v: want nothing torn, wrong, stale or leaked", sum)
	}
	return sum
}

// arenaName returns a name of its own for a test, which must leave nothing under it.
func arenaName(t *testing.T) string {
	name := fmt.Sprintf("test.configcache.%d.%s", os.Getpid(), t.Name())
	t.Cleanup(func() {
		left, err := filepath.Glob("/dev/shm/*" + name + "*")
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return name
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
