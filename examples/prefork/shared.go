package main

import (
	"errors"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/value"
)

// shared is what all processes know together. Each has handles of its own on it.
type shared struct {
	arena    *arena.Arena
	rule     *value.Value[rule]
	sessions *hashmap.Map[string, session] // by cookie
	windows  *hashmap.Map[string, uint64]  // by client: requests in his window
	reports  *hashmap.Map[string, []byte]  // by id: the page, as it is sent
	loading  *hashmap.Map[string, uint64]  // by id: the pid that makes the page
	tally
}

// rule is what the supervisor tells all workers, also those to come: how often a
// client may call /api. It has the 8 bytes that a Value can hold.
type rule struct {
	Limit  uint32 // requests
	Window uint32 // ms
}

func (r rule) window() time.Duration { return time.Duration(r.Window) * time.Millisecond }

// tally is what all count together. What was counted before a kill stays counted.
type tally struct {
	requests, logins, visits, passed, refused, loads *value.Counter
	starts, kills                                    *value.Counter // of workers
}

const (
	sessionTTL  = 30 * time.Minute
	maxSessions = 100_000 // made room for at once; there may be more
	maxReports  = 10_000  // the least used one goes for the next
	markTTL     = time.Minute
)

// open opens what the arena holds, and creates what it does not hold yet. Only in
// a new arena is the rule looked at.
func open(a *arena.Arena, first rule) (*shared, error) {
	s := &shared{arena: a}
	return s, errors.Join(
		into(&s.rule)(value.OpenOrCreate(a, "rule", first)),
		into(&s.sessions)(hashmap.OpenOrCreate[string, session](a, "sessions", &hashmap.Options{TTL: sessionTTL, Capacity: maxSessions})),
		into(&s.windows)(hashmap.OpenOrCreate[string, uint64](a, "windows", nil)),
		into(&s.reports)(hashmap.OpenOrCreate[string, []byte](a, "reports", &hashmap.Options{Limit: maxReports})),
		into(&s.loading)(hashmap.OpenOrCreate[string, uint64](a, "loading", &hashmap.Options{TTL: markTTL})),
		into(&s.requests)(value.OpenOrCreateCounter(a, "requests")),
		into(&s.logins)(value.OpenOrCreateCounter(a, "logins")),
		into(&s.visits)(value.OpenOrCreateCounter(a, "visits")),
		into(&s.passed)(value.OpenOrCreateCounter(a, "passed")),
		into(&s.refused)(value.OpenOrCreateCounter(a, "refused")),
		into(&s.loads)(value.OpenOrCreateCounter(a, "loads")),
		into(&s.starts)(value.OpenOrCreateCounter(a, "starts")),
		into(&s.kills)(value.OpenOrCreateCounter(a, "kills")),
	)
}

// into stores a result and passes its error on.
func into[T any](dst *T) func(T, error) error {
	return func(v T, err error) error {
		*dst = v
		return err
	}
}
