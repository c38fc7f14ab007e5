package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// visitor has a session, and counts his visits himself.
type visitor struct {
	*client
	name   string
	cookie http.Header
	album  *album

	// A visit that was answered is counted. One that broke, with its worker, was
	// counted or not: nobody can know.
	acked, unsure uint64
	seen          uint64       // as many as were counted once, are
	steps         atomic.Int64 // of the loop, so far
}

// login begins the session. A login that breaks may have begun one that nobody
// knows of; it will expire.
func (v *visitor) login(ctx context.Context) error {
	for {
		a, err := v.ask(ctx, http.MethodPost, "/login?user="+v.name, nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			continue
		case a.status != http.StatusOK:
			return a.want(http.StatusOK)
		}
		c, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
		if err != nil {
			return fmt.Errorf("worker %d, login: %w", a.worker, err)
		}
		v.cookie = http.Header{"Cookie": {c.Name + "=" + c.Value}}
		return nil
	}
}

// longestStay is how many steps a visitor takes on one connection. With the next
// one he may come to another worker.
const longestStay = 32

// roam visits, and looks at a report now and then, until stop is closed.
func (v *visitor) roam(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		err := v.visit(ctx)
		n := v.steps.Add(1)
		if err == nil && n%4 == 0 {
			err = v.look(ctx)
		}
		if n%longestStay == 0 {
			v.close()
		}
		if err != nil {
			return fmt.Errorf("visitor %s: %w", v.name, err)
		}
	}
}

// visit is a POST, and so asked once only.
func (v *visitor) visit(ctx context.Context) error {
	a, err := v.ask(ctx, http.MethodPost, "/visit", v.cookie)
	if err != nil {
		v.unsure++
		return ctx.Err()
	}
	n, err := v.visits(a)
	if err != nil {
		return err
	}
	v.acked++
	if n <= v.seen || n < v.acked || n > v.acked+v.unsure {
		return fmt.Errorf("worker %d counts visit %d after %d; %d were answered and %d broke", a.worker, n, v.seen, v.acked, v.unsure)
	}
	v.seen = n
	return nil
}

// confirm judges what a worker says of the session when no visit is under way.
// What it says is so from then on: what broke was counted now, or never.
func (v *visitor) confirm(a *answer) error {
	n, err := v.visits(a)
	if err != nil {
		return err
	}
	if n < v.acked || n < v.seen || n > v.acked+v.unsure {
		return fmt.Errorf("worker %d knows of %d visits; %d were answered and %d broke", a.worker, n, v.acked, v.unsure)
	}
	v.acked, v.unsure, v.seen = n, 0, n
	return nil
}

func (v *visitor) visits(a *answer) (uint64, error) {
	if err := a.want(http.StatusOK); err != nil {
		return 0, err
	}
	var s sessionView
	if err := json.Unmarshal(a.body, &s); err != nil {
		return 0, fmt.Errorf("worker %d: %w", a.worker, err)
	}
	if s.User != v.name {
		return 0, fmt.Errorf("worker %d takes %s for %q", a.worker, v.name, s.User)
	}
	return s.Visits, nil
}

// look looks at a report.
func (v *visitor) look(ctx context.Context) error {
	path := reportPath(rand.IntN(albumSize))
	a, err := v.get(ctx, path, nil)
	if err != nil {
		return err
	}
	return v.album.compare(path, a)
}

// album has the first answer for each report. All others must be the same, as long
// as reports live, which is longer than we do.
type album struct{ pages sync.Map }

const albumSize = 50

func reportPath(i int) string { return "/report?id=" + strconv.Itoa(i) }

func (b *album) compare(path string, a *answer) error {
	if err := a.want(http.StatusOK); err != nil {
		return err
	}
	if first, _ := b.pages.LoadOrStore(path, string(a.body)); first != string(a.body) {
		return fmt.Errorf("worker %d answers %s with %s; it was %s", a.worker, path, a.body, first)
	}
	return nil
}
