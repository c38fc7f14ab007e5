package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/tree"
)

// How a walk is taken up again elsewhere. A walk goes through the hashes in order,
// and segments have ranges of hashes: between two of them all that it has to know
// is where it is. That depends on the first 20 bits of a hash alone, for a segment
// is no deeper than that, so there is room in a word for the rest:
//
//	cursor   position 20 | content 24 | map 20
//
// A range that was split stays a boundary, so a cursor does not age with growth.
// The content is the number of the exchange that brought it, the map is a digest
// of the secrets of its hash: under others the position would mean nothing.

// Entry is a key and its value.
type Entry[K comparable, V any] struct {
	Key   K
	Value V
}

// Cursor is how far a scan has come. It is a plain value: it can be stored, sent
// to another process, and used there, or later, or twice. It holds no memory and
// nothing up. 0 is the beginning of every scan, and the end.
type Cursor uint64

const (
	cursorMap  = 20 // bits
	cursorEnd  = 64 - tree.MaxBits
	cursorPart = 1<<cursorEnd - 1
)

// Scan returns the next entries of a walk over the map, and the cursor to go on
// with: 0 when there are no more. It returns whole segments, as many as it takes
// to have n entries: up to a segment more than n, that is some 1500, but for many
// keys of one hash; or less, at the end. With n below 1 it is as with 1. The entries
// are in no order that means something.
//
//	var cursor hashmap.Cursor
//	for more := true; more; more = cursor != 0 {
//		var entries []hashmap.Entry[string, Route]
//		if entries, cursor, err = m.Scan(cursor, 100); err != nil { … }
//		…
//	}
//
// A key that is in the map from the first call of a scan to the last is returned
// exactly once, whatever comes and goes besides, and however the map grows between
// the calls or under them; one that comes or goes meanwhile may be returned or not,
// one that goes and comes again also twice.
//
// A scan is of one content. When that was exchanged since, by Clear or ReplaceAll,
// the error wraps ErrReplaced, and the cursor returned leads on at the same place
// of the new content: a scan that need not be of one content goes on with it (then
// the promise above is for the keys that both contents have), another one begins
// again. A cursor of another map, also of one that had this name, is ErrCursor.
//
// Like Load, Scan takes no lock and stores nothing. If the handle is closed or the
// map removed, or once a read has met damage, the error is that of Err. With an
// error there are no entries, and but for ErrReplaced, the cursor is the one given.
func (m *Map[K, V]) Scan(cursor Cursor, n int) (entries []Entry[K, V], next Cursor, err error) {
	for {
		entries, next, err = m.scan(cursor, max(n, 1))
		if err != nil || next != anew {
			return entries, next, err
		}
	}
}

// anew is what scan returns for the next cursor when it has to begin again. No
// cursor is like it: its position is that of no segment after the first.
const anew Cursor = 1

func (m *Map[K, V]) scan(cursor Cursor, n int) ([]Entry[K, V], Cursor, error) {
	w := m.walker()
	defer m.done(w)
	if cursor != 0 {
		if !m.mine(cursor) {
			return nil, cursor, fmt.Errorf("hashmap %q: %w", m.object.Name(), ErrCursor)
		}
		w.from, w.content, w.begun = uint64(cursor)&^cursorPart, uint64(cursor)>>cursorMap&(1<<24-1), true
	}
	w.done = w.from
	var entries []Entry[K, V]
	at, whole := w.done, 0
	for w.more() {
		if w.done != at {
			if at, whole = w.done, len(entries); whole >= n {
				break
			}
		}
		got, ok := m.snapshot(&w.walk, &w.hashes, &w.keys, &w.values)
		if !ok {
			break
		}
		for i := range got {
			if w.fresh(w.hashes[i]) {
				w.begun = true
				entries = append(entries, Entry[K, V]{w.keys[i], w.values[i]})
			}
		}
		w.yielded = append(w.yielded, w.hashes[:got]...)
		w.next++
	}
	if w.done != at {
		at, whole = w.done, len(entries)
	}
	switch err := m.err(); {
	case err != nil:
		return nil, cursor, err
	case w.over:
		return entries, 0, nil
	case whole > 0 || at != uint64(cursor)&^cursorPart: // if the content was exchanged, the next call says so
		return entries[:whole], m.cursor(at, w.content), nil
	case cursor == 0: // it was exchanged in the first segment: nobody has seen what was there
		return nil, anew, nil
	default:
		return nil, m.cursor(at, tree.EpochOf(m.version.Load())), w.err()
	}
}

// cursor puts a cursor together.
func (t *table) cursor(position, content uint64) Cursor {
	return Cursor(position | content<<cursorMap | t.digest())
}

// mine reports whether a cursor can be one of this map.
func (t *table) mine(c Cursor) bool {
	return uint64(c)>>cursorEnd != 0 && uint64(c)&(1<<cursorMap-1) == t.digest()
}

// digest is what cursors say of the map that they are of.
func (t *table) digest() uint64 {
	s := &t.secrets
	return fold(fold(s[0], s[1]|1)^s[2], fold(s[2]|1, s[3]|1)|1) >> cursorEnd
}
