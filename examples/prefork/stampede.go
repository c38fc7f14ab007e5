package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	coldLoad = 300 * time.Millisecond // so long that most who ask have to wait
	longLoad = time.Second            // so long that we are in time to kill who loads
)

// stampede has many ask for one cold report at once.
func (j *judge) stampede(ctx context.Context) (figures, string, error) {
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
func (j *judge) alike(ctx context.Context, answers []*answer, before stats, loads int64) (figures, error) {
	f := figures{"answers": int64(len(answers))}
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
func (j *judge) takeover(ctx context.Context) (figures, string, error) {
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
func (j *judge) limit(ctx context.Context) (figures, string, error) {
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
	f := figures{"passed": 0, "refused": 0}
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
