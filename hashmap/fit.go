package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/tree"
	"github.com/shmkit/shmkit/slab"
)

// How much room a map will need. All of its blocks but one kind are known before
// it is made: the root, the directory, the segments, and the entries. What chance
// does is not known: some segments get more keys than others, and are split, or
// enlarged, before the map is full. Of small ones, which vary most, that is a
// quarter at the highest load that a plan has; of large ones a few in a hundred. A
// third, and eight for small maps, are set aside. If they are more all the same, a
// segment is filled to its last slot before an entry is refused.

// Plan says whether an arena that is made with the options has room for a map of
// so many entries, of keys and values of so many bytes, and how large the arena
// must be for it: Size of the result.
//
//	fit, err := hashmap.Plan(nil, 1_000_000, 16, 100)
//	a, err := arena.Create("shop", &arena.Options{Size: fit.Size})
//	m, err := hashmap.Create[string, Route](a, "routes", &hashmap.Options{Capacity: 1_000_000})
//
// The map is to be made with that capacity, as the first thing in the arena. Then
// all entries find room, and Size is little more than they take. Of keys and
// values of several lengths give the longest, or plan with the mean and leave some
// room. Beyond that, whoever writes to a full map, also over a value, may need room
// for one more entry; and ReplaceAll needs room for both contents, so an arena of twice
// the size. Room of the result says how many more blocks there is room for.
//
// The error says what is wrong with the options or the numbers, wraps ErrTooLarge if
// no map has such keys or values, or ErrFull if no arena is that large.
func Plan(o *arena.Options, entries int, keyBytes, valueBytes uint64) (slab.Fit, error) {
	return planIn(o, entries, keyBytes, valueBytes, planFor)
}

// PlanLimit is Plan for a map with a limit of so many entries ([Options.Limit]): in an
// arena of that size it never evicts because that is full, but for what else is in it.
// It has room for a few entries more, which are being written.
func PlanLimit(o *arena.Options, limit int, keyBytes, valueBytes uint64) (slab.Fit, error) {
	return planIn(o, limit, keyBytes, valueBytes, planBounded)
}

// shapes is planFor or planBounded.
type shapes func(entries uint64, t sizes, arenaSize uint64) (plan, error)

func planIn(o *arena.Options, entries int, keyBytes, valueBytes uint64, shape shapes) (slab.Fit, error) {
	if entries < 1 || entries > mostEntries {
		return slab.Fit{}, fmt.Errorf("hashmap: plan for %d entries: want 1 to %d", entries, mostEntries)
	}
	if keyBytes > keyLimit || valueBytes > mostValue {
		return slab.Fit{}, fmt.Errorf("hashmap: plan: %w: key of %d bytes, value of %d; want at most %d and %d", ErrTooLarge, keyBytes, valueBytes, keyLimit, mostValue)
	}
	var given arena.Options
	if o != nil {
		given = *o
	}
	entry := entryHeader + pad8(keyBytes) + valueBytes
	fit, known, err := fitIn(&given, uint64(entries), entry, shape)
	if err != nil {
		return fit, err
	}
	// The segments of a larger arena are larger, so the size is looked for.
	d := given
	for d.Size, d.MaxSize = fit.Size, 0; ; {
		least, _, err := fitIn(&d, uint64(entries), entry, shape)
		if err != nil {
			return least, err
		}
		if least.OK {
			fit.Size = d.Size
			fit.OK = fit.OK && known
			return fit, nil
		}
		d.Size = max(d.Size+4096, least.Size)
	}
}

// fitIn plans for an arena of the options. If not even the buckets find room, it is
// asked what they take in one that is large enough, and known is false.
func fitIn(o *arena.Options, entries, entry uint64, shape shapes) (fit slab.Fit, known bool, err error) {
	g, err := arena.Layout(o)
	if err != nil {
		return fit, false, fmt.Errorf("hashmap: plan: %w", err)
	}
	t := future{g: g, classes: pages.Classes(g.Shift)}
	size := max(uint64(o.MaxSize), uint64(o.Size))
	if size == 0 {
		size = g.End(g.MaxPages) // the default size is a power of two, far from where this matters
	}
	p, err := shape(entries, t, size)
	if known = err == nil; !known {
		if p, err = shape(entries, t, 1<<offsetBits); err != nil {
			return fit, false, fmt.Errorf("hashmap: plan: %w", err)
		}
	}
	fit, err = slab.Plan(o, p.requests(t, entries, entry)...)
	return fit, known, err
}

// requests lists the blocks of a full map, in the order in which they are asked for.
func (p *plan) requests(t sizes, entries, entry uint64) []slab.Request {
	segments := uint64(1) << p.bits
	root := slab.Request{Size: lines(p.size(), t), Count: 1}
	dir := slab.Request{Size: tree.DirSize(p.bits), Count: 1}
	first := slab.Request{Size: p.segmentSize(p.buckets, t), Count: segments}
	if p.limit != 0 { // it does not grow; a spare of each stripe may be beside the entries
		return []slab.Request{root, dir, first, {Size: entry, Count: entries + p.stripes() + inHand}}
	}
	uneven := segments/3 + 8
	more := tree.Size(p.buckets)
	if p.buckets < p.most {
		more = tree.Size(min(buckets(2*more, t), p.most))
	}
	doubled := slab.Request{Size: tree.DirSize(min(p.bits+1, tree.MaxBits)), Count: 1}
	return []slab.Request{root, dir, doubled, first, {Size: more, Count: uneven}, {Size: entry, Count: entries}}
}

// inHand is how many entries of a map with a limit are planned for writes under way.
const inHand = 16

// future is the sizes of an arena that is not made yet.
type future struct {
	g       pages.Geometry
	classes []pages.Class
}

func (f future) Geometry() pages.Geometry { return f.g }

func (f future) BlockSize(n uint64) uint64 {
	if n <= f.g.PageSize()/2 {
		for i := range f.classes {
			if n <= f.classes[i].Size {
				return f.classes[i].Size
			}
		}
	}
	return (n + f.g.PageSize() - 1) &^ (f.g.PageSize() - 1)
}
