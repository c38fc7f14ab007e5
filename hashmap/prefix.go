package hashmap

import (
	"iter"
	"runtime"

	"github.com/shmkit/shmkit/internal/mem"
)

// How the keys with a prefix are found: all are looked at. A hash map has no order
// that could lead to them; what is saved is the copy of the others, and the memory
// for it.

// AllPrefix is All for the entries whose key begins with prefix. It looks at every
// key of the map: the time is that of All. But a key that does not begin so is
// compared where it lies: neither it nor its value is copied, and no memory is
// taken. K is a string; with another K it panics.
//
// It blocks, and ends early, as [Map.All] does; [Map.RangePrefix] says why.
func (m *Map[K, V]) AllPrefix(prefix string) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { _ = m.RangePrefix(prefix, yield) }
}

// RangePrefix is [Map.Range] for the entries of [Map.AllPrefix].
func (m *Map[K, V]) RangePrefix(prefix string, f func(K, V) bool) error {
	if !m.textKey {
		panic("hashmap: AllPrefix of a " + m.types)
	}
	w := m.walker()
	defer m.done(w)
	w.prefix, w.length = mem.TextKey(&prefix)
	err := m.each(w, &w.keys, &w.values, func(i int) bool { return f(w.keys[i], w.values[i]) })
	runtime.KeepAlive(prefix)
	return err
}
