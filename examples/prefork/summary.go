package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shmkit/shmkit/arena"
)

// summary is what is left of a run.
type summary struct {
	Workers      int         `json:"workers"`
	Seconds      float64     `json:"duration_s"`
	Judgements   []judgement `json:"judgements,omitempty"`
	Requests     uint64      `json:"requests"`
	Logins       uint64      `json:"logins"`
	Visits       uint64      `json:"visits"`
	Loads        uint64      `json:"report_loads"`
	Starts       uint64      `json:"worker_starts"`
	Kills        uint64      `json:"worker_kills"`
	SegmentBytes int64       `json:"segment_bytes"`
	LeakedBytes  int64       `json:"leaked_bytes"`
	Check        string      `json:"check"` // "ok", or what it found
	OK           bool        `json:"ok"`
}

// finish makes the last check, leaves the arena and prints the summary, now that all
// workers are gone; failed is what went wrong before. It returns the reasons for an
// exit status of 1.
func (s *supervisor) finish(j *judge, failed error) error {
	sum := &summary{
		Workers: s.workers, Seconds: time.Since(s.begun).Seconds(), Judgements: j.judgements, Check: "ok",
		Requests: s.requests.Load(), Logins: s.logins.Load(), Visits: s.visits.Load(), Loads: s.loads.Load(),
		Starts: s.starts.Load(), Kills: s.kills.Load(),
	}
	bad := s.check(sum)
	if bad != nil {
		sum.Check = bad.Error()
	}
	// Before anything is printed: when nobody reads that, it is our death.
	err := errors.Join(failed, bad, s.arena.Close())
	sum.OK = err == nil
	return errors.Join(err, sum.print(s.json))
}

// check settles what the killed left, then accounts for the arena.
func (s *supervisor) check(sum *summary) error {
	if _, err := s.arena.Recover(); err != nil {
		return err
	}
	report, err := s.arena.Check()
	if report != nil {
		sum.SegmentBytes, sum.LeakedBytes = report.SegmentBytes, report.LeakedBytes
	}
	return errors.Join(err, leak(report), s.sessions.Check(), s.windows.Check(), s.reports.Check(), s.loading.Check())
}

func leak(r *arena.Report) error {
	if r == nil || r.LeakedBytes == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes leaked", r.LeakedBytes)
}

func (sum *summary) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(sum)
	}
	_, err := fmt.Printf(`
%d requests to %d workers in %.1f s; %d workers were started and %d killed
%d logins, %d visits, %d reports loaded
segment of %d bytes, %d leaked; check: %s
`, sum.Requests, sum.Workers, sum.Seconds, sum.Starts, sum.Kills,
		sum.Logins, sum.Visits, sum.Loads, sum.SegmentBytes, sum.LeakedBytes, sum.Check)
	return err
}
