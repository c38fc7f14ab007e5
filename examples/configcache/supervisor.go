package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
	"github.com/shmkit/shmkit/value"
)

// supervisor runs workers on an arena.
type supervisor struct {
	*options
	arena  *arena.Arena
	tally  *tally
	loader *loader
	table  *table

	rowsName string
	rows     *array.Array[uint64]
	crew     []*member // by row
	exits    chan exit
	before   counts
	took     time.Duration
}

// member is a running worker.
type member struct {
	row   int
	cmd   *exec.Cmd
	stdin io.Closer // its end tells the worker to end
}

type exit struct {
	*member
	err error
}

// newSupervisor opens the arena, or creates it.
func newSupervisor(o *options) (*supervisor, error) {
	src := &source{file: o.config}
	c, err := src.read()
	if err != nil {
		return nil, err
	}
	s := &supervisor{options: o, table: newTable(o.json), crew: make([]*member, o.workers), exits: make(chan exit)}
	s.arena, err = arena.OpenOrCreate(o.name, &arena.Options{
		MaxSize: o.size, Processes: 256, Lifetime: arena.RemoveWithLast,
		Init: func(a *arena.Arena) error { return create(a, len(c)) },
	})
	if err != nil {
		return nil, err
	}
	if err := s.open(src); err != nil {
		return nil, errors.Join(err, s.arena.Close())
	}
	return s, nil
}

// open opens what the arena holds and adds the rows of our workers.
func (s *supervisor) open(src *source) error {
	me, _ := s.arena.Self()
	l := &loader{arena: s.arena, source: src, every: s.reload, churn: s.churn, say: s.table.say}
	l.me = claim{uint32(me.Slot), me.Incarnation}
	err := errors.Join(
		into(&l.cache)(openCache(s.arena)),
		into(&l.role)(value.Open[claim](s.arena, "loader")),
		into(&s.tally)(openTally(s.arena)),
	)
	if err != nil {
		return err
	}
	l.tally, s.loader, s.before = s.tally, l, s.tally.read()
	// The slot is ours alone; a predecessor in it may have left its rows.
	s.rowsName = fmt.Sprintf("rows.%d", l.me.Slot)
	if err := s.arena.Remove(s.rowsName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.rows, err = array.Create[uint64](s.arena, s.rowsName, s.workers*rowWords)
	return err
}

// run loads, and keeps the workers running, until ctx is done or one fails.
func (s *supervisor) run(ctx context.Context) error {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		s.loader.run(ctx)
	}()
	err := s.hire()
	if err == nil {
		err = s.supervise(ctx)
	}
	s.took = time.Since(start)
	cancel()
	<-loaded
	return errors.Join(err, s.dismiss())
}

func (s *supervisor) supervise(ctx context.Context) error {
	show := time.NewTicker(time.Second)
	defer show.Stop()
	var kill <-chan time.Time
	if s.kill > 0 {
		t := time.NewTicker(s.kill)
		defer t.Stop()
		kill = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.exits:
			if err := s.replace(e); err != nil {
				return err
			}
		case <-kill:
			if err := s.killOne(); err != nil {
				return err
			}
		case <-show.C:
			s.table.draw(s.status())
		}
	}
}

// hire starts all workers.
func (s *supervisor) hire() error {
	for row := range s.crew {
		if err := s.start(row); err != nil {
			return err
		}
	}
	return nil
}

// start starts the worker of a row: this program, in its other role.
func (s *supervisor) start(row int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range rowWords {
		if err := s.rows.Store(row*rowWords+i, 0); err != nil {
			return err
		}
	}
	m := &member{row: row, cmd: exec.Command(exe, workerRole, s.name, s.rowsName, strconv.Itoa(row))}
	m.cmd.Stderr = os.Stderr
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	s.crew[row] = m
	go func() { s.exits <- exit{m, m.cmd.Wait()} }()
	return nil
}

// killOne kills a random worker; its exit brings the next one.
func (s *supervisor) killOne() error {
	err := s.crew[rand.IntN(len(s.crew))].cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	s.tally.kills.Inc()
	return err
}

// replace starts another worker for one that was killed, whoever killed it.
func (s *supervisor) replace(e exit) error {
	s.crew[e.row] = nil
	if err := e.failure(); err != nil {
		return err
	}
	return s.start(e.row)
}

// failure returns why the worker ended, if it was not killed.
func (e exit) failure() error {
	var status *exec.ExitError
	if e.err == nil || errors.As(e.err, &status) && status.ExitCode() == -1 {
		return nil
	}
	return fmt.Errorf("worker %d: %w", e.cmd.Process.Pid, e.err)
}

// patience is how long a worker may take to end.
const patience = 10 * time.Second

// dismiss ends all workers and waits for them.
func (s *supervisor) dismiss() error {
	var errs []error
	late := time.AfterFunc(patience, s.killAll)
	defer late.Stop()
	left := 0
	for _, m := range s.crew {
		if m != nil {
			left++
			m.stdin.Close()
		}
	}
	for range left {
		errs = append(errs, (<-s.exits).failure())
	}
	return errors.Join(errs...)
}

func (s *supervisor) killAll() {
	for _, m := range s.crew {
		if m != nil {
			m.cmd.Process.Kill()
		}
	}
}
