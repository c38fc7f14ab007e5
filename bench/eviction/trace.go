package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// point is a trace and a capacity.
type point struct {
	name     string
	capacity int
	load     func() ([]uint64, error) // synthetic ones are made when they are wanted
}

// points returns what the flags ask for: each trace of the directory, with room
// for 2, 10 and 30 percent of its keys.
func (c config) points() ([]point, error) {
	if c.synthetic {
		return syntheticPoints(), nil
	}
	names, err := filepath.Glob(filepath.Join(c.traces, "*"+suffix))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no *%s in %q (-traces DIR, or -synthetic)", suffix, c.traces)
	}
	var all []point
	for _, name := range names {
		keys, err := readTrace(name)
		if err != nil {
			return nil, err
		}
		n := distinct(keys)
		for _, percent := range []int{2, 10, 30} {
			short := strings.TrimSuffix(filepath.Base(name), suffix)
			all = append(all, point{short, max(1, n*percent/100), func() ([]uint64, error) { return keys, nil }})
		}
	}
	return all, nil
}

const suffix = ".keys.gz"

func distinct(keys []uint64) int {
	seen := make(map[uint64]struct{})
	for _, k := range keys {
		seen[k] = struct{}{}
	}
	return len(seen)
}

// readTrace reads a compressed file with one decimal key in a line.
func readTrace(name string) ([]uint64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var keys []uint64
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		k, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}
