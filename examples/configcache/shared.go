package main

import (
	"errors"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/value"
)

// cache is what lookups need of the arena; nothing of it is written by those
// who look up.
type cache struct {
	entries *hashmap.Map[string, []byte]
	facts   *hashmap.Map[string, fact]

	// begun is the youngest generation that may be found in the maps, complete
	// the one that both have reached.
	begun, complete *value.Value[uint64]

	// keys changes with the set of keys; it is odd while keys come and go. A
	// missing key is wrong only if keys is the same even number as when the
	// worker learned the key.
	keys *value.Value[uint64]
}

// tally is what everybody counts together. No count is lost with a process
// that was killed, except of what it had not added yet.
type tally struct {
	lookups, torn, wrong, stale, reloads, kills *value.Counter
}

// create fills a new arena. It runs in exactly one process.
func create(a *arena.Arena, keys int) error {
	var c cache
	var role *value.Value[claim]
	var t tally
	return errors.Join(
		into(&c.entries)(hashmap.Create[string, []byte](a, "config", &hashmap.Options{Capacity: max(1024, 2*keys)})),
		into(&c.facts)(hashmap.Create[string, fact](a, "facts", &hashmap.Options{Capacity: max(1024, 2*keys)})),
		into(&c.begun)(value.Create[uint64](a, "begun", 0)),
		into(&c.complete)(value.Create[uint64](a, "complete", 0)),
		into(&c.keys)(value.Create[uint64](a, "keys", 0)),
		into(&role)(value.Create(a, "loader", claim{})),
		into(&t.lookups)(value.CreateCounter(a, "lookups")),
		into(&t.torn)(value.CreateCounter(a, "torn")),
		into(&t.wrong)(value.CreateCounter(a, "wrong")),
		into(&t.stale)(value.CreateCounter(a, "stale")),
		into(&t.reloads)(value.CreateCounter(a, "reloads")),
		into(&t.kills)(value.CreateCounter(a, "kills")),
	)
}

func openCache(a *arena.Arena) (*cache, error) {
	c := new(cache)
	return c, errors.Join(
		into(&c.entries)(hashmap.Open[string, []byte](a, "config", nil)),
		into(&c.facts)(hashmap.Open[string, fact](a, "facts", nil)),
		into(&c.begun)(value.Open[uint64](a, "begun")),
		into(&c.complete)(value.Open[uint64](a, "complete")),
		into(&c.keys)(value.Open[uint64](a, "keys")),
	)
}

func openTally(a *arena.Arena) (*tally, error) {
	t := new(tally)
	return t, errors.Join(
		into(&t.lookups)(value.OpenCounter(a, "lookups")),
		into(&t.torn)(value.OpenCounter(a, "torn")),
		into(&t.wrong)(value.OpenCounter(a, "wrong")),
		into(&t.stale)(value.OpenCounter(a, "stale")),
		into(&t.reloads)(value.OpenCounter(a, "reloads")),
		into(&t.kills)(value.OpenCounter(a, "kills")),
	)
}

// into stores a result and passes its error on.
func into[T any](dst *T) func(T, error) error {
	return func(v T, err error) error {
		*dst = v
		return err
	}
}

// counts is a tally at one moment.
type counts struct {
	lookups, torn, wrong, stale, reloads, kills uint64
}

func (t *tally) read() counts {
	return counts{
		t.lookups.Load(), t.torn.Load(), t.wrong.Load(), t.stale.Load(), t.reloads.Load(), t.kills.Load(),
	}
}

// since returns what was counted after before.
func (c counts) since(before counts) counts {
	return counts{
		c.lookups - before.lookups, c.torn - before.torn, c.wrong - before.wrong,
		c.stale - before.stale, c.reloads - before.reloads, c.kills - before.kills,
	}
}
