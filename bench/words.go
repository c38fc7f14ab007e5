package main

import (
	"errors"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/shmkit/shmkit/value"
)

// openALU measures a loop of dependent multiplications: what two threads lose
// to a shared core, whatever they do.
func openALU() ([]contender, func() error, error) {
	return []contender{{name: "8 multiplications", pass: multiply}}, func() error { return nil }, nil
}

func multiply(who int, seq []uint32) {
	h := sinks[who].sum | 1
	for range seq {
		for range 8 {
			h *= 0x9e3779b97f4a7c15
		}
	}
	sinks[who].sum = h
}

// openCounters compares a shared counter with those of one process.
func openCounters() ([]contender, func() error, error) {
	a, err := newArena(1 << 20)
	if err != nil {
		return nil, nil, err
	}
	c, err := value.CreateCounter(a, "counter")
	if err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	cell, x := new(atomic.Uint64), xsync.NewCounter()
	return []contender{
		{name: "atomic.Uint64, one cell", pass: func(_ int, seq []uint32) {
			for range seq {
				cell.Add(1)
			}
		}},
		{name: "xsync.Counter", pass: func(_ int, seq []uint32) {
			for range seq {
				x.Add(1)
			}
		}},
		{name: "shmkit Counter", pass: adding(c), remote: &remote{"add", a.Name(), "counter"}},
	}, a.Close, nil
}

func adding(c *value.Counter) func(int, []uint32) {
	return func(_ int, seq []uint32) {
		for range seq {
			c.Add(1)
		}
	}
}

// openValues compares a shared value with an atomic word.
func openValues() ([]contender, func() error, error) {
	a, err := newArena(1 << 20)
	if err != nil {
		return nil, nil, err
	}
	v, err := value.Create[uint64](a, "value", 7)
	if err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	word := new(atomic.Uint64)
	return []contender{
		{name: "atomic.Uint64", pass: func(who int, seq []uint32) {
			var sum uint64
			for range seq {
				sum += word.Load()
			}
			sinks[who].sum += sum
		}},
		{name: "shmkit Value[uint64]", pass: loading(v), remote: &remote{"load", a.Name(), "value"}},
	}, a.Close, nil
}

func loading(v *value.Value[uint64]) func(int, []uint32) {
	return func(who int, seq []uint32) {
		var sum uint64
		for range seq {
			sum += v.Load()
		}
		sinks[who].sum += sum
	}
}
