package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
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
	Name    string           `json:"name"`
	OK      bool             `json:"ok"`
	Said    string           `json:"said"`
	Seconds float64          `json:"duration_s"`
	Figures map[string]int64 `json:"figures,omitempty"`
}

// trial tries one thing. It returns what it has measured and how to say it, or
// what is wrong.
type trial func(context.Context) (figures map[string]int64, said string, err error)

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
		figures, said, err := t.try(ctx)
		if ctx.Err() != nil {
			return errors.Join(append(errs, fmt.Errorf("ended during %s", t.name))...)
		}
		if err != nil {
			said = err.Error()
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
		j.judgements = append(j.judgements, judgement{t.name, err == nil, said, time.Since(begun).Seconds(), figures})
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

const (
	coldLoad = 300 * time.Millisecond // so long that most who ask have to wait
	longLoad = time.Second            // so long that we are in time to kill who loads
)

// stampede has many ask for one cold report at once.
func (j *judge) stampede(ctx context.Context) (map[string]int64, string, error) {
	before, err := j.stats(ctx)
	if err != nil {
		return nil, "", err
	}
	answers, broken, err := atOnce(ctx, j.url, j.crowd, fmt.Sprintf("/report?id=cold&work=%v", coldLoad), nil)
	if err != nil {
		return nil, "", err
	}
	f, err := j.alike(ctx, answers, before, 1)
	if err == nil && broken != 0 {
		err = fmt.Errorf("%d requests broke, though no worker was killed", broken)
	}
	return f, fmt.Sprintf("%d ask at once for a cold report: 1 load, all answers the same; %d waited, %d came later",
		f["answers"], f[reportWaited], f[reportHit]), err
}

// alike judges the answers to a stampede: all are the same page, which one of those
// who asked has loaded, after so many loads.
func (j *judge) alike(ctx context.Context, answers []*answer, before stats, loads int64) (map[string]int64, error) {
	f := map[string]int64{"answers": int64(len(answers))}
	for _, a := range answers {
		if err := a.want(http.StatusOK); err != nil {
			return f, err
		}
		if string(a.body) != string(answers[0].body) {
			return f, fmt.Errorf("two answers: %s and %s", a.body, answers[0].body)
		}
		f[a.header.Get("X-Report")]++
	}
	after, err := j.stats(ctx)
	if err != nil {
		return f, err
	}
	f["loads"] = int64(after.Loads - before.Loads)
	if f["loads"] != loads || f[reportLoaded] != 1 {
		return f, fmt.Errorf("%d loads, %d of them answered, want %d and 1", f["loads"], f[reportLoaded], loads)
	}
	return f, nil
}

// takeover kills the worker that loads while all wait for it. If it has loaded
// before it was dead, since the machine is busy, that was no takeover, and it is
// tried again.
func (j *judge) takeover(ctx context.Context) (map[string]int64, string, error) {
	for try := 1; ; try++ {
		before, err := j.stats(ctx)
		if err != nil {
			return nil, "", err
		}
		id := fmt.Sprintf("taken-over-%d", try)
		shot := make(chan bool, 1)
		go func() { shot <- j.shootLoader(ctx, id, before.Requests+uint64(j.crowd)) }()
		answers, broken, err := atOnce(ctx, j.url, j.crowd, fmt.Sprintf("/report?id=%s&work=%v", id, longLoad), nil)
		hit := <-shot
		if err = errors.Join(err, j.settle(ctx)); err != nil {
			return nil, "", err
		}
		if !hit && try < 10 {
			continue
		}
		f, err := j.alike(ctx, answers, before, 2)
		f["broken"] = broken
		return f, fmt.Sprintf("%d ask, and the worker that loads is killed: another one loads, 2 loads, all answers the same; %d requests broke and were asked again",
			f["answers"], broken), err
	}
}

// shootLoader kills the worker that loads a report, when so many requests have come
// in all. It reports whether the worker was dead before it had stored the report.
func (j *judge) shootLoader(ctx context.Context, id string, requests uint64) bool {
	for end := time.Now().Add(stuck); ctx.Err() == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if pid, ok := j.loading.Load(id); ok {
			for half := time.Now().Add(longLoad / 2); j.tally.requests.Load() < requests && time.Now().Before(half); {
				time.Sleep(time.Millisecond)
			}
			m := j.member(pid)
			return m != nil && j.shoot(m) && !j.reports.Contains(id)
		}
	}
	return false
}

// limit has one client ask more often than it may, all at once.
func (j *judge) limit(ctx context.Context) (map[string]int64, string, error) {
	rule := j.rule.Load()
	greedy := http.Header{"X-Client": {"greedy-" + rand.Text()}}
	begun := time.Now()
	answers, broken, err := atOnce(ctx, j.url, 3*int(rule.Limit), "/api", greedy)
	switch {
	case err != nil:
		return nil, "", err
	case broken != 0:
		return nil, "", fmt.Errorf("%d requests broke, though no worker was killed", broken)
	case time.Since(begun) >= rule.window():
		return nil, "", fmt.Errorf("%d requests took longer than a window: choose a longer -window", len(answers))
	}
	f := map[string]int64{"passed": 0, "refused": 0}
	for _, a := range answers {
		if a.status == http.StatusOK {
			f["passed"]++
			continue
		}
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err = errors.Join(err, a.want(http.StatusTooManyRequests)); err != nil || wait < 1 || wait > wholeSeconds(rule.window()) {
			return f, "", fmt.Errorf("refused with Retry-After %d: %w", wait, err)
		}
		f["refused"]++
	}
	if f["passed"] != int64(rule.Limit) {
		return f, "", fmt.Errorf("%d of %d passed, want %d", f["passed"], len(answers), rule.Limit)
	}
	modest, err := j.client.get(ctx, "/api", http.Header{"X-Client": {"modest-" + rand.Text()}})
	if err == nil {
		err = modest.want(http.StatusOK)
	}
	return f, fmt.Sprintf("a client asks %d times at once, and may %d times in %v: %d pass, %d get 429 and when to come again",
		len(answers), rule.Limit, rule.window(), f["passed"], f["refused"]), err
}

// traffic has visitors roam while workers are killed.
func (j *judge) traffic(ctx context.Context) (map[string]int64, string, error) {
	for _, v := range j.visitors {
		if err := v.login(ctx); err != nil {
			return nil, "", err
		}
	}
	before := j.kills.Load()
	o := j.roam(ctx)
	over, kill := time.After(j.duration), time.NewTicker(j.kill)
	defer kill.Stop()
	for goOn := true; goOn; {
		select {
		case <-kill.C:
			j.shoot(j.anyone())
		case <-over:
			goOn = false
		case <-o.ctx.Done():
			goOn = false
		}
	}
	if err := errors.Join(o.end(), j.settle(ctx)); err != nil {
		return nil, "", err
	}
	f := j.count()
	err := j.everywhere(ctx)
	f["kills"], f["counted"] = int64(j.kills.Load()-before), j.count()["answered"]
	return f, fmt.Sprintf("%d visitors while %d workers are killed: %d visits were answered and %d broke; every worker says that %d are counted",
		len(j.visitors), f["kills"], f["answered"], f["unsure"], f["counted"]), err
}

// restart has visitors roam while all workers are replaced.
func (j *judge) restart(ctx context.Context) (map[string]int64, string, error) {
	if err := j.warm(ctx); err != nil {
		return nil, "", err
	}
	before, err := j.stats(ctx)
	if err != nil {
		return nil, "", err
	}
	then := j.count()
	o := j.roam(ctx)
	o.await(steps)
	old, err := j.roll(o.ctx)
	o.await(steps)
	if err := errors.Join(o.end(), err, j.everywhere(ctx), j.warm(ctx)); err != nil {
		return nil, "", err
	}
	after, err := j.stats(ctx)
	if err != nil {
		return nil, "", err
	}
	now := j.count()
	f := map[string]int64{
		"answered": now["answered"] - then["answered"], "broken": now["broken"] - then["broken"],
		"loads": int64(after.Loads - before.Loads), "replaced": int64(len(old)),
	}
	return f, fmt.Sprintf("all %d workers are replaced during %d visits: %d requests broke, %d reports were loaded again, every session is valid at every new worker",
		f["replaced"], f["answered"], f["broken"], f["loads"]), j.renewed(old, f)
}

// steps is what each visitor has to do before and after the restart.
const steps = 20

// renewed judges a restart.
func (j *judge) renewed(old []*member, f map[string]int64) error {
	if f["broken"] != 0 || f["loads"] != 0 {
		return fmt.Errorf("%d requests broke and %d reports were loaded again, want none", f["broken"], f["loads"])
	}
	for _, m := range old {
		if m.err != nil {
			return fmt.Errorf("worker %d was to drain, and ended with %w", m.pid(), m.err)
		}
		if j.member(uint64(m.pid())) != nil {
			return fmt.Errorf("worker %d was not replaced", m.pid())
		}
	}
	return nil
}

// warm looks at all reports in the album.
func (j *judge) warm(ctx context.Context) error {
	for i := range albumSize {
		path := reportPath(i)
		a, err := j.client.get(ctx, path, nil)
		if err == nil {
			err = j.album.compare(path, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outing is all visitors roaming.
type outing struct {
	ctx      context.Context // ends when one of them has found a fault
	cancel   context.CancelCauseFunc
	visitors []*visitor
	stop     chan struct{}
	all      sync.WaitGroup
}

func (j *judge) roam(ctx context.Context) *outing {
	o := &outing{visitors: j.visitors, stop: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	for _, v := range j.visitors {
		o.all.Go(func() {
			if err := v.roam(o.ctx, o.stop); err != nil {
				o.cancel(err) // the first one counts
			}
		})
	}
	return o
}

// end has all visitors come home, and returns the first fault that was found.
func (o *outing) end() error {
	close(o.stop)
	o.all.Wait()
	err := context.Cause(o.ctx)
	o.cancel(nil)
	return err
}

// await returns when each visitor has made n more steps, or there is a fault.
func (o *outing) await(n int64) {
	for _, v := range o.visitors {
		for target := v.steps.Load() + n; v.steps.Load() < target && o.ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
	}
}

// count adds up what the visitors know.
func (j *judge) count() map[string]int64 {
	f := make(map[string]int64)
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
