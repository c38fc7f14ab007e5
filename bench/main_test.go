package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if serving() {
		exit(serve(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// TestRun runs every section for a moment.
func TestRun(t *testing.T) {
	if err := run(config{sizes: []int{1000}, rounds: 1, round: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	requireNothingLeft(t)
}

// TestGrow times some insertions, and counts what some entries take.
func TestGrow(t *testing.T) {
	var out strings.Builder
	if err := errors.Join(growTo(150_000, &out), sizedFor(30_000, &out)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), " 0.0") || strings.Count(out.String(), "KiB") != 3 {
		t.Error(out.String())
	}
	requireNothingLeft(t)
}

func requireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(fmt.Sprintf("/dev/shm/*bench.%d.*", os.Getpid()))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestZipf compares the draws with the distribution.
func TestZipf(t *testing.T) {
	const n, s = 1000, 0.99
	count := make([]int, n)
	for _, k := range zipf(n, s, 1) {
		count[k]++
	}
	sum, first, most := 0.0, 0, 0
	for k := range n {
		sum += math.Pow(float64(k+1), -s)
		if count[k] > count[most] {
			most = k
		}
	}
	first = count[most]
	if want := draws / sum; math.Abs(float64(first)-want) > want/20 {
		t.Errorf("the most popular key was drawn %d times, want about %.0f", first, want)
	}
}

func TestKeyNames(t *testing.T) {
	if k := keyNames(1001)[1000]; k != "key:000000001000" {
		t.Errorf("key 1000 is %q", k)
	}
}
