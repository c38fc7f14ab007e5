package lintest

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// op is an operation on key 1, from one time to another.
func op(from, to int64, in call, a answer) porcupine.Operation {
	in.key = 1
	return porcupine.Operation{Input: in, Output: a, Call: from, Return: to}
}

func is(v uint64) answer  { return answer{given: true, v: v, ok: true} }
func not(v uint64) answer { return answer{given: true, v: v} }

var done, killed = answer{given: true}, answer{}

// What must be objected to, and what not: the checker is worth what this shows.
func TestModel(t *testing.T) {
	put := func(from, to int64, v uint64, a answer) porcupine.Operation {
		return op(from, to, call{verb: store, v: v}, a)
	}
	get := func(from, to int64, a answer) porcupine.Operation { return op(from, to, call{verb: load}, a) }
	for _, c := range []struct {
		what    string
		want    bool
		history []porcupine.Operation
	}{
		{"stored, found", true, []porcupine.Operation{put(0, 1, 5, done), get(2, 3, is(5))}},
		{"a stale read", false, []porcupine.Operation{put(0, 1, 5, done), put(2, 3, 6, done), get(4, 5, is(5))}},
		{"a false miss", false, []porcupine.Operation{put(0, 1, 5, done), get(2, 3, not(0))}},
		{"two reads that go back", false, []porcupine.Operation{put(0, 1, 5, done), put(2, 9, 6, done), get(3, 4, is(6)), get(5, 6, is(5))}},
		{"a write under way is seen or not", true, []porcupine.Operation{put(0, 1, 5, done), put(2, 9, 6, done), get(3, 4, is(5)), get(5, 6, is(6))}},
		{"a killed write has happened", true, []porcupine.Operation{put(0, never, 5, killed), get(1, 2, not(0)), get(3, 4, is(5))}},
		{"a killed write has not", true, []porcupine.Operation{put(0, never, 5, killed), get(1, 2, not(0)), get(3, 4, not(0))}},
		{"a killed write comes and goes", false, []porcupine.Operation{put(0, never, 5, killed), get(1, 2, is(5)), get(3, 4, not(0))}},
		{"an acknowledged write is lost", false, []porcupine.Operation{put(0, 1, 5, done), put(2, never, 6, killed), get(3, 4, not(0))}},
		{"two swaps take the same", false, []porcupine.Operation{put(0, 1, 5, done), op(2, 9, call{verb: swap, v: 6}, is(5)), op(3, 8, call{verb: swap, v: 7}, is(5))}},
		{"a lost addition", false, []porcupine.Operation{op(0, 9, call{verb: add, v: 2}, not(2)), op(1, 8, call{verb: add, v: 3}, not(3))}},
		{"additions", true, []porcupine.Operation{op(0, 9, call{verb: add, v: 2}, not(5)), op(1, 8, call{verb: add, v: 3}, not(3))}},
		{"two store as the first", false, []porcupine.Operation{op(0, 9, call{verb: loadOrStore, v: 2}, not(2)), op(1, 8, call{verb: loadOrStore, v: 3}, not(3))}},
		{"a removed one is there", false, []porcupine.Operation{put(0, 1, 5, done), op(2, 3, call{verb: clear}, done), get(4, 5, is(5))}},
		{"swapped on a value that it had", false, []porcupine.Operation{put(0, 1, 5, done), put(2, 3, 6, done), op(4, 5, call{verb: compareAndSwap, v: 7, old: 5}, is(0))}},
		{"computed of a value that it had", false, []porcupine.Operation{put(0, 1, 10, done), put(2, 3, 20, done), op(4, 5, call{verb: compute, v: 1}, is(11))}},
	} {
		require.Equal(t, c.want, porcupine.CheckOperations(model, c.history), c.what)
	}
}

// Every verb's answer, once over a key that is there and once over none.
func TestModel_Verbs(t *testing.T) {
	there := cell{true, 10}
	for _, c := range []struct {
		in         call
		was, after cell
		a          answer
	}{
		{call{verb: contains}, there, there, is(0)},
		{call{verb: contains}, cell{}, cell{}, not(0)},
		{call{verb: swap, v: 1}, there, cell{true, 1}, is(10)},
		{call{verb: loadOrStore, v: 1}, there, there, is(10)},
		{call{verb: loadOrStore, v: 1}, cell{}, cell{true, 1}, not(1)},
		{call{verb: loadAndDelete}, there, cell{}, is(10)},
		{call{verb: remove}, there, cell{}, is(0)},
		{call{verb: remove}, cell{}, cell{}, not(0)},
		{call{verb: compareAndSwap, v: 1, old: 10}, there, cell{true, 1}, is(0)},
		{call{verb: compareAndSwap, v: 1, old: 0}, cell{}, cell{}, not(0)},
		{call{verb: compareAndDelete, old: 10}, there, cell{}, is(0)},
		{call{verb: compareAndDelete, old: 9}, there, there, not(0)},
		{call{verb: compute, v: 1}, there, cell{true, 11}, is(11)},
		{call{verb: compute, v: 1}, cell{true, 16}, cell{}, not(0)},
		{call{verb: compute, v: 1}, cell{true, 9}, cell{true, 9}, is(9)},
		{call{verb: compute, v: 1}, cell{}, cell{true, 1}, is(1)},
		{call{verb: add, v: 1}, there, cell{true, 11}, not(11)},
		{call{verb: exchange, v: 1}, there, cell{true, 1}, done},
		{call{verb: clear}, there, cell{}, done},
	} {
		a, after := step(c.was, c.in)
		require.Equal(t, c.a, a, describe(c.in, a))
		require.Equal(t, c.after, after, describe(c.in, a))
	}
}
