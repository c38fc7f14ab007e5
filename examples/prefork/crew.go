package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"
)

// member is a worker process.
type member struct {
	seat  int
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ready chan struct{} // closed when it serves
	gone  chan struct{} // closed when it has ended
	err   error         // of a member that is gone
}

func (m *member) pid() int { return m.cmd.Process.Pid }

// hire starts all workers and waits until they serve.
func (s *supervisor) hire(ctx context.Context) error {
	s.mu.Lock()
	for seat := range s.crew {
		if err := s.fill(seat); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	return s.settle(ctx)
}

// fill gives a seat to a new worker, under the lock.
func (s *supervisor) fill(seat int) error {
	m, err := s.start(seat)
	if err == nil {
		s.crew[seat] = m
	}
	return err
}

// settle waits until all seats are taken by workers that serve.
func (s *supervisor) settle(ctx context.Context) error {
	for {
		crew := s.members()
		for _, m := range crew {
			select {
			case <-m.ready:
			case <-m.gone: // it has a successor, or we are to fail
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if slices.Equal(crew, s.members()) && ctx.Err() == nil {
			return nil
		}
	}
}

func (s *supervisor) members() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.crew)
}

// start starts a worker: this program, in its other role. It is called under the
// lock.
func (s *supervisor) start(seat int) (*member, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &member{seat: seat, ready: make(chan struct{}), gone: make(chan struct{})}
	m.cmd = exec.Command(exe, workerRole, s.name)
	m.cmd.Stderr = os.Stderr
	m.cmd.ExtraFiles = []*os.File{s.socket} // the first is descriptor 3
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	s.starts.Inc()
	s.running[m] = struct{}{}
	go s.watch(m, said)
	return m, nil
}

// watch follows a worker from its start to its end.
func (s *supervisor) watch(m *member, said io.Reader) {
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if lines.Text() == ready {
			close(m.ready)
		}
	}
	m.err = m.cmd.Wait()
	s.ended(m)
	close(m.gone)
}

// ended gives the seat of a worker to another one, unless that was on its way out.
func (s *supervisor) ended(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, m)
	if s.leaving || s.crew[m.seat] != m {
		return
	}
	select {
	case <-m.ready:
	default:
		if !m.killed() { // the next one would fare no better
			s.fail(fmt.Errorf("worker %d did not come up: %v", m.pid(), m.err))
			return
		}
	}
	if err := s.fill(m.seat); err != nil {
		s.fail(err)
		return
	}
	s.say("worker %d: %v; worker %d takes its place", m.pid(), m.end(), s.crew[m.seat].pid())
}

// killed reports whether a signal has ended the worker.
func (m *member) killed() bool {
	var status *exec.ExitError
	return errors.As(m.err, &status) && status.ExitCode() == -1
}

// end says how a worker has ended.
func (m *member) end() any {
	if m.err == nil {
		return "left"
	}
	return m.err
}

// shoot kills a worker of the crew with SIGKILL, and returns when it is dead. It
// reports whether it has: it may have ended before.
func (s *supervisor) shoot(m *member) bool {
	err := m.cmd.Process.Kill()
	<-m.gone
	if err != nil || !m.killed() {
		return false
	}
	s.kills.Inc()
	return true
}

// member returns the worker of the crew that has a pid, nil if none has.
func (s *supervisor) member(pid uint64) *member {
	for _, m := range s.members() {
		if uint64(m.pid()) == pid {
			return m
		}
	}
	return nil
}

func (s *supervisor) anyone() *member { return s.members()[rand.IntN(s.workers)] }

// roll replaces all workers, one after another: a new one is there before the old
// one drains. It returns the old ones when the last of them is gone.
func (s *supervisor) roll(ctx context.Context) (old []*member, err error) {
	s.rolling.Lock()
	defer s.rolling.Unlock()
	for seat := range s.crew {
		m, err := s.relieve(ctx, seat)
		if err != nil {
			return old, err
		}
		old = append(old, m)
	}
	for _, m := range old {
		select {
		case <-m.gone:
		case <-ctx.Done():
			return old, context.Cause(ctx)
		}
	}
	s.say("rolled: all %d workers are new", len(old))
	return old, nil
}

// relieve gives a seat to a new worker, once that serves, and has the old one
// drain.
func (s *supervisor) relieve(ctx context.Context, seat int) (old *member, err error) {
	for {
		s.mu.Lock()
		fresh, err := s.start(seat)
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-fresh.ready:
		case <-fresh.gone: // killed; nobody has replaced it, it had no seat
			if fresh.killed() {
				continue
			}
			return nil, fmt.Errorf("worker %d did not come up: %v", fresh.pid(), fresh.err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if old, ok := s.seat(fresh); ok {
			fmt.Fprintln(old.stdin, drain) // it fails if the old one was killed: that will do, too
			return old, nil
		}
	}
}

// seat gives its seat to a new worker, unless that was killed meanwhile, and
// returns the old one.
func (s *supervisor) seat(fresh *member) (old *member, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok = s.running[fresh]; !ok {
		return nil, false
	}
	old, s.crew[fresh.seat] = s.crew[fresh.seat], fresh
	return old, true
}

// dismiss ends all workers and waits for them.
func (s *supervisor) dismiss() error {
	s.mu.Lock()
	s.leaving = true
	all := slices.Collect(maps.Keys(s.running))
	s.mu.Unlock()
	late := time.AfterFunc(2*patience, func() {
		for _, m := range all {
			m.cmd.Process.Kill()
		}
	})
	for _, m := range all {
		m.stdin.Close()
	}
	errs := []error{s.listener.Close()}
	for _, m := range all {
		if <-m.gone; m.err != nil && !m.killed() {
			errs = append(errs, fmt.Errorf("worker %d: %w", m.pid(), m.err))
		}
	}
	if !late.Stop() {
		errs = append(errs, fmt.Errorf("workers were told to leave, and killed after %v", 2*patience))
	}
	return errors.Join(errs...)
}
