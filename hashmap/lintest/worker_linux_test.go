package lintest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/internal/shmtest"
)

const (
	keys  = 4    // of a round
	hands = 2    // goroutines of a process
	burst = 50   // calls of a hand in a row, without pause or with pauses
	quota = 1000 // calls of a hand
)

// Words of a call in a journal. The verb is stored last of what is known before
// the call, the end last of what is known after it.
const (
	wordVerb = iota
	wordBegin
	wordKey
	wordV
	wordOld
	wordEnd
	wordAnswer
	wordOK
	callWords
)

type shared = hashmap.Map[uint64, uint64]

func TestMain(m *testing.M) {
	shmtest.Main(m, map[string]func(args []string) int{"worker": worker, "exchanger": exchanger, "reader": reader, "grower": grower})
}

// now is the clock that all processes have in common.
func now() uint64 {
	var ts unix.Timespec
	shmtest.Must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return uint64(ts.Nano())
}

func openMap(name string, o *arena.Options) *shared {
	a, err := arena.Open(name, o)
	shmtest.Must(err)
	m, err := hashmap.Open[uint64, uint64](a, "m", nil)
	shmtest.Must(err)
	return m
}

// hand is one goroutine of a process: what it calls, and where it writes it down.
type hand struct {
	m       *shared
	journal *shmtest.Journal
	n       int // place of its first call in the journal
	first   uint64
	r       *rand.Rand
	seen    [keys]uint64
	choose  func(*rand.Rand) verb
}

func worker(args []string) int { return crew(args, nil, someVerb) }

// exchanger is a worker that also exchanges the content now and then.
func exchanger(args []string) int {
	return crew(args, nil, func(r *rand.Rand) verb {
		if r.IntN(100) == 0 {
			return exchange + verb(r.IntN(2))
		}
		return someVerb(r)
	})
}

// reader looks only, over a mapping that it cannot write.
func reader(args []string) int {
	return crew(args, &arena.Options{ReadOnly: true}, func(r *rand.Rand) verb { return load + verb(r.IntN(2)) })
}

// perturb makes the worst of the stores of a process, if the build lets it: it is
// held up before some of them, and killed before one if it is to die.
var perturb = func(doomed bool) {}

// crew has the hands of a process work when it is told to. The arguments are the
// arena, the journal, the number of the process in it, and the first key.
func crew(args []string, o *arena.Options, choose func(*rand.Rand) verb) int {
	m, journal := openMap(args[0], o), shmtest.OpenJournal(args[1])
	me, _ := strconv.Atoi(args[2])
	first, _ := strconv.ParseUint(args[3], 10, 64)
	shmtest.Say("ready")
	perturb(shmtest.Hear() == "die")
	var all sync.WaitGroup
	for i := range hands {
		h := &hand{m: m, journal: journal, n: (me*hands + i) * quota, first: first, choose: choose,
			r: rand.New(rand.NewPCG(rand.Uint64(), 0))}
		all.Go(h.work)
	}
	all.Wait()
	shmtest.Must(m.Err())
	shmtest.Say("done")
	shmtest.Hear()
	return 0
}

// someVerb chooses a verb for one key.
func someVerb(r *rand.Rand) verb {
	if r.IntN(5) == 0 {
		return load
	}
	return contains + verb(r.IntN(int(add-contains)+1))
}

// work makes the hand's calls. In every other burst it lets others in between, in
// the rest it has the processor for as long as they leave it, and dies in them.
func (h *hand) work() {
	for i := range quota {
		if i/burst%2 == 0 && h.r.IntN(2) == 0 {
			time.Sleep(time.Duration(h.r.IntN(50)) * time.Microsecond)
		}
		k := h.r.Uint64N(keys)
		in := call{verb: h.choose(h.r), key: h.first + k, v: h.r.Uint64(), old: h.seen[k]}
		note := func(word int, v uint64) { h.journal.Word((h.n+i)*callWords + word).Store(v) }
		note(wordKey, in.key)
		note(wordV, in.v)
		note(wordOld, in.old)
		note(wordBegin, now())
		note(wordVerb, uint64(in.verb))
		v, ok, err := do(h.m, in)
		end := now()
		shmtest.Must(err)
		note(wordAnswer, v)
		if ok {
			note(wordOK, 1)
		}
		note(wordEnd, end)
		if ok && v != 0 {
			h.seen[k] = v
		} else if in.verb == store || in.verb == compareAndSwap {
			h.seen[k] = in.v
		}
	}
}

// do calls the map.
func do(m *shared, in call) (v uint64, ok bool, err error) {
	switch in.verb {
	case load:
		v, ok = m.Load(in.key)
	case contains:
		ok = m.Contains(in.key)
	case store:
		err = m.Store(in.key, in.v)
	case swap:
		v, ok, err = m.Swap(in.key, in.v)
	case loadOrStore:
		v, ok, err = m.LoadOrStore(in.key, in.v)
	case loadAndDelete:
		v, ok, err = m.LoadAndDelete(in.key)
	case remove:
		ok, err = m.Delete(in.key)
	case compareAndSwap:
		ok, err = m.CompareAndSwap(in.key, in.old, in.v)
	case compareAndDelete:
		ok, err = m.CompareAndDelete(in.key, in.old)
	case compute:
		v, ok, err = m.Compute(in.key, func(old uint64, there bool) (uint64, hashmap.Action) {
			return action(cell{there, old}, in.v)
		})
	case add:
		v, err = hashmap.Add(m, in.key, in.v)
	case clear:
		err = m.Clear()
	case exchange:
		err = m.ReplaceAll(maps.All(content(in)))
	default:
		err = fmt.Errorf("verb %d", in.verb)
	}
	return v, ok, err
}

// action is computed, as Compute wants it.
func action(old cell, v uint64) (uint64, hashmap.Action) {
	switch after := computed(old, v); {
	case after == old:
		return 0, hashmap.Cancel
	case after.there:
		return after.v, hashmap.Store
	default:
		return 0, hashmap.Delete
	}
}

// firstOf is the first key of the round that a key is of.
func firstOf(key uint64) uint64 { return key - key%keys }

// content is what ReplaceAll brings: all keys of the round, each with a value of its own.
func content(in call) map[uint64]uint64 {
	all := make(map[uint64]uint64)
	for i := range uint64(keys) {
		all[firstOf(in.key)+i] = in.v + i
	}
	return all
}

// grower inserts keys of its own until it is killed. What is cleared meanwhile it
// inserts anew, so there is always something that grows.
func grower(args []string) int {
	m := openMap(args[0], nil)
	shmtest.Say("ready")
	shmtest.Hear()
	for {
		for i := range uint64(20_000) {
			shmtest.Must(m.Store(1<<63|i, i))
			if i%500 == 0 {
				time.Sleep(50 * time.Microsecond)
			}
		}
	}
}

// history reads what a hand has written down. An exchange of the content is a call
// for each key.
func history(j *shmtest.Journal, client, n int) (all []porcupine.Operation, pending int) {
	for i := range quota {
		word := func(w int) uint64 { return j.Word((n+i)*callWords + w).Load() }
		in := call{verb: verb(word(wordVerb)), key: word(wordKey), v: word(wordV), old: word(wordOld)}
		if in.verb == 0 {
			return all, pending
		}
		op := porcupine.Operation{ClientId: client, Call: int64(word(wordBegin)), Return: int64(word(wordEnd)),
			Output: answer{true, word(wordAnswer), word(wordOK) != 0}}
		if op.Return == 0 {
			op.Return, op.Output = never, answer{}
			pending++
		}
		if in.verb != exchange && in.verb != clear {
			op.Input = in
			all = append(all, op)
			continue
		}
		for k, v := range content(in) {
			op.Input = call{verb: in.verb, key: k, v: v}
			all = append(all, op)
		}
	}
	return all, pending
}
