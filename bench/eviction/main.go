// Eviction replays access traces through eviction policies and prints how many
// points of hit ratio each lies above or below exact LRU.
//
//	go run ./eviction -traces DIR                     # every trace of a directory, every policy
//	go run ./eviction -traces DIR -only aged -stripes 16 -procs 8 -deal burst
//	go run ./eviction -traces DIR -only none -map     # and the real map
//	go run ./eviction -synthetic                      # needs no files, but minutes
//
// # Two kinds of policies
//
// Ideal ones keep one order over the whole cache and learn of a hit at once: LRU,
// SIEVE, S3-FIFO and W-TinyLFU, with the lists they were published with, and the
// rows marked "ideal". The others are as a shared map can build them: the space
// is divided among stripes by the hash, an entry has one word, the victim is the
// lowest in the few buckets from the new key's own on, and a hit waits in a ring of
// its process until that process writes to the stripe or the ring is full. Rows
// marked "striped" are the ideal ones with nothing but the stripes and the rings.
//
// # Reading the table
//
// One row a policy, one column a point (trace and capacity). The first row is the
// hit ratio of exact LRU in percent, all others are differences to it in points;
// then their mean and the least of them. A capacity is a number of entries; each
// miss is inserted.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// config is what is replayed, and how.
type config struct {
	traces    string
	synthetic bool
	only      string
	live      bool
	space     space
	crowd     crowd
}

func main() {
	var c config
	flag.StringVar(&c.traces, "traces", "", "directory of the traces, NAME.keys.gz")
	flag.BoolVar(&c.synthetic, "synthetic", false, "replay made-up traces instead")
	flag.StringVar(&c.only, "only", "", "only policies whose name contains one of these, by commas")
	flag.BoolVar(&c.live, "map", false, "replay through a real hashmap with a limit too")
	flag.IntVar(&c.space.stripes, "stripes", 0, "stripes of a map; 0: 1 to 256, as many as have 128 entries each")
	flag.Uint64Var(&c.space.seed, "seed", 1, "of the hash that places keys in stripes and buckets")
	flag.IntVar(&c.space.look, "look", 6, "buckets looked at for a victim, each with four entries on average")
	flag.IntVar(&c.space.ghosts, "ghosts", 1, "ghosts per entry, four to a bucket")
	flag.IntVar(&c.space.tear, "tear", 0, "of so many insertions in a stripe one leaves wild words; 0: none does")
	flag.IntVar(&c.crowd.procs, "procs", 1, "processes that share the map")
	flag.IntVar(&c.crowd.readOnly, "readonly", 0, "how many of them report no hits")
	flag.IntVar(&c.crowd.ring, "ring", 16, "hits a process gathers for each stripe; 0: it reports at once")
	flag.StringVar(&c.crowd.full, "full", "apply", "what a full ring does with a hit: apply (all), drop (it)")
	flag.IntVar(&c.crowd.every, "every", 1, "one hit in this many is gathered")
	flag.StringVar(&c.crowd.deal, "deal", "robin", "who makes an access: robin (by turns), burst (256 at a time)")
	flag.Parse()
	err := c.check()
	if err == nil {
		err = run(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "eviction:", err)
		os.Exit(1)
	}
}

func (c config) check() error {
	switch {
	case c.crowd.procs < 1 || c.crowd.readOnly < 0 || c.crowd.readOnly >= c.crowd.procs:
		return errors.New("one process at least must not be read-only")
	case c.space.look < 1 || c.space.ghosts < 0 || c.space.stripes < 0 || c.space.tear < 0 || c.crowd.ring < 0:
		return errors.New("a negative number, or no bucket to look at")
	case c.crowd.full != "apply" && c.crowd.full != "drop":
		return fmt.Errorf("-full %s: apply or drop", c.crowd.full)
	case c.crowd.deal != "robin" && c.crowd.deal != "burst":
		return fmt.Errorf("-deal %s: robin or burst", c.crowd.deal)
	}
	return nil
}

// run replays every point through every policy and prints the table.
func run(c config) error {
	points, err := c.points()
	if err != nil {
		return err
	}
	rows := []row{{name: "LRU, hit ratio", ratio: true}}
	makers := []maker{newLRU}
	for _, p := range policies(c) {
		if wanted(p.name, c.only) {
			rows, makers = append(rows, row{name: p.name}), append(makers, p.make)
		}
	}
	if c.live {
		rows = append(rows, row{name: "hashmap"})
	}
	for _, p := range points {
		keys, err := p.load()
		if err != nil {
			return err
		}
		base := 0.0
		for i := range rows {
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s %d: %s", p.name, p.capacity, rows[i].name)
			ratio := 0.0
			if i < len(makers) {
				ratio = replay(keys, makers[i](p.capacity), c.crowd)
			} else if ratio, err = replayLive(keys, p.capacity, c.crowd); err != nil {
				return err
			}
			r := 100 * ratio
			if i == 0 {
				base = r
				rows[i].cells = append(rows[i].cells, r)
				continue
			}
			rows[i].cells = append(rows[i].cells, r-base)
		}
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K")
	return printTable(os.Stdout, points, rows)
}

func wanted(name, only string) bool {
	for part := range strings.SplitSeq(only, ",") {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
