package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// pass does an operation once for each index. It is called by the first (who is 0)
// or the second of two, perhaps at once.
type pass func(who int, seq []uint32)

// contender is one structure doing one operation.
type contender struct {
	name string

	pass pass

	alone  bool         // no second may work beside the first
	remote *remote      // not nil: the second is another process
	fresh  func() error // makes an empty structure, before each round of inserts
}

// section is an operation, and who competes in it.
type section struct {
	title      string
	n          int // keys
	open       func() ([]contender, func() error, error)
	insert     bool // each index once, a fresh structure each time
	contenders []contender
}

// cell is what the rounds of one contender gave, in ns per operation.
type cell []float64

func (c cell) median() float64 { return slices.Sorted(slices.Values(c))[len(c)/2] }

// over returns the median of the ratios of each round: what slowed the machine
// in a round slowed both.
func (c cell) over(base cell) float64 {
	ratios := make(cell, len(c))
	for i := range c {
		ratios[i] = c[i] / base[i]
	}
	return ratios.median()
}

// row is what was measured of a contender.
type row struct {
	name     string
	one, two cell // two is empty if it was not measured
	allocs   float64
}

type result struct {
	title string
	rows  []row
}

// chunk is how many operations are done between two looks at the clock.
const chunk = 1 << 12

// measure lets the contenders take turns.
func (s *section) measure(c config, p *peer) (result, error) {
	var err error
	var end func() error
	if s.contenders, end, err = s.open(); err != nil {
		return result{}, err
	}
	r := result{s.title, make([]row, len(s.contenders))}
	for round := -1; round < c.rounds && err == nil; round++ { // the first one warms up
		fmt.Fprint(os.Stderr, ".")
		for i := range s.contenders {
			if err = s.turn(c, p, &s.contenders[i], &r.rows[i], round >= 0); err != nil {
				break
			}
		}
	}
	if err == nil { // else the other process may be gone
		err = p.leave()
	}
	if e := end(); err == nil {
		err = e
	}
	s.contenders = nil
	runtime.GC()
	return r, err
}

// turn is one round of one contender.
func (s *section) turn(c config, p *peer, k *contender, r *row, count bool) error {
	r.name = k.name
	if err := k.ready(); err != nil {
		return err
	}
	s.warm(c, k, 0)
	before := mallocs()
	ns, ops := s.work(c, k, 0, false)
	r.allocs = float64(mallocs()-before) / float64(ops)
	if count {
		r.one = append(r.one, ns)
	}
	if k.alone {
		return nil
	}
	if err := k.ready(); err != nil {
		return err
	}
	ns, err := s.both(c, p, k)
	if count {
		r.two = append(r.two, ns)
	}
	return err
}

func (k *contender) ready() error {
	if k.fresh == nil {
		return nil
	}
	err := k.fresh()
	runtime.GC()
	return err
}

// both lets two work at once and returns the mean of what an operation cost.
func (s *section) both(c config, p *peer, k *contender) (float64, error) {
	if k.remote != nil {
		return s.beside(c, p, k)
	}
	var warm sync.WaitGroup
	warm.Add(2)
	second := make(chan float64)
	work := func(who int) float64 {
		s.warm(c, k, who)
		warm.Done()
		warm.Wait()
		ns, _ := s.work(c, k, who, true)
		return ns
	}
	go func() { second <- work(1) }()
	first := work(0)
	return (first + <-second) / 2, nil
}

// beside is both, with the second in the other process.
func (s *section) beside(c config, p *peer, k *contender) (float64, error) {
	p.send(job{*k.remote, s.n, s.insert, c.round})
	s.warm(c, k, 0)
	if err := p.ready(); err != nil {
		return 0, err
	}
	p.begin()
	first, _ := s.work(c, k, 0, true)
	second, err := p.result()
	return (first + second) / 2, err
}

// warm brings the structure back into the caches, after the others' turns.
func (s *section) warm(c config, k *contender, who int) {
	if !s.insert {
		forTime(k.pass, who, sequence(s.n, who), c.round/2)
	}
}

// work does what one of the two has to do in a round.
func (s *section) work(c config, k *contender, who int, two bool) (ns float64, ops int) {
	if s.insert {
		return insertAll(k.pass, who, half(s.n, who, two))
	}
	return forTime(k.pass, who, sequence(s.n, who), c.round)
}

// forTime repeats the sequence until the time is over.
func forTime(do pass, who int, seq []uint32, d time.Duration) (ns float64, ops int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for at := 0; ; at = (at + chunk) % len(seq) {
		do(who, seq[at:at+chunk])
		ops += chunk
		if took := time.Since(start); took >= d {
			return float64(took.Nanoseconds()) / float64(ops), ops
		}
	}
}

// insertAll does the sequence once.
func insertAll(do pass, who int, seq []uint32) (ns float64, ops int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	do(who, seq)
	return float64(time.Since(start).Nanoseconds()) / float64(len(seq)), len(seq)
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// sinks keep results, so that no operation is optimised away.
var sinks [2]struct {
	sum uint64
	_   [120]byte
}
