// Configcache shares one configuration among many processes, and proves at
// every lookup that it does.
//
//	go run ./examples/configcache                 # until Ctrl-C
//	go run ./examples/configcache -duration 10s -json
//	go run ./examples/configcache -config my.json -churn -kill 200ms
//
// # What runs
//
// A supervisor keeps a JSON object in a map in shared memory, a key for each of
// its members, and beside it a plain struct for each in a second map. It reloads
// both every second: the whole content of a map is exchanged by one store. Each
// reload stamps a new generation and a checksum into every value. Worker processes look keys up as fast as
// they can, through a mapping that they opened read-only, and judge every
// single answer:
//
//	torn    the checksum fails: parts of two values
//	wrong   the value of another key or of a generation nobody has written yet,
//	        or no value for a key that was there all the time
//	stale   older than a reload that was complete before the lookup began, or
//	        than what this worker has seen under that key
//
// Meanwhile the supervisor kills a worker with SIGKILL every second and starts
// another. At the end it checks the segment, accounts for every byte and
// compares the map with the configuration. If anything was torn, wrong, stale,
// damaged or leaked, the exit status is 1.
//
//	supervisor ──store──▶ ┌ arena "configcache" ──────────┐
//	    │ start, kill     │ maps "config" and "facts"     │ ◀──load── worker, read-only
//	    ▼                 │ counters, a row per worker    │ ◀──add─── worker, writable
//	  workers             └───────────────────────────────┘
//
// # Several supervisors
//
// A second supervisor on the same name joins the first: it starts workers of
// its own on the same map. One of them is the loader; when it ends or is killed
// another one takes over, with its own configuration. Who lives is decided by
// [arena.Arena.Processes], exactly and at once; a loader that is merely stopped
// stays the loader. The last process out removes the arena.
//
// A worker ends when its supervisor does, however that ends: it reads the end
// of its standard input. If everybody is killed at the same instant the arena
// stays behind, and the next start replaces it.
//
// # Reading the source
//
//	shared.go      what the arena holds
//	loader.go      who loads, and the steps of a reload
//	worker.go      the lookup loop and its judgement
//	supervisor.go  starting, killing and replacing workers
//	entry.go       the stored form of a value
//	fact.go        the struct beside it
//	summary.go     the last check, and what is printed at the end
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	name     string
	size     int64
	config   string
	workers  int
	duration time.Duration
	reload   time.Duration
	churn    bool
	kill     time.Duration
	json     bool
}

const maxWorkers = 200

func parseOptions(args []string) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("configcache", flag.ContinueOnError)
	f.StringVar(&o.name, "name", "configcache", "name of the arena")
	f.Int64Var(&o.size, "size", 64<<20, "bytes the arena may grow to")
	f.StringVar(&o.config, "config", "", "file with a JSON object (default: a built-in table of media types)")
	f.IntVar(&o.workers, "workers", max(2, runtime.NumCPU()), "worker processes")
	f.DurationVar(&o.duration, "duration", 0, "how long to run (0: until Ctrl-C)")
	f.DurationVar(&o.reload, "reload", time.Second, "how often to reload the configuration (0: when the file changes)")
	f.BoolVar(&o.churn, "churn", false, "reload without a pause")
	f.DurationVar(&o.kill, "kill", time.Second, "how often to kill a random worker (0: never)")
	f.BoolVar(&o.json, "json", false, "print the summary as a JSON object on the last line")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	return o, o.check(f.Args())
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) != 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.workers < 1 || o.workers > maxWorkers:
		return fmt.Errorf("-workers %d: want 1 to %d", o.workers, maxWorkers)
	case o.duration < 0 || o.reload < 0 || o.kill < 0:
		return errors.New("a duration is negative")
	}
	return nil
}

func main() {
	err := run(os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "configcache:", err)
	os.Exit(1)
}

func run(args []string) error {
	if len(args) > 0 && args[0] == workerRole {
		return runWorker(args[1:])
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	s, err := newSupervisor(o)
	if err != nil {
		return err
	}
	defer s.arena.Close()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	return s.finish(s.run(ctx))
}
