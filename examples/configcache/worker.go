package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/array"
)

// workerRole is the first argument of a worker; its name of the arena, its
// array of rows and the number of its row follow.
const workerRole = "worker"

// A row of the array is what one worker says of itself.
const (
	rowPID = iota
	rowLookups
	rowGeneration
	rowWords
)

// batch is the number of lookups between two additions to the counters.
const batch = 1024

// worker looks keys up and judges the answers.
type worker struct {
	*cache
	tally *tally
	rows  *array.Array[uint64]
	row   int

	known  uint64 // of cache.keys, when targets was made
	target []target
	order  [1 << 16]uint32 // indices of targets, popular ones often
	next   uint16
	begun  uint64 // at least so many generations were begun
	done   uint64
	buf    []byte
}

// A target is a key to look up.
type target struct {
	key    string
	digest uint64
	seen   uint64 // youngest generation found under the key
}

func runWorker(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%s: want arena, rows and row, have %q", workerRole, args)
	}
	row, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // Ctrl-C is for the supervisor
	var stop atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	return work(args[0], args[1], row, &stop)
}

// work opens the arena twice: read-only for the lookups, so that a stray store
// would be a fault, and writable for the counters.
func work(name, rows string, row int, stop *atomic.Bool) (err error) {
	own, err := arena.Open(name, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	view, err := arena.Open(name, &arena.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	w := &worker{row: row * rowWords}
	err = errors.Join(
		into(&w.cache)(openCache(view)),
		into(&w.tally)(openTally(own)),
		into(&w.rows)(array.Open[uint64](own, rows)),
	)
	if err != nil {
		return err
	}
	err = w.run(stop)
	if errors.Is(err, array.ErrRemoved) {
		return nil // our supervisor is gone, and another one has its slot
	}
	return err
}

func (w *worker) run(stop *atomic.Bool) error {
	if err := w.rows.Store(w.row+rowPID, uint64(os.Getpid())); err != nil {
		return err
	}
	for !stop.Load() {
		if w.complete.Load() == 0 || !w.learn() {
			time.Sleep(time.Millisecond) // nothing is loaded yet
			continue
		}
		for range batch / 2 {
			w.lookup()
			w.lookupFact()
		}
		if err := w.report(); err != nil {
			return err
		}
	}
	return w.entries.Err()
}

// learn lists the keys in the map if they are not the ones known.
func (w *worker) learn() bool {
	keys := w.keys.Load()
	if keys == w.known && w.target != nil {
		return true
	}
	w.known, w.target = keys, w.target[:0]
	for key := range w.entries.All() {
		w.target = append(w.target, target{key: key, digest: digest(key)})
	}
	if len(w.target) == 0 {
		w.target = nil
		return false
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), 1.1, 8, uint64(len(w.target)-1))
	for i := range w.order {
		w.order[i] = uint32(zipf.Uint64())
	}
	return true
}

// lookup looks one key up.
func (w *worker) lookup() {
	t := &w.target[w.order[w.next]]
	w.next++
	oldest := max(t.seen, w.complete.Load())
	var ok bool
	if w.buf, ok = w.entries.LoadAppend(w.buf[:0], t.key); !ok {
		w.missed()
		return
	}
	generation, v := inspect(w.buf, t.digest)
	if v = w.dated(generation, oldest, v); v != intact {
		w.count(v)
		return
	}
	t.seen = generation
}

// lookupFact looks a key up in the map of structs.
func (w *worker) lookupFact() {
	t := &w.target[w.order[w.next]]
	w.next++
	oldest := w.complete.Load()
	f, ok := w.facts.Load(t.key)
	if !ok {
		w.missed()
		return
	}
	if v := w.dated(f.Generation, oldest, f.judge(t.digest)); v != intact {
		w.count(v)
	}
}

// dated judges the generation of an answer that is whole otherwise.
func (w *worker) dated(generation, oldest uint64, v verdict) verdict {
	switch {
	case v != intact:
	case generation < oldest:
		return stale
	case generation > w.begun:
		if w.begun = w.cache.begun.Load(); generation > w.begun {
			return wrong
		}
	}
	return v
}

// missed judges a lookup that found nothing: keys may come and go.
func (w *worker) missed() {
	if keys := w.keys.Load(); keys == w.known && keys%2 == 0 {
		w.count(wrong)
	}
}

func (w *worker) count(v verdict) {
	switch v {
	case torn:
		w.tally.torn.Inc()
	case wrong:
		w.tally.wrong.Inc()
	case stale:
		w.tally.stale.Inc()
	}
}

// report adds a batch to what everybody counts, and to our row.
func (w *worker) report() error {
	w.done += batch
	w.tally.lookups.Add(batch)
	return errors.Join(
		w.rows.Store(w.row+rowLookups, w.done),
		w.rows.Store(w.row+rowGeneration, w.complete.Load()),
	)
}
