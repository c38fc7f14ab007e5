package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/value"
)

// A claim names an attached process: its slot in the arena, and how often the
// slot was taken. No two attaches have the same. The zero claim is nobody's.
type claim struct {
	Slot, Incarnation uint32
}

// loader keeps the map equal to the configuration, if it has the role.
type loader struct {
	*cache
	tally  *tally
	arena  *arena.Arena
	me     claim
	role   *value.Value[claim]
	source *source
	every  time.Duration
	churn  bool
	say    func(format string, args ...any)

	leads  bool   // the role is ours, and stays ours
	stored config // what the map holds since the last complete reload
	failed error  // why the last reload was not completed
}

// run loads and reloads until ctx is done.
func (l *loader) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		led := l.leads
		if err := l.step(); err != nil {
			l.say("%v", err)
		}
		switch {
		case n == 0 && !l.leads:
			l.say("joined: another supervisor loads")
		case n > 0 && l.leads && !led:
			l.say("took over: the loader is gone")
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.pause()):
		}
	}
}

// rest is how long a loader waits before it looks at the file, or another
// supervisor at the loader.
const rest = 100 * time.Millisecond

func (l *loader) pause() time.Duration {
	switch {
	case !l.leads:
		return rest
	case l.churn:
		return 0
	case l.every == 0:
		return rest
	}
	return l.every
}

func (l *loader) step() error {
	if !l.leads {
		if err := l.claim(); err != nil || !l.leads {
			return err
		}
	} else if !l.churn && l.every == 0 && !l.source.changed() {
		return nil
	}
	c, err := l.source.read()
	if err != nil {
		return fmt.Errorf("%w; generation %d stays", err, l.complete.Load())
	}
	if l.failed = l.publish(c); l.failed == nil {
		l.stored = c
	}
	return l.failed
}

// claim takes the role of a loader who is gone.
func (l *loader) claim() error {
	holder := l.role.Load()
	alive, err := l.alive(holder)
	if err != nil || alive {
		return err
	}
	l.leads, err = l.role.CompareAndSwap(holder, l.me)
	return err
}

func (l *loader) alive(c claim) (bool, error) {
	ps, err := l.arena.Processes()
	for _, p := range ps {
		if (claim{uint32(p.Slot), p.Incarnation}) == c {
			return p.Alive, err
		}
	}
	return false, err
}

// publish exchanges the content of both maps for one of a new generation. Whoever
// loads after a loader that was killed half-way starts over, with a generation
// above all in the maps.
func (l *loader) publish(c config) error {
	if l.others(c) {
		if err := l.keys.Store(l.keys.Load() | 1); err != nil {
			return err
		}
	}
	generation := l.begun.Load() + 1
	if err := l.begun.Store(generation); err != nil {
		return err
	}
	err := l.entries.ReplaceAll(func(yield func(string, []byte) bool) {
		for key, value := range c {
			if !yield(key, appendEntry(nil, generation, key, value)) {
				return
			}
		}
	})
	if err == nil {
		err = l.facts.ReplaceAll(func(yield func(string, fact) bool) {
			for key, value := range c {
				if !yield(key, newFact(generation, key, value)) {
					return
				}
			}
		})
	}
	if err != nil {
		return fmt.Errorf("reload %d: %w", generation, err)
	}
	l.tally.reloads.Inc()
	return l.settle(generation)
}

// settle says that the generation is complete and the set of keys final.
func (l *loader) settle(generation uint64) error {
	if keys := l.keys.Load(); keys%2 == 1 {
		if err := l.keys.Store(keys + 1); err != nil {
			return err
		}
	}
	return l.complete.Store(generation)
}

// others reports whether the configuration has other keys than the map.
func (l *loader) others(c config) bool {
	if l.entries.Len() != len(c) {
		return true
	}
	for key := range l.entries.Keys() {
		if _, ok := c[key]; !ok {
			return true
		}
	}
	return false
}
