// Package value shares single values and counters between processes.
//
//	limit, err := value.OpenOrCreate(a, "limit", int64(100)) // initial if new
//	err = limit.Store(250)
//	n := limit.Load()
//
//	hits, err := value.OpenOrCreateCounter(a, "hits")
//	hits.Add(1)
//
// A [Value] holds any type of up to 8 bytes without pointers and padding: a
// number, a bool, a small struct or array. The verbs are those of sync/atomic,
// and [Value.Wait] sleeps until somebody changes the value. A [Counter] is for
// what many processes count up and few read.
//
// # Terms
//
//   - Word: the 8 bytes that hold the value, extended with zeros. It is read and
//     written by one instruction, so a value is never torn.
//   - Change word: raised after each change of the word. Its number is the
//     [Value.Version], and what waiters sleep on.
//   - Cell: the word that a process adds to. A counter has 16, a process uses the
//     one of its slot; its value is their sum less a base.
//
// # Picture
//
//	value    | word | change | watched | spare                  |   128 bytes
//
//	counter  | count | base | spare                             |   cell 0
//	         | count | spare                                    |   cell 1
//	          ...                                                    16 cells of 128 bytes
//
// # Order of stores
//
//	Store   word, change, then (if watched) watched = 0 and the wake-up
//	Wait    change, word; watched = 1; sleep while the change word is the same
//	Reset   base = sum of the cells, if the base is still what it was before
//	        the cells were read
//
// A process that is killed between any two of these leaves the old value or the
// new one, whole. If it was killed before it raised the change word, whoever
// waits finds that the word differs from what this version had, and raises it
// for the dead. Nothing is locked and nothing is to be recovered.
//
// # Progress
//
// Load, Store, Swap, Counter.Add and Add of a 64-bit number are wait-free.
// CompareAndSwap is one attempt. Update, Version, Counter.Load and Reset start
// again only because another call on the same object completed. Wait sleeps 10 ms
// at most before it looks again. Reads store nothing and work on a read-only
// arena, where Wait polls.
//
// # Closing
//
// [arena.Arena.Close] may be called at any time, whatever runs on the handles:
// calls fail with [ErrClosed], and nothing reaches the segment any more. A call
// that fails so while the arena is being closed may have taken effect just before.
//
// Close of a handle may be called at any time too. It ends the handle, not what
// runs on it: a write that was under way completes, and hits what it was meant
// for. So the memory of a removed object is given back after its handles were
// closed or dropped and then collected, or their arena closed. Go's collector does
// not know how much that is: a process that often replaces objects which take a
// good part of the arena should call [runtime.GC] when it has dropped some.
//
// # Caveats
//
// Equality, in CompareAndSwap, is that of the bytes: a NaN equals itself, and 0
// and -0 of a floating-point type differ. Versions say that something was stored,
// not that it was different. An object that is removed or replaced under a handle
// stays readable for nobody: reads return zero, and [ErrRemoved] says why.
package value
