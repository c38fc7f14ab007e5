package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

// How a map is measured: by a walk over its segments, which looks at each bucket
// and hashes each key, and by what the tree's version says of the past. A segment
// that changes its place while it is looked at is measured again; one whose
// entries change is not.

// Stats says how a map is filled, what it takes, and what finding a key costs.
type Stats struct {
	Entries  uint64 // found by the walk; see Len
	Slots    uint64
	Segments uint64
	Buckets  uint64
	Words    uint64 // of the directory

	Load       float64 // entries to slots; segments are split at 0.8
	Overflowed uint64  // buckets that keys have gone on from to the next one, now or once
	Hit        Chain   // to find a key that is there
	Miss       Chain   // to find that a key is not there

	// Sparse segments have entries in less than a fifth of their slots: they do
	// not become smaller, but for Clear and ReplaceAll. Crowded ones have more than
	// four fifths, or a long chain: the next writers split them, if there is room.
	Sparse, Crowded uint64

	RootBytes      uint64 // block of the root: header, head of the tree, stripes
	DirectoryBytes uint64 // block of the directory
	SegmentBytes   uint64 // blocks of the segments
	EntryBytes     uint64 // blocks of the entries
	DataBytes      uint64 // keys and values alone

	// Exchanges is how often the whole content was exchanged, by Clear and
	// ReplaceAll, since the map was made. It begins anew after 2^24.
	Exchanges uint64
	// Growths is how many segments were split or enlarged and how many times the
	// directory was doubled, since the map was made. What a survivor has completed
	// counts twice.
	Growths uint64

	// What follows is counted since the map was made, by all processes; one that
	// is killed may leave a number one too high or low.
	Writes  uint64 // changes of an entry, those by eviction and expiry too
	Evicted uint64 // entries evicted for others; see Evictions
	Expired uint64 // entries freed because their deadline had passed
	Refused uint64 // writes that found no room

	// Hits and Misses are exact numbers, with [Options].CountReads, and else 0.
	Hits, Misses uint64

	// Retries is how often a read, a comparison or a walk by this handle began again,
	// because a write to the same bucket, or growth, came between. It is this process's
	// own number: a read stores nothing that is shared.
	Retries uint64
}

// Chain is how many buckets, of one cache line each, are looked at.
type Chain struct {
	Mean    float64
	Longest uint64
}

// Bytes returns what the map takes of the arena, in blocks.
func (s *Stats) Bytes() uint64 {
	return s.RootBytes + s.DirectoryBytes + s.SegmentBytes + s.EntryBytes
}

// Stats walks over the whole map, without a lock and without a store, and takes
// about the time of an iteration over the keys. Beside writers the numbers are of
// slightly different moments, but the walk is over one content: if that is
// exchanged four times meanwhile, the error wraps ErrReplaced. Otherwise the error
// is that of Err.
func (m *Map[K, V]) Stats() (Stats, error) {
	for try := 1; ; try++ {
		w := walk{t: &m.table}
		var s Stats
		for w.more() {
			part, ok := m.measure(&w)
			if w.stands() && ok {
				s.add(&part, w.seg.Depth)
				w.begun, w.next = true, w.seg.Buckets
			}
			if m.dead() {
				break
			}
		}
		err := w.err()
		if err == nil {
			m.finish(&s)
			return s, nil
		}
		if !w.replaced || try == patient {
			return Stats{}, err
		}
	}
}

// measure measures the segment of a walk. False: it was replaced meanwhile.
func (m *Map[K, V]) measure(w *walk) (s Stats, ok bool) {
	s.Segments, s.Buckets = 1, w.seg.Buckets
	s.SegmentBytes = m.floor.Pages.BlockSize(tree.Size(s.Buckets))
	for i := range s.Buckets {
		for try := 0; ; try++ {
			part, ok := m.measureBucket(w, i)
			if ok {
				s.sum(&part)
				break
			}
			if !w.stands() || m.dead() {
				return s, false
			}
			m.again(try)
		}
	}
	over := func(i uint64) bool { return m.bucket(&w.seg, i%s.Buckets).tags.Load() >= overflowed }
	run, all := uint64(1), uint64(0)
	for i := 2 * s.Buckets; i > 0; i-- { // the first round is for what the last bucket goes on with
		if run = min(run+1, s.Buckets, m.reach); !over(i - 1) {
			run = 1
		}
		if i <= s.Buckets {
			all, s.Miss.Longest = all+run, max(s.Miss.Longest, run)
		}
	}
	s.Miss.Mean = float64(all) / float64(s.Buckets)
	switch slots := s.Buckets * bucketSlots; {
	case s.Entries > full(s.Buckets) || s.Miss.Longest >= longChain && s.Entries > slots/2:
		s.Crowded = 1
	case s.Entries < slots/5:
		s.Sparse = 1
	}
	return s, true
}

// measureBucket measures a bucket as it was at one moment. False: it has changed
// meanwhile. Hit.Mean is a sum here.
func (m *Map[K, V]) measureBucket(w *walk, i uint64) (s Stats, ok bool) {
	b := m.bucket(&w.seg, i)
	f := found{bucket: b, version: b.version.Load(), tree: w.version}
	if b.tags.Load() >= overflowed {
		s.Overflowed = 1
	}
	for slot := range b.slots {
		word, h := b.slots[slot].Load(), uint64(0)
		if word == 0 || !m.copyEntry(w, &f, word&offsetMask, &h, nil, nil) {
			continue
		}
		size := mem.Load64(m.base.Add(word & offsetMask))
		n, length := size&0xffffffff, size>>32
		s.Entries++
		s.DataBytes += n + length
		s.EntryBytes += m.floor.Pages.BlockSize(entryHeader + pad8(n) + length)
		far := (i+w.seg.Buckets-homeOf(h, w.seg.Buckets))%w.seg.Buckets + 1
		s.Hit.Mean, s.Hit.Longest = s.Hit.Mean+float64(far), max(s.Hit.Longest, far)
	}
	return s, w.confirms(&f)
}

// sum adds what was counted elsewhere.
func (s *Stats) sum(o *Stats) {
	s.Entries += o.Entries
	s.Segments += o.Segments
	s.Buckets += o.Buckets
	s.Overflowed += o.Overflowed
	s.Sparse += o.Sparse
	s.Crowded += o.Crowded
	s.SegmentBytes += o.SegmentBytes
	s.EntryBytes += o.EntryBytes
	s.DataBytes += o.DataBytes
	s.Hit.Mean += o.Hit.Mean
	s.Hit.Longest = max(s.Hit.Longest, o.Hit.Longest)
	s.Miss.Longest = max(s.Miss.Longest, o.Miss.Longest)
}

// add adds a segment. One that is twice as deep has half as many hashes, so a key
// that is not there leads to it half as often.
func (s *Stats) add(segment *Stats, depth uint) {
	s.sum(segment)
	s.Miss.Mean += segment.Miss.Mean / float64(uint64(1)<<depth)
}

// finish fills in what follows from the rest, and from the tree.
func (t *table) finish(s *Stats) {
	if s.Entries != 0 {
		s.Hit.Mean /= float64(s.Entries)
	}
	if s.Slots = s.Buckets * bucketSlots; s.Slots != 0 {
		s.Load = float64(s.Entries) / float64(s.Slots)
	}
	s.Writes, s.Expired = t.writes()
	s.Evicted, s.Refused = t.evictions(), t.news.refused.Load()
	t.countLate(false)
	s.Hits, s.Misses = t.reads()
	s.Retries = t.retries.Load()
	s.RootBytes = t.floor.Pages.BlockSize(t.object.Size())
	if d, err := t.look(); err == nil && d.Bits != 0 {
		s.Words = d.Len()
		s.DirectoryBytes = t.floor.Pages.BlockSize(tree.DirSize(d.Bits))
		epoch := tree.EpochOf(d.Version)
		s.Exchanges = epoch - min(epoch, 1) // the first one has planted it
		s.Growths = d.Version - epoch<<40 - epoch
	}
}

// Cap returns how many entries the map has room for as it is: when there are so
// many, and their hashes are spread evenly, each segment is as full as it gets.
// Chance fills some segments earlier, and those are split then, each by itself; so
// the map begins to grow somewhat before, and it goes on to take entries behind. A
// new map has room for no less than it was made for. Of a map with a limit it is the
// limit.
//
// Cap reads the directory, without a lock and without a store. Of a handle that has
// ended it is 0, and of a directory that is damaged, which leaves ErrCorrupt in Err.
func (m *Map[K, V]) Cap() int {
	if m.plan.limit != 0 && !m.dead() {
		return int(m.plan.limit)
	}
	for try := 0; ; try++ {
		version, n := m.version.Load(), m.plan.capacity // if it has no tree: who opens it makes one
		d, err := m.look()
		if err == nil && d.Bits != 0 {
			n, err = m.room(d)
		}
		switch {
		case m.dead():
			return 0
		case m.version.Load() != version:
			m.again(try)
		case err != nil:
			m.damaged("%v", err)
			return 0
		default:
			return int(n)
		}
	}
}

// room sums up what the segments of a directory take before they are split.
func (t *table) room(d *tree.Dir) (n uint64, err error) {
	for i := uint64(0); i < d.Len(); {
		s, ok := t.segment(d.At(i).Load(), d)
		if !ok {
			return 0, fmt.Errorf("word %d of the directory is %#x", i, s.Word)
		}
		n += full(s.Buckets)
		i += 1 << (d.Bits - s.Depth)
	}
	return n, nil
}
