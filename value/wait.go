package value

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// How waiting works. Of the goroutines that wait on a handle one sleeps on the
// change word, the others wait for it (psync.Turn).
//
// A writer stores the word and raises the change word after. If it is killed in
// between nobody would ever raise it, so a handle remembers the word it first
// saw at the change word it saw last. When the word is another one and the
// change word the same, somebody is slow or dead: the waiter raises the change
// word itself. At worst the version then rises by two for one store. On a
// read-only handle it can't, and counts the missing raise for this handle alone.

const (
	longestSleep  = 10 * time.Millisecond // until the word itself is looked at
	shortestSleep = 100 * time.Microsecond
	spins         = 300 // loads; a wake-up by one who runs already comes sooner than a sleep
)

// alone: nobody can change anything while we spin.
var alone = runtime.NumCPU() == 1

// watch is how the goroutines of this process watch one value.
type watch struct {
	seen   atomic.Uint64 // change word seen last; 0: none
	missed atomic.Uint64 // raises that nobody made and we can't make up for

	mu    sync.Mutex
	first uint64 // the word when seen was seen first

	turn psync.Turn // whose is the sleep
}

// sight is what a look at the root showed.
type sight struct{ word, change, version uint64 }

// Version returns a number that rises with each change of the value, whether or
// not the value differs; 0 if Err is not nil. Take the version first and the value
// after, then [Value.Wait] for this version misses nothing.
func (v *Value[T]) Version() uint64 {
	change := v.root.change.Load()
	if change != v.watch.seen.Load() {
		change = v.note()
	}
	version := change + v.watch.missed.Load()
	if v.handle.Gone() {
		version = 0
	}
	runtime.KeepAlive(v)
	return version
}

// Wait returns the value and its version as soon as the version is not since.
// Versions begin at 1, so since 0 returns at once. It ends with the error of the
// context, and with ErrClosed or ErrRemoved; the latter two, a cancelled context,
// and a change by a process that was killed in it are noticed within 10 ms.
//
//	for version := uint64(0); ; {
//		x, version, err = v.Wait(ctx, version)
//
// On a read-only arena nobody wakes the waiter: it looks after 0.1 ms, then less
// and less often, every 10 ms in the end.
func (v *Value[T]) Wait(ctx context.Context, since uint64) (T, uint64, error) {
	s, err := v.wait(ctx, since)
	runtime.KeepAlive(v)
	return mem.FromWord[T](s.word), s.version, err
}

func (w *word) wait(ctx context.Context, since uint64) (sight, error) {
	for {
		s, err := w.look()
		if err == nil && s.version != since {
			return s, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return sight{}, err
		}
		if w.watch.turn.Take(ctx) {
			w.sleep(ctx, s)
			w.watch.turn.Give()
		}
	}
}

// sleep returns when there is something to see: another version than that of s,
// an error, a context that has ended.
func (w *word) sleep(ctx context.Context, s sight) {
	if w.spin(s.change) {
		return
	}
	for pause := w.firstSleep(); ; pause = min(2*pause, longestSleep) {
		w.announce()
		psync.Wait(&w.root.change, s.change, pause)
		now, err := w.look()
		if err != nil || now.version != s.version || ctx.Err() != nil {
			return
		}
	}
}

// spin waits a moment for the change word to change, without a system call.
func (w *word) spin(change uint64) bool {
	for i := 0; i < spins && !alone; i++ {
		if w.root.change.Load() != change {
			return true
		}
	}
	return false
}

func (w *word) firstSleep() time.Duration {
	if w.handle.ReadOnly() {
		return shortestSleep
	}
	return longestSleep
}

// announce asks writers for a wake-up. The flag is set again before each sleep:
// who cleared it may have been killed before he woke us.
func (w *word) announce() {
	if !w.handle.Barred() && w.root.watched.Load() == 0 {
		w.root.watched.Store(1) // survivor: one wake-up for nobody
	}
}

// wake wakes who sleeps, in all processes. The flag goes first: who sets it after
// that and before the wake-up is woken too, or does not fall asleep, because the
// change word is not what he saw.
func (r *valueRoot) wake() {
	r.watched.Store(0) // survivor: sleepers look again within 10 ms
	psync.Wake(&r.change)
}

// look reads the root, and makes up for a raise that is missing.
func (w *word) look() (sight, error) {
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	s := w.read()
	switch {
	case w.handle.Gone():
		return sight{}, w.Err()
	case s.change != w.watch.seen.Load():
		w.watch.see(s)
	case s.word != w.watch.first:
		s.change = w.makeUp(s.change)
		w.watch.see(s)
	}
	s.version = s.change + w.watch.missed.Load()
	return s, nil
}

// makeUp raises the change word for one who has not, and returns what it is then.
func (w *word) makeUp(change uint64) uint64 {
	if w.handle.ReadOnly() {
		w.watch.missed.Add(1)
		return change
	}
	w.root.raise() // survivor: once too often
	return w.root.change.Load()
}

// note remembers the word at the present change word, and returns the latter.
func (w *word) note() uint64 {
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	s := w.read()
	if s.change != w.watch.seen.Load() {
		w.watch.see(s)
	}
	return s.change
}

// read reads the change word, and the word while that was the same.
func (w *word) read() sight {
	for {
		s := sight{change: w.root.change.Load(), word: w.root.word.Load()}
		if w.root.change.Load() == s.change {
			return s
		}
	}
}

// see has the lock held.
func (k *watch) see(s sight) {
	k.first = s.word
	k.seen.Store(s.change)
}
