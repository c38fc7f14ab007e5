package hashmap

import (
	"fmt"

	"github.com/shmkit/shmkit/internal/mem"
)

// Check reads the whole map and compares what is stored twice: every entry has
// the tag, the hash bits and the place its key gives it, no key is there twice,
// and the counts are right. It takes no lock and is exact when nobody writes
// meanwhile. Whether the blocks are accounted for is [arena.Arena.Check].
func (m *Map[K, V]) Check() error {
	if err := m.err(); err != nil {
		return err
	}
	for i := uint64(0); i < m.nbucket; i += 1 << m.stripeBits {
		if err := m.checkStripe(i); err != nil {
			return fmt.Errorf("hashmap %q: %w: %w", m.object.Name(), ErrCorrupt, err)
		}
	}
	return nil
}

func (t *table) checkStripe(first uint64) error {
	n := uint64(0)
	seen := make(map[string]bool)
	for i := first; i < first+1<<t.stripeBits; i++ {
		b := t.bucket(i)
		for slot := range b.slots {
			word := b.slots[slot].Load()
			if word == 0 {
				continue
			}
			key, err := t.checkSlot(i, uint64(slot), word)
			if err != nil {
				return fmt.Errorf("bucket %d, slot %d: %w", i, slot, err)
			}
			if seen[key] {
				return fmt.Errorf("bucket %d, slot %d: key %q is there twice", i, slot, key)
			}
			seen[key] = true
			n++
		}
	}
	if count := mem.Cast[stripe](t.base.Add(t.stripeAt(first))).count.Load(); count != n {
		return fmt.Errorf("stripe of bucket %d counts %d entries, has %d", first, count, n)
	}
	return nil
}

// checkSlot compares a slot with the entry it leads to and returns the key.
func (t *table) checkSlot(i, slot, word uint64) (string, error) {
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
	if word>>offsetBits != slotBits(h) || t.bucket(i).tags.Load()>>(8*slot)&0xff != tagOf(h) {
		return "", fmt.Errorf("tag or hash bits are not those of key %q", key)
	}
	for at := t.bucketOf(h); at != i; at = t.next(at) {
		if t.bucket(at).tags.Load() < overflowed {
			return "", fmt.Errorf("key %q is not found: its chain ends at bucket %d", key, at)
		}
		if at>>t.stripeBits != i>>t.stripeBits {
			return "", fmt.Errorf("key %q belongs to another stripe", key)
		}
	}
	return string(key), nil
}
