package lintest

import (
	"fmt"
	"math"

	"github.com/anishathalye/porcupine"
)

// verb is an operation of the map.
type verb uint64

// The verbs; 0 is a place in a journal where nothing was begun.
const (
	load verb = 1 + iota
	contains
	store
	swap
	loadOrStore
	loadAndDelete
	remove
	compareAndSwap
	compareAndDelete
	compute
	add
	exchange // ReplaceAll
	clear
)

var names = [...]string{"", "Load", "Contains", "Store", "Swap", "LoadOrStore", "LoadAndDelete", "Delete",
	"CompareAndSwap", "CompareAndDelete", "Compute", "Add", "ReplaceAll", "Clear"}

// call is a verb and its arguments.
type call struct {
	verb verb
	key  uint64
	v    uint64 // what is to be stored or added
	old  uint64 // what it is compared with
}

// answer is what a call has returned. Of a call that has not returned there is none.
type answer struct {
	given bool
	v     uint64
	ok    bool
}

// cell is what there is of a key.
type cell struct {
	there bool
	v     uint64
}

// computed is the function of Compute: it stores, removes or cancels by what it finds.
func computed(old cell, v uint64) cell {
	switch {
	case !old.there:
		return cell{true, v}
	case old.v%8 == 0:
		return cell{}
	case old.v%8 == 1:
		return old
	default:
		return cell{true, old.v + v}
	}
}

// step is the map, for one key: what a call returns, and what it leaves.
func step(c cell, in call) (a answer, after cell) {
	a = answer{given: true}
	switch equal := c.there && c.v == in.old; in.verb {
	case load:
		return answer{true, c.v, c.there}, c
	case contains:
		return answer{true, 0, c.there}, c
	case store, exchange:
		return a, cell{true, in.v}
	case swap:
		return answer{true, c.v, c.there}, cell{true, in.v}
	case loadOrStore:
		if c.there {
			return answer{true, c.v, true}, c
		}
		return answer{true, in.v, false}, cell{true, in.v}
	case loadAndDelete:
		return answer{true, c.v, c.there}, cell{}
	case remove:
		return answer{true, 0, c.there}, cell{}
	case compareAndSwap:
		if a.ok = equal; equal {
			c.v = in.v
		}
		return a, c
	case compareAndDelete:
		if a.ok = equal; equal {
			c = cell{}
		}
		return a, c
	case compute:
		c = computed(c, in.v)
		return answer{true, c.v, c.there}, c
	case add:
		c = cell{true, c.v + in.v}
		return answer{true, c.v, false}, c
	case clear:
		return a, cell{}
	}
	panic("no such verb")
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		of := make(map[uint64]int)
		for _, op := range history {
			k := op.Input.(call).key
			if _, ok := of[k]; !ok {
				of[k] = len(parts)
				parts = append(parts, nil)
			}
			parts[of[k]] = append(parts[of[k]], op)
		}
		return parts
	},
	Init: func() any { return cell{} },
	Step: func(state, input, output any) (bool, any) {
		got := output.(answer)
		want, after := step(state.(cell), input.(call))
		return !got.given || got == want, after
	},
	DescribeOperation: func(input, output any) string { return describe(input.(call), output.(answer)) },
}

func describe(in call, a answer) string {
	text := fmt.Sprintf("%s(%d, %#x, old %#x)", names[in.verb], in.key, in.v, in.old)
	if !a.given {
		return text + ": killed"
	}
	return fmt.Sprintf("%s = %#x, %v", text, a.v, a.ok)
}

// never is when a call ends that has not returned: after all others.
const never = math.MaxInt64
