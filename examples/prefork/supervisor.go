package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/shmkit/shmkit/arena"
)

// supervisor runs workers on one socket and one arena.
type supervisor struct {
	*options
	*shared
	url      string
	listener net.Listener
	socket   *os.File // of the listener, for the workers
	out      *os.File // for people
	begun    time.Time
	rolling  sync.Mutex              // by one at a time
	fail     context.CancelCauseFunc // gives up, for a reason; the first one counts

	mu      sync.Mutex
	crew    []*member            // by seat; whoever ends here is replaced
	running map[*member]struct{} // the crew, those who drain, and those who are not ready
	leaving bool                 // nobody is replaced any more
}

// newSupervisor makes the arena and opens the socket.
func newSupervisor(ctx context.Context, o *options) (*supervisor, error) {
	s := &supervisor{options: o, out: os.Stdout, begun: time.Now(),
		crew: make([]*member, o.workers), running: make(map[*member]struct{})}
	if o.json {
		s.out = os.Stderr // standard output is for the summary
	}
	a, err := newArena(ctx, o)
	if err != nil {
		return nil, err
	}
	err = errors.Join(into(&s.shared)(open(a, rule{})), s.listen())
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return s, nil
}

// newArena makes an arena of our own. If there is one of the name, its processes
// may be workers of a supervisor that was killed, who are just leaving.
func newArena(ctx context.Context, o *options) (*arena.Arena, error) {
	end := time.Now().Add(patience)
	for try := 0; ; try++ {
		ours := false
		a, err := arena.OpenOrCreate(o.name, &arena.Options{
			MaxSize: o.size, Processes: 3*maxWorkers + 1, Lifetime: arena.RemoveWithLast,
			Init: func(a *arena.Arena) error {
				ours = true
				_, err := open(a, rule{Limit: uint32(o.allowed), Window: uint32(o.window / time.Millisecond)})
				return err
			},
		})
		if err != nil || ours {
			return a, err
		}
		if err := a.Close(); err != nil {
			return nil, err
		}
		if try == 0 {
			fmt.Fprintf(os.Stderr, "prefork: arena %q is in use: waiting for its processes to leave\n", o.name)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("arena %q is in use by another server: choose another -name", o.name)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// listen opens the socket that workers inherit.
//
// A socket is blocking or not for all processes that have it. A file that package
// net makes of it becomes blocking each time a process is started with it, and the
// workers there are would hang in accept. One that is made of the descriptor itself
// stays as it is; the listener is kept, since the descriptor is closed with it.
func (s *supervisor) listen() error {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.listener, s.url = l, "http://"+l.Addr().String()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { s.socket = os.NewFile(fd, "socket") })
}

// run serves until it is told to end or something fails; without -serve, until all
// has been judged.
func (s *supervisor) run(told context.Context) (j *judge, err error) {
	ctx, cancel := context.WithCancelCause(told)
	defer cancel(nil)
	s.fail = cancel
	j = newJudge(s)
	if err = s.hire(ctx); err == nil {
		stop := s.rollOnHangup(ctx)
		if s.say("%d workers serve on %s", s.workers, s.url); s.serve {
			fmt.Fprintf(s.out, examples, s.url, os.Getpid())
			<-ctx.Done()
		} else {
			err = j.run(ctx)
		}
		stop()
	}
	if ctx.Err() != nil && told.Err() == nil {
		err = context.Cause(ctx)
	}
	return j, errors.Join(err, s.dismiss())
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.out, "prefork: "+format+"\n", args...)
}

// rollOnHangup rolls at each SIGHUP, until the function that it returns is called.
func (s *supervisor) rollOnHangup(ctx context.Context) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hangup {
			if _, err := s.roll(ctx); err != nil && ctx.Err() == nil {
				s.fail(err)
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
		<-done
	}
}
