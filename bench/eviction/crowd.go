package main

import "math/rand/v2"

// crowd is who uses the map, and how they report hits.
type crowd struct {
	procs    int
	readOnly int    // these of procs report nothing
	ring     int    // hits gathered for each stripe
	full     string // what is done with a hit that finds the ring full
	every    int    // one hit in so many is gathered
	deal     string
}

// process has its rings in memory of its own. Others never see them, and they
// die with it.
type process struct {
	crowd
	readOnly bool
	rings    [][]uint64 // of hashes, for each stripe
	random   *rand.Rand
}

func newProcess(i, stripes int, w crowd) *process {
	return &process{w, i < w.readOnly, make([][]uint64, stripes), rand.New(rand.NewPCG(uint64(i), 4))}
}

// hit gathers a hit, with no lock.
func (p *process) hit(s part, at int, h uint64) {
	if p.readOnly || p.every > 1 && p.random.IntN(p.every) != 0 {
		return
	}
	if len(p.rings[at]) < p.ring {
		p.rings[at] = append(p.rings[at], h)
		return
	}
	if p.full == "drop" {
		return
	}
	p.apply(s, at)
	s.hit(h)
}

// apply tells the stripe what was gathered, under its lock.
func (p *process) apply(s part, at int) {
	for _, h := range p.rings[at] {
		s.hit(h)
	}
	p.rings[at] = p.rings[at][:0]
}

// dealer says which process makes the next access.
type dealer struct {
	crowd
	random *rand.Rand
	last   int
	left   int
}

func (w crowd) dealer() *dealer { return &dealer{crowd: w, random: rand.New(rand.NewPCG(5, 6))} }

const burst = 256

func (d *dealer) next() int {
	if d.deal != "burst" {
		d.last = (d.last + 1) % d.procs
		return d.last
	}
	if d.left == 0 {
		d.last, d.left = d.random.IntN(d.procs), burst
	}
	d.left--
	return d.last
}
