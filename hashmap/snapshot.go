package hashmap

import "errors"

// How all of one content is had. A walk is over when the content was exchanged;
// then another one is begun. That may go on for as long as others exchange it
// faster than it is read. So after a few times whoever may write keeps them from
// it: he takes the swap lock, and the next walk is the last.

// patient is how many walks are begun before exchanges are held up.
const patient = 4

// Snapshot returns all entries in a map of Go's. They are of one content, as it
// was made by Clear or ReplaceAll and changed by single writes since: never some
// of one content and some of the next. What is written to single keys meanwhile
// may or may not be in it, each key by itself.
//
// It takes no lock and does not hold up who writes single keys. If the content is
// exchanged again and again meanwhile, it begins again; after the fourth time it
// keeps others from exchanging it while it reads, and blocks as Clear does. On an
// arena that is open read-only it can't, and returns an error that wraps
// ErrReplaced. Otherwise the error is that of Err. A process that is killed in it
// leaves nothing to mend.
func (m *Map[K, V]) Snapshot() (map[K]V, error) {
	var all map[K]V
	var err error
	for range patient {
		if all, err = m.collect(); !errors.Is(err, ErrReplaced) {
			return all, err
		}
	}
	if m.floor.Pool == nil {
		return nil, err
	}
	if err := m.stay(); err != nil {
		return nil, err
	}
	defer m.leave()
	err = m.underLock(m.tree.Swap(), m.tree.SwapAt(), func() error {
		all, err = m.collect()
		return err
	})
	return all, err
}

// collect is one walk.
func (m *Map[K, V]) collect() (map[K]V, error) {
	// The count may be damaged; there are no more entries than find room.
	all := make(map[K]V, min(m.count(), m.limit.Load()/(entryHeader+max(8, m.keySize+m.valueSize))))
	err := m.Range(func(k K, v V) bool {
		all[k] = v
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
