package lintest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/internal/shmtest"
)

const (
	writing = 3 // workers that run at a time
	kills   = 5 // of them, in a round
)

// tortureTime is how long rounds are begun.
func tortureTime(t *testing.T) time.Duration {
	text := os.Getenv("SHMKIT_TORTURE")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "SHMKIT_TORTURE")
	return d
}

// TestTorture_Linearizable kills some of the processes that write a map, and has a
// checker look at what the others saw, and what those had seen. A round is a
// history of its own, of keys that nobody has used before.
func TestTorture_Linearizable(t *testing.T) {
	a := shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: 32 << 20, Processes: 24, Objects: 4})
	m, err := hashmap.Create[uint64, uint64](a, "m", &hashmap.Options{Capacity: 1})
	require.NoError(t, err)
	var sum tally
	var s hashmap.Stats
	for start := time.Now(); sum.rounds < 3 || s.Growths == 0 || time.Since(start) < tortureTime(t); sum.rounds++ {
		r := round{t: t, a: a, m: m, first: uint64(sum.rounds * keys)}
		r.run([]string{"exchanger", "worker", "exchanger"}[sum.rounds%3], sum.rounds%3 != 0)
		r.judge(&sum)
		require.NoError(t, m.Clear()) // the next round begins with a small table
		s, err = m.Stats()
		require.NoError(t, err)
	}
	t.Logf("%d rounds with %d kills: %d operations have an order, %d of them were cut short; at most %d of a key, decided in at most %s; %d exchanges, %d growths",
		sum.rounds, sum.kills, sum.ops, sum.pending, sum.most, sum.longest, s.Exchanges, s.Growths)
	require.NoError(t, m.Check())
	require.NoError(t, m.Close())
}

// tally is what all rounds came to.
type tally struct {
	rounds, kills, ops, pending, most int
	longest                           time.Duration
}

// round is one history.
type round struct {
	t       *testing.T
	a       *arena.Arena
	m       *shared
	first   uint64
	journal *shmtest.Journal
	all     []*shmtest.Child // all that have hands
	kills   int
}

// run has workers work, and others in place of the killed.
func (r *round) run(worker string, grow bool) {
	r.journal = shmtest.NewJournal(r.t, (writing+kills+1)*hands*quota*callWords)
	for i := range writing + kills + 1 {
		role := worker
		if i == 0 {
			role = "reader"
		}
		r.all = append(r.all, shmtest.Start(r.t, role, r.a.Name(), r.journal.Path(), fmt.Sprint(i), fmt.Sprint(r.first)))
	}
	others := r.all
	if grow {
		others = append(others, shmtest.Start(r.t, "grower", r.a.Name()))
	}
	for _, c := range others {
		c.Expect("ready")
	}
	for _, c := range others[len(r.all):] {
		c.Tell("go")
	}
	r.all[0].Tell("go")
	for i := range writing {
		r.begin(1 + i)
	}
	for i := 1; i <= kills; i++ {
		r.await(i, burst*2*rand.IntN(quota/burst/2))
		r.all[i].Kill()
		require.True(r.t, r.all[i].Wait())
		r.kills++
		r.begin(i + writing)
	}
	for _, c := range slices.Concat(r.all[:1], r.all[1+kills:]) {
		c.Expect("done")
		c.Tell("end")
		require.False(r.t, c.Wait())
	}
	if grow {
		others[len(r.all)].Kill()
	}
	_, err := r.a.Recover()
	require.NoError(r.t, err)
}

// begin has a worker work. All but the last ones will be killed, one after the other.
func (r *round) begin(process int) {
	if process <= kills {
		r.all[process].Tell("die")
	} else {
		r.all[process].Tell("go")
	}
}

// await returns when the first hand of a process is in the hasty burst that follows
// the call, or the process has ended by itself.
func (r *round) await(process, call int) {
	begun := func(call int) bool {
		return r.journal.Word((process*hands*quota+call)*callWords+wordVerb).Load() != 0
	}
	limit := time.Now().Add(time.Minute)
	for ; !begun(call) && !r.all[process].Ended(); time.Sleep(20 * time.Microsecond) {
		require.True(r.t, time.Now().Before(limit), "no process gets on")
	}
	for call += burst + rand.IntN(burst/2); !begun(call) && !r.all[process].Ended() && time.Now().Before(limit); {
		runtime.Gosched()
	}
}

// judge looks for an order of all that was done. What the map holds in the end is
// found by operations too.
func (r *round) judge(sum *tally) {
	var all []porcupine.Operation
	for i := range len(r.all) * hands {
		ops, pending := history(r.journal, i, i*quota)
		all = append(all, ops...)
		sum.pending += pending
	}
	for k := range uint64(keys) {
		in := call{verb: load, key: r.first + k}
		begin := now()
		v, ok, _ := do(r.m, in)
		all = append(all, porcupine.Operation{ClientId: len(r.all) * hands, Input: in, Call: int64(begin), Output: answer{true, v, ok}, Return: int64(now())})
	}
	start := time.Now()
	result := porcupine.CheckOperationsTimeout(model, all, 10*time.Minute)
	if result == porcupine.Illegal {
		r.show(all)
	}
	require.Equal(r.t, porcupine.Ok, result, "the histories have no order")
	sum.longest = max(sum.longest, time.Since(start))
	for _, part := range model.Partition(all) {
		sum.most = max(sum.most, len(part))
	}
	sum.ops += len(all)
	sum.kills += r.kills
}

// show leaves a picture of the histories that have no order.
func (r *round) show(all []porcupine.Operation) {
	_, info := porcupine.CheckOperationsVerbose(model, all, time.Minute)
	path := filepath.Join(os.TempDir(), fmt.Sprintf("shmkit-history-%d.html", os.Getpid()))
	require.NoError(r.t, porcupine.VisualizePath(model, info, path))
	r.t.Logf("see %s", path)
}
