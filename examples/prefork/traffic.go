package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// traffic has visitors roam while workers are killed.
func (j *judge) traffic(ctx context.Context) (figures, string, error) {
	for _, v := range j.visitors {
		if err := v.login(ctx); err != nil {
			return nil, "", err
		}
	}
	before := j.kills.Load()
	o := j.roam(ctx)
	over, kill := time.After(j.duration), time.NewTicker(j.kill)
	defer kill.Stop()
	for goOn := true; goOn; {
		select {
		case <-kill.C:
			j.shoot(j.anyone())
		case <-over:
			goOn = false
		case <-o.ctx.Done():
			goOn = false
		}
	}
	if err := errors.Join(o.end(), j.settle(ctx)); err != nil {
		return nil, "", err
	}
	f := j.count()
	err := j.everywhere(ctx)
	f["kills"], f["counted"] = int64(j.kills.Load()-before), j.count()["answered"]
	return f, fmt.Sprintf("%d visitors while %d workers are killed: %d visits were answered and %d broke; every worker says that %d are counted",
		len(j.visitors), f["kills"], f["answered"], f["unsure"], f["counted"]), err
}

// restart has visitors roam while all workers are replaced.
func (j *judge) restart(ctx context.Context) (figures, string, error) {
	if err := j.warm(ctx); err != nil {
		return nil, "", err
	}
	before, err := j.stats(ctx)
	if err != nil {
		return nil, "", err
	}
	then := j.count()
	o := j.roam(ctx)
	o.await(steps)
	old, err := j.roll(o.ctx)
	o.await(steps)
	if err := errors.Join(o.end(), err, j.everywhere(ctx), j.warm(ctx)); err != nil {
		return nil, "", err
	}
	after, err := j.stats(ctx)
	if err != nil {
		return nil, "", err
	}
	now := j.count()
	f := figures{
		"answered": now["answered"] - then["answered"], "broken": now["broken"] - then["broken"],
		"loads": int64(after.Loads - before.Loads), "replaced": int64(len(old)),
	}
	return f, fmt.Sprintf("all %d workers are replaced during %d visits: %d requests broke, %d reports were loaded again, every session is valid at every new worker",
		f["replaced"], f["answered"], f["broken"], f["loads"]), j.renewed(old, f)
}

// steps is what each visitor has to do before and after the restart.
const steps = 20

// renewed judges a restart.
func (j *judge) renewed(old []*member, f figures) error {
	if f["broken"] != 0 || f["loads"] != 0 {
		return fmt.Errorf("%d requests broke and %d reports were loaded again, want none", f["broken"], f["loads"])
	}
	for _, m := range old {
		if m.err != nil {
			return fmt.Errorf("worker %d was to drain, and ended with %w", m.pid(), m.err)
		}
		if j.member(uint64(m.pid())) != nil {
			return fmt.Errorf("worker %d was not replaced", m.pid())
		}
	}
	return nil
}

// warm looks at all reports in the album.
func (j *judge) warm(ctx context.Context) error {
	for i := range albumSize {
		path := reportPath(i)
		a, err := j.client.get(ctx, path, nil)
		if err == nil {
			err = j.album.compare(path, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outing is all visitors roaming.
type outing struct {
	ctx      context.Context // ends when one of them has found a fault
	cancel   context.CancelCauseFunc
	visitors []*visitor
	stop     chan struct{}
	all      sync.WaitGroup
}

func (j *judge) roam(ctx context.Context) *outing {
	o := &outing{visitors: j.visitors, stop: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	for _, v := range j.visitors {
		o.all.Go(func() {
			if err := v.roam(o.ctx, o.stop); err != nil {
				o.cancel(err) // the first one counts
			}
		})
	}
	return o
}

// end has all visitors come home, and returns the first fault that was found.
func (o *outing) end() error {
	close(o.stop)
	o.all.Wait()
	err := context.Cause(o.ctx)
	o.cancel(nil)
	return err
}

// await returns when each visitor has made n more steps, or there is a fault.
func (o *outing) await(n int64) {
	for _, v := range o.visitors {
		for target := v.steps.Load() + n; v.steps.Load() < target && o.ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
	}
}
