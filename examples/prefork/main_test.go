package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		dir, err := os.MkdirTemp("", "prefork")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "prefork")
		if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			fmt.Printf("%s\n%v\n", out, err)
			return 1
		}
		return m.Run()
	}())
}

// TestRun is the demonstration, smaller.
func TestRun(t *testing.T) {
	s := start(t, arenaName(t), "-workers", "3", "-crowd", "150", "-limit", "40", "-duration", "1s", "-kill", "100ms")
	sum := s.succeed(t)
	if len(sum.Judgements) != 5 || sum.Workers != 3 || sum.Kills < 2 || sum.Starts < 3+sum.Kills+3 || sum.Visits < 100 || sum.SegmentBytes < 1<<20 {
		t.Errorf("%+v: want 5 judgements, 3 workers, kills, and visits", sum)
	}
	for _, j := range sum.Judgements {
		if !j.OK {
			t.Errorf("%s: %s", j.Name, j.Said)
		}
	}
}

// TestServe has workers killed and replaced while one client goes on.
func TestServe(t *testing.T) {
	s := start(t, arenaName(t), "-serve", "-workers", "2")
	v := &visitor{client: newClient(s.url(t), true), name: "ann"}
	defer v.close()
	ctx := context.Background()
	if err := v.login(ctx); err != nil {
		t.Fatal(err)
	}
	visit := func() (pid int) {
		for before := v.acked; v.acked == before; {
			if err := v.visit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		a, err := v.get(ctx, "/session", v.cookie)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.confirm(a); err != nil {
			t.Fatal(err)
		}
		return a.worker
	}
	victim := visit()
	kill(t, victim)
	s.await(t, fmt.Sprintf("worker %d: signal: killed; ", victim))
	visit()
	broken := v.broken.Load()
	for n := 1; n <= 2; n++ {
		s.signal(t, syscall.SIGHUP)
		for strings.Count(s.said.String(), "rolled: all 2 workers are new") < n {
			visit()
		}
	}
	visit()
	if b := v.broken.Load() - broken; b != 0 {
		t.Errorf("%d requests broke while workers were replaced", b)
	}
	s.signal(t, syscall.SIGTERM)
	if sum := s.succeed(t); sum.Visits != v.acked || sum.Starts != 7 {
		t.Errorf("%+v: want %d visits, and 7 workers started", sum, v.acked)
	}
}

// TestKilledSupervisor: when it is killed, its workers leave, and the last one
// removes the arena. Meanwhile the next supervisor waits.
func TestKilledSupervisor(t *testing.T) {
	name := arenaName(t)
	s := start(t, name, "-serve", "-workers", "4")
	c := newClient(s.url(t), false)
	busy := make(chan error, 1)
	go func() { // a worker has this in hand
		a, err := c.get(context.Background(), "/report?id=1&work=3s", nil)
		if err == nil {
			err = a.want(http.StatusOK)
		}
		busy <- err
	}()
	s.loading(t, c)
	s.signal(t, syscall.SIGKILL)
	s.cmd.Wait()
	next := start(t, name, "-serve")
	if err := <-busy; err != nil {
		t.Errorf("what the worker had in hand: %v", err)
	}
	s.gone(t)
	next.url(t)
	next.signal(t, os.Interrupt)
	next.succeed(t)
}

// TestInterrupt: a demonstration that was not finished has shown nothing.
func TestInterrupt(t *testing.T) {
	s := start(t, arenaName(t), "-duration", "1h", "-kill", "50ms")
	s.await(t, "takes its place")
	s.signal(t, os.Interrupt)
	if err := s.cmd.Wait(); err == nil {
		t.Error("it was interrupted, and says that all is well")
	}
	s.gone(t)
	if said := s.said.String(); !strings.Contains(said, "ended during traffic") {
		t.Errorf("it says %s", said)
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
	s := startTo(t, w, arenaName(t), "-serve")
	s.url(t)
	s.signal(t, os.Interrupt)
	if err := s.cmd.Wait(); err == nil {
		t.Error("it printed its summary; where?")
	}
	s.gone(t)
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-workers 1", "want 2 to"},
		{"-crowd 0", "want 1 to"},
		{"-limit 0", "want 1 to"},
		{"-window 1ms", "want 1s to"},
		{"-kill 0", "not above 0"},
		{"-size 1000", "1000"},
		{"-addr nowhere", "nowhere"},
		{"more", "unexpected argument"},
	} {
		s := start(t, arenaName(t), strings.Fields(c.args)...)
		err := s.cmd.Wait()
		s.gone(t)
		if said := s.said.String(); err == nil || !strings.Contains(said, c.want) {
			t.Errorf("%s: %v, %q; want it to fail and say %q", c.args, err, said, c.want)
		}
	}
}

// running is the program, started.
type running struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	said transcript
	eof  chan struct{} // closed when nobody has the standard error any more
}

// transcript is what was said so far.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *transcript) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *transcript) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func start(t *testing.T, name string, args ...string) *running {
	t.Helper()
	return startTo(t, nil, name, args...)
}

// startTo has it print its summary to a file.
func startTo(t *testing.T, summary *os.File, name string, args ...string) *running {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &running{cmd: exec.Command(program, append([]string{"-json", "-name", name}, args...)...), eof: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, w
	if summary != nil {
		s.cmd.Stdout = summary
	}
	err = s.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.eof)
		defer r.Close()
		io.Copy(&s.said, bufio.NewReader(r))
	}()
	t.Cleanup(func() { s.cmd.Process.Kill() })
	return s
}

func (s *running) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

const deadline = time.Minute

// await waits until the program has said something.
func (s *running) await(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(deadline); !strings.Contains(s.said.String(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %q; got\n%s", what, s.said.String())
		}
	}
}

var address = regexp.MustCompile(`serve on (http://\S+)`)

func (s *running) url(t *testing.T) string {
	t.Helper()
	s.await(t, "serve on http")
	return address.FindStringSubmatch(s.said.String())[1]
}

// loading waits until a worker loads a report.
func (s *running) loading(t *testing.T, c *client) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		a, err := c.get(context.Background(), "/stats", nil)
		if err != nil {
			t.Fatal(err)
		}
		var st stats
		if err := json.Unmarshal(a.body, &st); err != nil {
			t.Fatal(err)
		}
		if len(st.Loading) != 0 {
			return
		}
	}
	t.Fatal("no worker loads")
}

// gone waits until the program and all its workers have ended: they have its
// standard error.
func (s *running) gone(t *testing.T) {
	t.Helper()
	select {
	case <-s.eof:
	case <-time.After(deadline):
		t.Fatalf("somebody is left; they said\n%s", s.said.String())
	}
}

// succeed waits for the end and returns the summary of a faultless run.
func (s *running) succeed(t *testing.T) (sum summary) {
	t.Helper()
	err := s.cmd.Wait()
	s.gone(t)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, s.said.String(), s.out.String())
	}
	if err := json.Unmarshal(s.out.Bytes(), &sum); err != nil {
		t.Fatalf("%v in %q", err, s.out.String())
	}
	if !sum.OK || sum.Check != "ok" || sum.LeakedBytes != 0 {
		t.Errorf("%+v: want all well and nothing leaked", sum)
	}
	return sum
}

// arenaName returns a name of its own for a test, which must leave nothing under it.
func arenaName(t *testing.T) string {
	name := fmt.Sprintf("test.prefork.%d.%s", os.Getpid(), t.Name())
	t.Cleanup(func() {
		left, err := filepath.Glob("/dev/shm/*" + name + "*")
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return name
}
