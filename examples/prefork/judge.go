package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// judge is the client of the demonstration.
type judge struct {
	*supervisor
	client     *client // keeps no connection: any worker may answer each request
	visitors   []*visitor
	album      album
	judgements []judgement
}

// judgement is what came of a trial.
type judgement struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Said    string  `json:"said"`
	Seconds float64 `json:"duration_s"`
	Figures figures `json:"figures,omitempty"`
}

// figures are what a trial has counted.
type figures map[string]int64

// trial tries one thing. It returns what it has counted and how to say it, or what
// is wrong.
type trial func(context.Context) (f figures, said string, err error)

const visitors = 16

func newJudge(s *supervisor) *judge {
	j := &judge{supervisor: s, client: newClient(s.url, false)}
	for i := range visitors {
		j.visitors = append(j.visitors, &visitor{client: newClient(s.url, true), name: fmt.Sprintf("visitor-%d", i), album: &j.album})
	}
	return j
}

// run tries all, one after the other.
func (j *judge) run(ctx context.Context) error {
	defer j.close()
	var errs []error
	for _, t := range []struct {
		name string
		try  trial
	}{
		{"stampede", j.stampede}, {"traffic", j.traffic}, {"takeover", j.takeover}, {"limit", j.limit}, {"restart", j.restart},
	} {
		begun := time.Now()
		f, said, err := t.try(ctx)
		if ctx.Err() != nil {
			return errors.Join(append(errs, fmt.Errorf("ended during %s", t.name))...)
		}
		if err != nil {
			said = err.Error()
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
		j.judgements = append(j.judgements, judgement{t.name, err == nil, said, time.Since(begun).Seconds(), f})
		fmt.Fprintf(j.out, "%-5s %-9s %s\n", map[bool]string{true: "ok", false: "FAIL"}[err == nil], t.name, said)
	}
	return errors.Join(errs...)
}

func (j *judge) close() {
	for _, v := range j.visitors {
		v.close()
	}
}

// stats asks any worker for what all have done.
func (j *judge) stats(ctx context.Context) (st stats, err error) {
	a, err := j.client.get(ctx, "/stats", nil)
	if err == nil {
		err = errors.Join(a.want(http.StatusOK), json.Unmarshal(a.body, &st))
	}
	return st, err
}

// count adds up what the visitors know.
func (j *judge) count() figures {
	f := make(figures)
	for _, v := range j.visitors {
		f["answered"] += int64(v.acked)
		f["unsure"] += int64(v.unsure)
		f["broken"] += v.broken.Load()
	}
	return f
}

// everywhere asks every worker about every session, while nobody visits.
func (j *judge) everywhere(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, v := range j.visitors {
		all.Go(func() {
			if err := j.ask(ctx, v); err != nil {
				cancel(fmt.Errorf("visitor %s: %w", v.name, err))
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// ask asks until every worker has answered. Nobody can choose who takes his
// connection; but all visitors ask at once, so that all workers have to do.
func (j *judge) ask(ctx context.Context, v *visitor) error {
	unheard := make(map[int]bool)
	for _, m := range j.members() {
		unheard[m.pid()] = true
	}
	for end := time.Now().Add(stuck); len(unheard) != 0; {
		a, err := j.client.get(ctx, "/session", v.cookie)
		if err == nil {
			err = v.confirm(a)
		}
		if err != nil {
			return err
		}
		if delete(unheard, a.worker); time.Now().After(end) {
			return fmt.Errorf("workers %v have not answered", slices.Collect(maps.Keys(unheard)))
		}
	}
	return nil
}
