package hashmap

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// TestTorture_Map has eight processes do all that can be done with maps, kills them
// at random and starts others in their place. Whatever one of them acknowledged
// stays; what it had in flight has happened or not; and at the end not a byte is
// lost.
func TestTorture_Map(t *testing.T) { storms(t, "stormer") }

// storms has one storm in an arena with room for all, and one where there is often
// none.
func storms(t *testing.T, role string) {
	limit := patience(t, 3*time.Second) / 2
	for name, size := range map[string]int64{"roomy": 40 << 20, "tight": 6 << 20} {
		t.Run(name, func(t *testing.T) {
			s := newStorm(t, size, role)
			for start := time.Now(); time.Since(start) < limit; {
				// How long they live is left to chance; nothing is concluded from it.
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
				some := s.victims()
				s.kill(some...)
				for _, i := range some {
					s.start(i)
				}
			}
			s.end()
		})
	}
}

// storm is what the parent of it has.
type storm struct {
	t        *testing.T
	role     string
	a        *arena.Arena
	used     uint64 // bytes of the arena without maps
	stage    *stage
	journal  *shmtest.Journal
	children [stormers]*shmtest.Child
	kills    int
	cut      int // changes that were in flight when their process was killed
	flying   int // cells that these changed
	happened int // of these
}

func newStorm(t *testing.T, size int64, role string) *storm {
	s := &storm{t: t, role: role, stage: new(stage)}
	s.a = shmtest.Named(t, &arena.Options{Size: 256 << 10, MaxSize: size, Processes: stormers + 4, Objects: 32})
	s.used = uint64(shmtest.Clean(t, s.a).UsedBytes)
	one := &Options{Capacity: 1}
	s.stage.text = create[string, []byte](t, s.a, "text", one)
	s.stage.code = createEncoded[string](t, s.a, "code", JSON[config](), one).Encoded
	s.stage.counts = create[string, int](t, s.a, "counts", one)
	s.stage.loaded = create[string, int](t, s.a, "loaded", one)
	s.stage.bounded = create[string, []byte](t, s.a, "bounded", &Options{Limit: stormLimit})
	for i := range s.stage.own {
		s.stage.own[i] = create[uint64, uint64](t, s.a, ownMap(i), one)
	}
	for k := range uint64(sharedKeys) {
		require.NoError(t, s.stage.text.Store(fmt.Sprint("shared", k), sealBytes(k, 4)))
	}
	s.journal = shmtest.NewJournal(t, stormers*hands*noteWords)
	for i := range s.children {
		s.start(i)
	}
	return s
}

func (s *storm) start(i int) {
	s.children[i] = shmtest.Start(s.t, s.role, s.a.Name(), s.journal.Path(), fmt.Sprint(i))
}

// victims are those that have ended by themselves, or else up to four.
func (s *storm) victims() (some []int) {
	for i, c := range s.children {
		if c.Ended() {
			some = append(some, i)
		}
	}
	if some == nil {
		some = rand.Perm(stormers)[:1+rand.IntN(4)]
	}
	return some
}

// kill ends some processes, at the same time, and looks at what they leave. One
// that has ended otherwise than by SIGKILL has failed.
func (s *storm) kill(some ...int) {
	for _, i := range some {
		s.children[i].Doom()
	}
	for _, i := range some {
		s.children[i].Kill()
		require.True(s.t, s.children[i].Wait())
		s.kills++
	}
	for _, i := range some {
		for g := range hands {
			s.verify(i*hands + g)
		}
	}
	for k := range uint64(sharedKeys) {
		require.NoError(s.t, s.stage.isShared(k))
	}
}

func (s *storm) hand(id int) *hand {
	return &hand{s.stage, id, s.journal, rand.New(rand.NewPCG(rand.Uint64(), 1))}
}

// verify compares the cells of a hand that is dead with its journal, and settles
// what became of the change in flight: of a batch, for each cell by itself.
func (s *storm) verify(id int) {
	h := s.hand(id)
	first, many := int(h.note(noteCell).Load())-1, int(h.note(noteMany).Load())
	if first >= 0 {
		s.cut++
	}
	for i := range cells {
		state, next := h.note(noteCells+i), h.note(noteCells+i).Load()
		if first >= 0 && i >= first && i < first+many {
			next = stateOf(h.note(noteNext).Load(), i-first)
			s.flying++
		}
		err := s.is(h, i, state.Load())
		if err != nil && next != state.Load() {
			if err = s.is(h, i, next); err == nil {
				state.Store(next)
				s.happened++
			}
		}
		require.NoError(s.t, err, "cell %d of hand %d was acknowledged in state %d; in flight are %d cells from %d on, this one's next state is %d",
			i, id, state.Load(), many, first, next)
	}
	h.note(noteCell).Store(0)
}

// is compares a cell with a state, whole.
func (s *storm) is(h *hand, i int, state uint64) error {
	if i == cells-1 {
		return h.isOwn(state)
	}
	return h.isOf(i, state)
}

// end kills all, and accounts for every byte.
func (s *storm) end() {
	s.kill(rand.Perm(stormers)...)
	_, err := s.a.Recover()
	require.NoError(s.t, err)
	var sum [noteCells]uint64
	for id := range stormers * hands {
		s.verify(id)
		for word := range sum {
			sum[word] += s.hand(id).note(word).Load()
		}
		require.EqualValues(s.t, s.hand(id).note(noteCells+cells-1).Load()&(1<<ownBits-1), s.stage.own[id].Len())
	}
	added, _ := s.stage.counts.Load("sum")
	require.GreaterOrEqual(s.t, uint64(added), sum[noteAdded])
	require.LessOrEqual(s.t, uint64(added), sum[noteBegun])
	require.LessOrEqual(s.t, s.stage.bounded.Len(), stormLimit)
	s.t.Logf("%d kills; %d hands died in a change, of %d cells, %d of which had changed; %d acknowledged writes and %d additions, %d reads, %d times no room; %s",
		s.kills, s.cut, s.flying, s.happened, sum[noteWrites], sum[noteAdded], sum[noteLooks], sum[noteFull], s.shape())
	s.demolish()
}

// shape says what the maps have been through.
func (s *storm) shape() string {
	text, err := s.stage.text.Stats()
	require.NoError(s.t, err)
	growths, exchanges := text.Growths, uint64(0)
	for _, m := range s.stage.own {
		own, err := m.Stats()
		require.NoError(s.t, err)
		growths, exchanges = growths+own.Growths, exchanges+own.Exchanges
	}
	return fmt.Sprintf("%d growths, %d exchanges, %d evictions", growths, exchanges, s.stage.bounded.Evictions())
}

// demolish removes all maps: then all of the arena is free again.
func (s *storm) demolish() {
	shmtest.Clean(s.t, s.a)
	all := []interface {
		Check() error
		Close() error
	}{s.stage.text, s.stage.code, s.stage.counts, s.stage.loaded, s.stage.bounded}
	for _, m := range s.stage.own {
		all = append(all, m)
	}
	for _, m := range all {
		require.NoError(s.t, m.Check())
		require.NoError(s.t, m.Close())
	}
	for _, o := range s.a.Objects() {
		require.NoError(s.t, s.a.Remove(o.Name))
	}
	r := shmtest.Clean(s.t, s.a)
	require.Equal(s.t, s.used, uint64(r.UsedBytes))
	require.Zero(s.t, r.Garbage)
}
