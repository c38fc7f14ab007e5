package arena

import (
	"errors"
	"time"

	"github.com/shmkit/shmkit/internal/psync"
)

// ProcessInfo describes a process slot in use. Only Alive is exact; the process
// id is that of the process's own pid namespace.
type ProcessInfo struct {
	Slot        int
	Incarnation uint32
	PID         int
	Name        string
	Started     time.Time
	Alive       bool // false: killed, and not yet recovered
	Pins        int  // objects it has open
}

// Processes lists the processes that have the arena open for writing.
func (a *Arena) Processes() ([]ProcessInfo, error) {
	if a.closed.Load() {
		return nil, ErrClosed
	}
	return a.processes(a.alive)
}

func (c *core) processes(alive func(psync.ID) (bool, error)) ([]ProcessInfo, error) {
	var ps []ProcessInfo
	for s := range c.slots.High() {
		id, used := c.slots.Current(s)
		if !used {
			continue
		}
		p := c.process(s)
		var err error
		if p.Alive, err = alive(id); err != nil {
			return ps, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func (a *Arena) alive(id psync.ID) (bool, error) {
	if a.owner != nil {
		return a.owner.Alive(id)
	}
	return a.slots.Alive(id)
}

// process reads what slot s says about its process.
func (c *core) process(s int) ProcessInfo {
	id, _ := c.slots.Current(s)
	w := c.slot(s)
	p := ProcessInfo{
		Slot: s, Incarnation: id.Incarnation(), PID: int(w.pid.Load()),
		Started: time.Unix(0, int64(w.started.Load())),
	}
	var text []byte
	for i := range w.name {
		text = appendText(text, w.name[i].Load())
	}
	p.Name = string(text)
	for i := range w.pins {
		p.Pins += ones(w.pins[i].Load())
	}
	return p
}

// appendText appends the characters packed in w, up to the first zero.
func appendText(b []byte, w uint64) []byte {
	for ; w&0xff != 0; w >>= 8 {
		b = append(b, byte(w))
	}
	return b
}

// Recover settles what dead processes left, and returns how many there were. It
// is called at open and when memory is short; calling it more often only makes
// memory available sooner.
func (a *Arena) Recover() (int, error) {
	if err := a.enter(); err != nil {
		return 0, err
	}
	defer a.exit()
	n, err := a.slots.Recover(a.owner, a.settle)
	if n > 0 {
		err = errors.Join(err, a.collect())
	}
	return n, err
}

// enter begins an operation that stores into the segment. Until exit Close does
// not let go of the slot: after that no store of ours may come (B8).
func (a *Arena) enter() error {
	a.inside.Add(1)
	err := a.writable()
	if err != nil {
		a.inside.Add(-1)
	}
	return err
}

func (a *Arena) exit() { a.inside.Add(-1) }

// Self returns the slot of this process; ok is false on a read-only arena,
// which has none. Slot and incarnation together name this attach for ever.
func (a *Arena) Self() (p ProcessInfo, ok bool) {
	if a.owner == nil || a.closed.Load() {
		return ProcessInfo{}, false
	}
	p = a.process(a.owner.ID().Slot())
	p.Alive = true
	return p, true
}

// writable returns why the arena can't be written, if it can't.
func (a *Arena) writable() error {
	switch {
	case a.closed.Load():
		return ErrClosed
	case a.owner == nil:
		return ErrReadOnly
	}
	return nil
}

// reason translates the errors of the floors below.
func (a *Arena) reason(err error) error {
	if errors.Is(err, psync.ErrClosed) {
		return ErrClosed
	}
	return err
}
