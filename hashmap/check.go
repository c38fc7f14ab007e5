package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/tree"
)

// Check reads the whole map and compares what is stored twice: every entry has
// the tag, the hash bits and the place its key gives it, no key is there twice, no
// deadline is earlier than its segment knows, and the counts are right. It takes no
// lock and is exact when nobody writes meanwhile. Whether the blocks are accounted
// for is [arena.Arena.Check].
func (m *Map[K, V]) Check() error {
	if err := m.err(); err != nil {
		return err
	}
	d, err := m.look()
	if err == nil && d.Bits != 0 {
		err = m.checkTree(d)
	}
	if err == nil {
		err = m.checkSpares()
	}
	if err == nil {
		err = m.checkLeases()
	}
	if err != nil {
		return fmt.Errorf("hashmap %q: %w: %w", m.object.Name(), ErrCorrupt, err)
	}
	return nil
}

// checkSpares compares what the words of spares say of their blocks with these.
func (t *table) checkSpares() error {
	for i := range t.plan.stripes() {
		word := t.stripe(t.stripeOff + i*stripeSize).spare.Load()
		if word == 0 {
			continue
		}
		size, err := t.floor.Pages.Size(word & offsetMask)
		class, ok := t.floor.Pages.ClassFor(size)
		if err != nil || !ok || uint64(class+1) != word>>offsetBits {
			return fmt.Errorf("the spare of stripe %d is %#x, a block of %d bytes (%v)", i, word, size, err)
		}
	}
	return nil
}

func (t *table) checkTree(d *tree.Dir) error {
	counts := make([]uint64, t.plan.stripes())
	for i := uint64(0); i < d.Len(); {
		h := i << (64 - d.Bits)
		s, ok := t.segment(d.At(i).Load(), d)
		if !ok || s.Depth < t.plan.stripeBits {
			return fmt.Errorf("word %d of the directory is %#x", i, s.Word)
		}
		first, n := d.Range(h, s.Depth)
		for j := range n {
			if word := d.At(first + j).Load(); word != s.Word || first != i {
				return fmt.Errorf("word %d of the directory is %#x, not %#x as word %d", first+j, word, s.Word, i)
			}
		}
		count, err := t.checkSegment(h, &s)
		if err != nil {
			return fmt.Errorf("segment of words %d to %d: %w", i, i+n-1, err)
		}
		counts[t.plan.stripeOf(h)] += count
		i += n
	}
	for i, n := range counts {
		if t.plan.limit != 0 && n > t.plan.shareOf(uint64(i)) {
			return fmt.Errorf("stripe %d has %d entries, may have %d", i, n, t.plan.shareOf(uint64(i)))
		}
		if count := t.stripe(t.stripeOff + uint64(i)*stripeSize).count[tree.SideOf(d.Version)].Load(); count != n {
			return fmt.Errorf("stripe %d counts %d entries, has %d", i, count, n)
		}
	}
	return nil
}

func (t *table) checkSegment(from uint64, s *tree.Segment) (n uint64, err error) {
	seen := make(map[string]bool)
	for i := range s.Buckets {
		b := t.bucket(s, i)
		for slot := range b.slots {
			word := b.slots[slot].Load()
			if word == 0 {
				continue
			}
			key, err := t.checkSlot(from, s, i, uint64(slot), word)
			if err != nil {
				return 0, fmt.Errorf("bucket %d, slot %d: %w", i, slot, err)
			}
			if until, earliest := t.untilOf(word), t.earliest(s, i).Load(); until != 0 && (earliest == 0 || until < earliest) {
				return 0, fmt.Errorf("bucket %d, slot %d: the deadline is %d; the first line says that none is before %d", i, slot, until, earliest)
			}
			if n++; t.wordExpired(word) {
				continue // it may be there again, or be on the way out
			}
			if seen[key] {
				return 0, fmt.Errorf("bucket %d, slot %d: key %q is there twice", i, slot, key)
			}
			seen[key] = true
		}
	}
	return n, nil
}

// checkSlot compares a slot with the entry it leads to and returns the key.
func (t *table) checkSlot(from uint64, s *tree.Segment, i, slot, word uint64) (string, error) {
	off := word & offsetMask
	if !t.within(off, entryHeader) {
		return "", fmt.Errorf("the entry at %#x lies outside the data area", off)
	}
	size := mem.Load64(t.base.Add(off))
	n, length := size&0xffffffff, size>>32
	if n > t.maxKey || t.wrongKey(n) || t.wrongValue(length) || !t.within(off, entryHeader+pad8(n)+length) {
		return "", fmt.Errorf("the entry at %#x has a key of %d bytes and a value of %d", off, n, length)
	}
	key := make([]byte, n)
	mem.CopyOut(key, t.base.Add(off+entryHeader))
	h := hashKey(mem.PtrOf(key), n, &t.secrets)
	tags := t.bucket(s, i).tags.Load()
	tag := tags >> (8 * slot) & 0xff
	if word>>offsetBits != slotBits(h) || tag != tagOf(h) && !t.wordExpired(word) {
		return "", fmt.Errorf("tag or hash bits are not those of key %q", key)
	}
	if (h^from)>>1>>(63-s.Depth) != 0 {
		return "", fmt.Errorf("key %q belongs to another segment", key)
	}
	home := homeOf(h, s.Buckets)
	if told, ok := homeFrom(s, i, distanceIn(tags, int(slot))); ok && told != home {
		return "", fmt.Errorf("key %q belongs to bucket %d; its distance says to %d", key, home, told)
	}
	for at, far := home, uint64(1); at != i; at, far = next(s, at), far+1 {
		if far == t.reach {
			return "", fmt.Errorf("key %q is not found: it lies further than %d buckets from its home", key, far)
		}
		if t.bucket(s, at).tags.Load() < overflowed {
			return "", fmt.Errorf("key %q is not found: its chain ends at bucket %d", key, at)
		}
	}
	return string(key), nil
}
