// Bench measures shmkit's structures beside in-process ones, all in one run,
// and prints one table.
//
//	go run .            # 1 000 and 100 000 keys
//	go run . -full      # 1 000 000 keys too
//	go run . -rounds 15 -only Load
//	go run . -grow 4000000
//
// # Workload
//
// Keys are strings of 16 bytes, values have 64 bytes; the popularity of keys is
// zipf(0.99), drawn beforehand. The keys looked up and the keys stored are
// different copies, as they would be if a request brought them. Every structure
// is called directly, in a loop of its own; in each round all of them take their
// turn, so that a change of the machine's mood reaches all.
//
// # Two at once
//
// Of ours the second is another process on the same segment, of the others a
// second thread on the same structure. Each has a sequence of its own. The
// figure is the mean of what an operation cost the two. Two processors may
// share a core: the first section shows what a loop without any memory loses.
//
// # Reading the table
//
// Cells are nanoseconds per operation, the median of the rounds and the least
// and the most of them. A ratio is to the first row of the section that has a
// figure in the column; two/one says how an operation suffers from company.
// Ratios are taken in each round, and their median is printed. They count; times
// depend on the machine, and on what else it does.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// config is how much is measured.
type config struct {
	sizes  []int
	rounds int
	round  time.Duration
	only   string
}

func main() {
	if serving() {
		exit(serve(os.Stdin, os.Stdout))
	}
	full := flag.Bool("full", false, "measure 1 000 000 keys too")
	rounds := flag.Int("rounds", 7, "rounds of each structure")
	round := flag.Duration("round", 50*time.Millisecond, "length of a round")
	only := flag.String("only", "", "measure only sections whose title contains this")
	grow := flag.Int("grow", 0, "measure instead what it costs to insert so many keys into a map made for 1000, and what a quarter of them take of a segment")
	flag.Parse()
	if *grow > 0 {
		exit(errors.Join(growTo(*grow, os.Stdout), sizedFor(max(1, *grow/4), os.Stdout)))
	}
	c := config{[]int{1_000, 100_000}, max(1, *rounds), *round, *only}
	if *full {
		c.sizes = append(c.sizes, 1_000_000)
	}
	exit(run(c))
}

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// run measures every section and prints the table.
func run(c config) error {
	p, err := startPeer()
	if err != nil {
		return err
	}
	defer p.stop()
	var done []result
	for _, s := range sections(c) {
		if !strings.Contains(s.title, c.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%-32s ", s.title)
		r, err := s.measure(c, p)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		done = append(done, r)
	}
	return printTable(os.Stdout, done)
}
