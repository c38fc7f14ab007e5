package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shmkit/shmkit/arena"
)

// workerRole is the first argument of a worker; the name of the arena follows.
const workerRole = "worker"

// What supervisor and worker say to each other: a worker prints ready when it is,
// and is told to drain by a line on its standard input. The end of that tells it
// to leave at once; it comes by itself when the supervisor is killed.
const (
	ready = "ready"
	drain = "drain"
)

// inherited is the descriptor of the listening socket: the first after the standard
// ones.
const inherited = 3

const (
	// linger is how long a worker that drains waits for clients who keep a
	// connection and ask nothing. They should give it up before, as ours do, for
	// a request that is sent when we close would be lost.
	linger = 3 * time.Second
	// patience is how long requests in hand may take when a process is to end.
	patience = 15 * time.Second
)

// worker is a server in a process of its own.
type worker struct {
	*server
	http  http.Server
	conns atomic.Int64    // that are open
	order <-chan struct{} // one to drain; closed: leave
}

func runWorker(args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("%s: want arena, have %q", workerRole, args)
	}
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // they are for the supervisor
	a, err := arena.Open(args[0], nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	s, err := open(a, rule{})
	if err != nil {
		return err
	}
	socket := os.NewFile(inherited, "socket")
	l, err := net.FileListener(socket)
	if err = errors.Join(err, socket.Close()); err != nil {
		return err
	}
	w := &worker{server: newServer(s), order: orders()}
	w.http = http.Server{Handler: w.server, ReadHeaderTimeout: patience, ConnState: w.count}
	return w.run(l)
}

// orders reads what the supervisor says. SIGTERM means to drain, too.
func orders() <-chan struct{} {
	out := make(chan struct{})
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	go func() {
		defer close(out)
		for {
			select {
			case <-term:
			case line, ok := <-lines:
				if !ok || line != drain {
					return
				}
			}
			out <- struct{}{}
		}
	}()
	return out
}

// run serves until it is told to leave, or serving fails.
func (w *worker) run(l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- w.http.Serve(l) }()
	fmt.Println(ready)
	select {
	case err := <-served:
		return err
	case _, ok := <-w.order:
		if ok {
			w.drain(l)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.http.Shutdown(ctx) // whoever asks now is answered; only idle connections are closed
}

// drain takes no more connections, and waits until clients have left those there
// are: each answer asks them to.
func (w *worker) drain(l net.Listener) {
	w.draining.Store(true)
	l.Close() // the socket stays open at the others
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for enough := time.After(linger); w.conns.Load() > 0; {
		select {
		case <-look.C:
		case <-enough:
			return
		case _, ok := <-w.order:
			if !ok {
				return
			}
		}
	}
}

func (w *worker) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		w.conns.Add(1)
	case http.StateClosed:
		w.conns.Add(-1)
	}
}
