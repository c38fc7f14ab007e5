package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// status is what the table shows.
type status struct {
	loader     bool
	keys       int
	generation uint64
	counts     counts
	rows       []row
}

type row struct{ pid, lookups, generation uint64 }

func (s *supervisor) status() status {
	st := status{
		loader: s.loader.role.Load() == s.loader.me, keys: s.loader.entries.Len(),
		generation: s.loader.complete.Load(), counts: s.tally.read().since(s.before),
	}
	words := make([]uint64, s.rows.Len())
	s.rows.CopyTo(words)
	for w := words; len(w) != 0; w = w[rowWords:] {
		st.rows = append(st.rows, row{w[rowPID], w[rowLookups], w[rowGeneration]})
	}
	return st
}

// table prints what goes on: over its last print if a person is watching.
type table struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex
	lines int // that the next draw may overwrite
	then  time.Time
	last  status
}

// newTable prints to standard output, unless that is for the summary.
func newTable(json bool) *table {
	out := os.Stdout
	if json {
		out = os.Stderr
	}
	fi, err := out.Stat()
	return &table{out: out, terminal: err == nil && fi.Mode()&os.ModeCharDevice != 0, then: time.Now()}
}

// say prints a message.
func (t *table) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "configcache: "+format+"\n", args...)
	t.lines = 0
}

func (t *table) draw(s status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.render(s, time.Since(t.then))
	t.then, t.last = time.Now(), s
	if t.terminal && t.lines > 0 {
		fmt.Fprintf(t.out, "\x1b[%dA\x1b[J", t.lines)
	}
	io.WriteString(t.out, text)
	t.lines = strings.Count(text, "\n")
}

func (t *table) render(s status, took time.Duration) string {
	var b strings.Builder
	role := "loader"
	if !s.loader {
		role = "guest"
	}
	fmt.Fprintf(&b, "%s  keys %d  generation %d  reloads %d  kills %d  torn %d  wrong %d  stale %d\n",
		role, s.keys, s.generation, s.counts.reloads, s.counts.kills, s.counts.torn, s.counts.wrong, s.counts.stale)
	fmt.Fprintf(&b, "%10s %14s %12s\n", "worker", "lookups/s", "generation")
	for i, r := range s.rows {
		fmt.Fprintf(&b, "%10d %14.0f %12d\n", r.pid, rate(r.lookups, t.before(i, r.pid), took), r.generation)
	}
	fmt.Fprintf(&b, "%10s %14.0f\n", "all", rate(s.counts.lookups, t.last.counts.lookups, took))
	return b.String()
}

// before returns the lookups of a worker at the last draw.
func (t *table) before(i int, pid uint64) uint64 {
	if i < len(t.last.rows) && t.last.rows[i].pid == pid {
		return t.last.rows[i].lookups
	}
	return 0
}

func rate(now, before uint64, took time.Duration) float64 {
	return float64(now-before) / took.Seconds()
}
