package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/shmkit/shmkit/arena"
)

// summary is what is left of a run. The counts are those of all processes on
// the arena, from when this supervisor joined.
type summary struct {
	Loader        bool    `json:"loader"`
	Workers       int     `json:"workers"`
	Seconds       float64 `json:"duration_s"`
	Lookups       uint64  `json:"lookups"`
	LookupsPerSec float64 `json:"lookups_per_s"`
	Keys          int     `json:"keys"`
	Reloads       uint64  `json:"reloads"`
	Kills         uint64  `json:"kills"`
	Torn          uint64  `json:"torn"`
	Wrong         uint64  `json:"wrong"`
	Stale         uint64  `json:"stale"`
	SegmentBytes  int64   `json:"segment_bytes"`
	LeakedBytes   int64   `json:"leaked_bytes"`
	Check         string  `json:"check"` // "ok", why it was not made, or what it found
}

// finish makes the last checks and prints the summary; failed is what went
// wrong before. It returns the first reason for an exit status of 1.
func (s *supervisor) finish(failed error) error {
	c := s.tally.read().since(s.before)
	sum := &summary{
		Loader: s.loader.leads, Workers: s.workers, Seconds: s.took.Seconds(),
		Lookups: c.lookups, LookupsPerSec: float64(c.lookups) / s.took.Seconds(), Keys: s.loader.entries.Len(),
		Reloads: c.reloads, Kills: c.kills, Torn: c.torn, Wrong: c.wrong, Stale: c.stale,
	}
	err := errors.Join(failed, s.loader.failed, c.verdict(), s.check(sum))
	if sum.Check == "" {
		sum.Check = "ok"
	}
	if err != nil {
		sum.Check = err.Error()
	}
	// Before the summary: nobody may read it, and then printing kills us.
	gone := errors.Join(s.arena.Remove(s.rowsName), s.arena.Close())
	return errors.Join(err, sum.print(s.json), gone)
}

// verdict is an error if any lookup was answered badly.
func (c counts) verdict() error {
	if c.torn+c.wrong+c.stale == 0 {
		return nil
	}
	return fmt.Errorf("%d torn, %d wrong and %d stale of %d lookups", c.torn, c.wrong, c.stale, c.lookups)
}

// check settles what the killed left, then accounts for the segment. It is
// exact only while nobody writes, so it is left to the last supervisor.
func (s *supervisor) check(sum *summary) error {
	if _, err := s.arena.Recover(); err != nil {
		return err
	}
	sum.SegmentBytes = s.arena.Size()
	ps, err := s.arena.Processes()
	if err != nil {
		return err
	}
	if others := len(ps) - 1; others > 0 {
		sum.Check = fmt.Sprintf("left to the %d other processes", others)
		return s.compare()
	}
	report, err := s.arena.Check()
	if report != nil {
		sum.SegmentBytes, sum.LeakedBytes = report.SegmentBytes, report.LeakedBytes
	}
	return errors.Join(err, leak(report), s.loader.entries.Check(), s.compare())
}

func leak(r *arena.Report) error {
	if r == nil || r.LeakedBytes == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes leaked", r.LeakedBytes)
}

// compare compares the map with the configuration, if we are who stored it.
func (s *supervisor) compare() error {
	l := s.loader
	if !l.leads || l.stored == nil || l.failed != nil {
		return nil
	}
	if have, want := l.entries.Len(), len(l.stored); have != want {
		return fmt.Errorf("the map holds %d keys, want %d", have, want)
	}
	for key, want := range l.stored {
		have, ok := l.entries.Load(key)
		if !ok {
			return fmt.Errorf("%q is not in the map", key)
		}
		generation, v := inspect(have, digest(key))
		if v != intact || generation != l.complete.Load() || !bytes.Equal(have[entryHeader:], want) {
			return fmt.Errorf("%q is stored as %q of generation %d, want %q of %d", key, have, generation, want, l.complete.Load())
		}
	}
	return nil
}

func (sum *summary) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(sum)
	}
	_, err := fmt.Printf(`
%d workers looked up %d keys %d times in %.1f s: %.0f lookups/s
%d reloads, %d kills; torn %d, wrong %d, stale %d
segment of %d bytes, %d leaked; check: %s
`, sum.Workers, sum.Keys, sum.Lookups, sum.Seconds, sum.LookupsPerSec,
		sum.Reloads, sum.Kills, sum.Torn, sum.Wrong, sum.Stale, sum.SegmentBytes, sum.LeakedBytes, sum.Check)
	return err
}
