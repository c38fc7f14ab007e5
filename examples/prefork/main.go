// Prefork serves HTTP with several processes that keep what they know in shared
// memory, and shows that any of them can be killed at any moment.
//
//	go run ./examples/prefork                     # some 8 s: serves, attacks itself, judges
//	go run ./examples/prefork -json -workers 4
//	go run ./examples/prefork -serve              # until Ctrl-C, for curl and a browser
//
// # What runs
//
// A supervisor opens one listening socket and starts worker processes that inherit
// it. A connection goes to whichever worker takes it, so no client can choose his
// worker, and none has to: what a server has to remember lies in one arena.
//
//	clients ──▶ socket ──▶ worker ──┐    ┌ arena "prefork" ───────────────────────────┐
//	               │   ├──▶ worker ──┼───▶│ sessions   cookie → user, visits   (TTL)   │
//	               │   └──▶ worker ──┘    │ windows    client → requests       (TTL)   │
//	           supervisor ───────────────▶│ reports    id → page    (Fetch, limit, TTL)│
//	         starts, restarts, rolls      │ counters   of all workers                  │
//	                                      └────────────────────────────────────────────┘
//
//	sessions   a login at one worker is a login at all; a visit is counted by
//	           Compute, so two workers never count the same one
//	windows    a client may call /api so many times a minute, counted by AddInitial:
//	           over all workers together, to the request
//	reports    a slow page is made once, by Fetch, however many ask any worker for
//	           it at the same time; then it is there for all
//	counters   any worker answers /stats for all of them
//
// # What a kill leaves
//
// A request that a killed worker had in hand is broken, and its client sees that.
// Nothing else is: connections that wait in the socket go to other workers, a
// visit that was answered is counted, one that was not is counted or not, and who
// waits for a report that the dead one was making has another worker make it. The
// supervisor starts a new worker, which finds everything warm.
//
// SIGHUP replaces all workers: the new one first; then the old one takes no more
// connections, asks its clients to come again by another, and leaves when they
// have. Nobody's request fails.
//
// SIGINT and SIGTERM to the supervisor end all. When the supervisor itself is
// killed, its workers read the end of their standard input, finish what they have
// in hand, and leave. Whoever leaves last removes the arena; if all are killed at
// the same instant it stays behind, until the next start under its name replaces it:
// with -name, that is; without, each run has a name of its own.
//
// # The demonstration
//
// Without -serve the supervisor is its own client, and judges what he sees:
//
//	stampede   many ask for one cold report at once: it is loaded once
//	traffic    visitors with sessions, while a worker is killed every second:
//	           no visit that was answered is lost, every worker knows every session
//	takeover   the same stampede, but the worker that loads is killed: one other
//	           loads, all are answered
//	limit      many times the limit at once: exactly the limit passes
//	restart    all workers are replaced under traffic: no request fails, no
//	           report is loaded again, sessions go on
//
// At the end it checks the arena and accounts for every byte. If anything was not
// as it should be, the exit status is 1.
//
// # Reading the source
//
//	shared.go      what the arena holds
//	sessions.go, limiter.go, reports.go    one use of it each
//	server.go      the routes, and /stats
//	worker.go      a worker process: serve, drain, leave
//	supervisor.go  the arena, the socket, signals
//	crew.go        starting, replacing and rolling workers
//	client.go      one who asks, and asks again
//	visitor.go     one with a session, who counts his visits himself
//	judge.go       the trials, and what they ask in common
//	stampede.go    many at once: stampede, takeover, limit
//	traffic.go     visitors who go on: traffic, restart
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
	addr     string
	workers  int
	allowed  uint64
	window   time.Duration
	serve    bool
	crowd    int
	duration time.Duration
	kill     time.Duration
	json     bool
}

const (
	maxWorkers = 64
	maxCrowd   = 10_000 // connections, and so files, at once
	maxWindow  = 24 * time.Hour
)

func parseOptions(args []string) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("prefork", flag.ContinueOnError)
	f.StringVar(&o.name, "name", "", "name of the arena (default \"prefork\" with -serve, else one of our own)")
	f.Int64Var(&o.size, "size", 64<<20, "bytes the arena may grow to")
	f.StringVar(&o.addr, "addr", "127.0.0.1:0", "address to listen on (port 0: any that is free)")
	f.IntVar(&o.workers, "workers", max(2, runtime.NumCPU()), "worker processes")
	f.Uint64Var(&o.allowed, "limit", 100, "requests to /api that a client may make in a window")
	f.DurationVar(&o.window, "window", time.Minute, "length of a window")
	f.BoolVar(&o.serve, "serve", false, "only serve, until Ctrl-C")
	f.IntVar(&o.crowd, "crowd", 1000, "how many ask at once in a stampede")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "how long traffic goes on while workers are killed")
	f.DurationVar(&o.kill, "kill", time.Second, "how often to kill a random worker then")
	f.BoolVar(&o.json, "json", false, "print the summary as a JSON object on the last line")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.name == "" {
		o.name = "prefork"
		if !o.serve { // several may demonstrate at the same time
			o.name += fmt.Sprintf(".%d", os.Getpid())
		}
	}
	return o, o.check(f.Args())
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) != 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.workers < 2 || o.workers > maxWorkers:
		return fmt.Errorf("-workers %d: want 2 to %d", o.workers, maxWorkers)
	case o.crowd < 1 || o.crowd > maxCrowd:
		return fmt.Errorf("-crowd %d: want 1 to %d", o.crowd, maxCrowd)
	case o.allowed < 1 || o.allowed > maxCrowd:
		return fmt.Errorf("-limit %d: want 1 to %d", o.allowed, maxCrowd)
	case o.window < time.Second || o.window > maxWindow:
		return fmt.Errorf("-window %v: want 1s to %v", o.window, maxWindow)
	case o.duration <= 0 || o.kill <= 0:
		return errors.New("a duration is not above 0")
	}
	return nil
}

func main() {
	err := run(os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "prefork:", err)
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newSupervisor(ctx, o)
	if err != nil {
		return err
	}
	return s.finish(s.run(ctx))
}
