package psync

import (
	"context"
	"sync"
)

// Turn lets one of the goroutines of this process that wait for the same word
// sleep on it in the kernel, which costs a thread. The others park on a channel
// that is closed when that one gets up; then all look, and who has not got what he
// waits for comes again. It is not for segments.
type Turn struct {
	mu     sync.Mutex
	asleep bool          // somebody has the turn
	up     chan struct{} // closed when he gives it back; nil: nobody is parked
}

// Take gives the caller the turn, and is true: he sleeps, and then calls Give. Or
// somebody else has it: then it waits until that one gives it back, or the context
// ends, and is false.
func (t *Turn) Take(ctx context.Context) bool {
	up, mine := t.enter()
	if !mine {
		select {
		case <-up:
		case <-ctx.Done():
		}
	}
	return mine
}

func (t *Turn) enter() (up <-chan struct{}, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asleep {
		t.asleep = true
		return nil, true
	}
	if t.up == nil {
		t.up = make(chan struct{})
	}
	return t.up, false
}

// Give gives the turn back, and has everybody look who is parked.
func (t *Turn) Give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asleep = false
	if t.up != nil {
		close(t.up)
		t.up = nil
	}
}

// State reports whether somebody has the turn, and whether others wait for it.
func (t *Turn) State() (taken, awaited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asleep, t.up != nil
}
