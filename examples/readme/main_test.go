package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shmkit/shmkit/arena"
)

// TestWriterKilled is the README's session: a reader, a writer that is killed
// in mid-loop, and the next one.
func TestWriterKilled(t *testing.T) {
	name := fmt.Sprintf("test.readme.%d", os.Getpid())
	program := build(t, name)
	t.Cleanup(func() {
		if err := arena.Remove(name, nil); err != nil {
			t.Error(err)
		}
	})
	// Created here, so that the reader need not wait for the writer to have done so.
	writer := start(t, program, "write")
	lines := read(t, program)
	first := whole(t, lines)
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	writer.Wait()
	stopped, again := first, whole(t, lines)
	for tries := 0; again != stopped && tries < 5; tries++ { // a line or two may be from before
		stopped, again = again, whole(t, lines)
	}
	if again != stopped || stopped < first {
		t.Errorf("read %d, then %d and %d without a writer", first, stopped, again)
	}
	start(t, program, "write")
	for next := stopped; next == stopped; {
		next = whole(t, lines)
	}
}

// TestReadme compares the programs in the README with this one.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "\n") // without its doc comment
	shown := 0
	for _, block := range strings.Split(string(readme), "```go\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(block, "package main") {
			continue
		}
		shown++
		if strings.TrimSpace(block) != strings.TrimSpace(program) {
			t.Errorf("the README shows another program:\n%s\nwant\n%s", block, program)
		}
	}
	if shown == 0 {
		t.Error("the README shows no program")
	}
}

// build builds the program as it stands, but for the name of the arena.
func build(t *testing.T, name string) string {
	t.Helper()
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	edited := filepath.Join(dir, "main.go")
	text := strings.ReplaceAll(string(source), `"shop"`, fmt.Sprintf("%q", name))
	if err := os.WriteFile(edited, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("main.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {here: edited}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v", out, err)
	}
	return program
}

func start(t *testing.T, program, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, role)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// read starts a reader as soon as there is an arena to read.
func read(t *testing.T, program string) *bufio.Scanner {
	t.Helper()
	for {
		cmd := exec.Command(program, "read")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if lines := bufio.NewScanner(out); lines.Scan() {
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
			})
			return lines
		}
		cmd.Wait() // it was too early
	}
}

// whole reads a line and returns the version it shows; a torn value fails.
func whole(t *testing.T, lines *bufio.Scanner) (n uint64) {
	t.Helper()
	if !lines.Scan() {
		t.Fatal("the reader has ended")
	}
	line := lines.Text()
	if !strings.HasSuffix(line, "true whole: true") {
		t.Fatalf("the reader got %q", line)
	}
	if _, err := fmt.Sscanf(line, "{%d", &n); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return n
}
