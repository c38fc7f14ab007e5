package hashmap

import (
	"math/bits"
	"runtime"
	"slices"

	"github.com/shmkit/shmkit/internal/fault"
	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
	"github.com/shmkit/shmkit/internal/tree"
)

// How a key is read, without a lock and without a store.
//
//	1  version of the tree; the directory's word for the hash
//	2  version of the bucket
//	3  tags; slots whose tag matches; of those whose hash bits match, the entry
//	4  compare the key, copy the value out; if its deadline has passed, the slot again:
//	   if that holds another word by now, this one was over after it was replaced
//	5  version of the bucket again, version of the tree again, and then the state
//	   of the object: if all are as they were, the answer stands, hit or miss;
//	   otherwise start again
//
// The version of the tree and the directory are what this process has seen last:
// if that is out of date, step 5 says so.
//
// A writer stores a slot, raises the version, and only then frees the old entry.
// So as long as the version stands, every entry that a slot led to was in place
// all the time we were reading it. So it is with the words of the directory, the
// version of the tree, and the segments. A version changes only when a write has
// completed: a writer that is stopped or dead holds nobody up.
//
// What is read before step 5 may be rubbish: every offset is compared with the
// limit of the segment, every length with the key's or with the limit, before
// it is followed.
//
// The optimistic read of a version is that of the sequence locks of the Linux
// kernel, without their odd phase, in which a dead writer would block readers;
// with the order store, raise, free it is version-based reclamation as of
// Sheffi, Herlihy and Petrank.

// Load returns the value of a key and whether it is there. It takes no lock,
// stores nothing, and copies the value out; with a fixed-size V it allocates
// nothing. On a closed handle or a removed map it finds nothing; Err says why.
func (m *Map[K, V]) Load(k K) (v V, ok bool) {
	ok = m.LoadInto(k, &v)
	return v, ok
}

// LoadInto is Load into *v, which saves a copy of a large V. If the key is not
// there, *v is zero afterwards.
func (m *Map[K, V]) LoadInto(k K, v *V) bool {
	if m.bytesValue {
		return m.loadCopy(&k, v)
	}
	var key mem.Ptr
	var n uint64
	if m.textKey {
		key, n = mem.TextKey(&k)
	} else {
		key, n = mem.KeyPtr(&k), mem.SizeOf[K]()
	}
	if n-8 > 8 {
		return m.loadOther(key, n, v)
	}
	// The first and the last word are all there is of a key of 8 to 16 bytes.
	first, last := mem.Load64(key), mem.Load64(key.Add(n-8))
	h := hash16(first, last, n, &m.secrets)
	d := m.dir.Load()
	end := m.end.Load()
	at := bucketIn(d.Word(h).Load(), h)
	if at >= end {
		return m.loadSlow(key, n, h, v)
	}
	b := m.base.Add(at)
	head := mem.Cast[bucket](b)
	version := head.version.Load()
	match := matches(head.tags.Load(), h)
	if match == 0 {
		return m.loadSlow(key, n, h, v)
	}
	// The lowest bit set is 8*i+7, and that of the first tag that matches.
	word := mem.Cast[psync.Word64](b.Add(slotsOff + uint64(bits.TrailingZeros64(match))&^7)).Load()
	off := word & (offsetMask &^ 7)
	if (word^h)>>offsetBits != 0 || off+n >= end {
		return m.loadSlow(key, n, h, v)
	}
	e := m.base.Add(off)
	text := e.Add(entryHeader)
	differs := (mem.Load64(e) ^ (n | mem.SizeOf[V]()<<32)) | mem.Load64(e.Add(deadlineOff)) | // one with a deadline is looked at below
		(mem.Load64(text) ^ first) | (mem.Load64(text.Add(n-8)) ^ last)
	if differs != 0 {
		return m.loadSlow(key, n, h, v)
	}
	fault.Pause()
	mem.ReadInto(v, text.Add(pad8(n)))
	if (head.version.Load()^version)|(m.version.Load()^d.Version)|(m.state.Load()^m.open.Load()) != 0 {
		return m.loadAgain(key, n, h, v)
	}
	runtime.KeepAlive(m)
	return !m.tells || m.hit(h)
}

// bucketIn returns the offset of a key's home in the segment that a directory's
// word leads to.
func bucketIn(word, h uint64) uint64 {
	n := word >> offsetBits & tree.MaxBuckets
	return (word+(h>>24&(1<<homeBits-1))*n>>(homeBits-6))&(offsetMask&^(bucketSize-1)) + bucketSize
}

// loadOther is LoadInto for keys of other lengths. It is apart so that LoadInto
// makes no call before its last: every value that lives across a call is stored
// on the stack first, whether the call is made or not.
//
//go:noinline
func (m *Map[K, V]) loadOther(key mem.Ptr, n uint64, v *V) bool {
	return m.loadSlow(key, n, hashBytes(key, n, &m.secrets), v)
}

// loadAgain is LoadInto where a write came between.
//
//go:noinline
func (m *Map[K, V]) loadAgain(key mem.Ptr, n, h uint64, v *V) bool {
	m.again(0)
	return m.loadSlow(key, n, h, v)
}

// loadSlow is LoadInto where the key is not there or the chain is longer than its home
// bucket, or where something is wrong.
//
//go:noinline
func (m *Map[K, V]) loadSlow(key mem.Ptr, n, h uint64, v *V) bool {
	for try := 0; ; try++ {
		f := m.find(key, n, h)
		if f.hit {
			mem.ReadInto(v, f.entry)
		}
		if !f.retry && m.stands(&f) {
			if !f.hit {
				*v = *new(V)
				m.miss()
				return false
			}
			return !m.tells || m.hit(h)
		}
		if m.dead() {
			*v = *new(V)
			return false
		}
		m.again(try)
	}
}

// loadCopy is LoadInto for V of []byte or string.
//
//go:noinline
func (m *Map[K, V]) loadCopy(k *K, v *V) bool {
	b, ok := m.loadBytes(nil, k)
	m.setBytes(v, b)
	return ok
}

// LoadAppend appends the value of a key to dst, for V of []byte or string: with a
// dst of enough capacity it allocates nothing. If the key is not there, dst is
// returned as it was. With another V it panics.
func (m *Map[K, V]) LoadAppend(dst []byte, k K) ([]byte, bool) {
	if !m.bytesValue {
		panic("hashmap: LoadAppend of a " + m.types)
	}
	return m.loadBytes(dst, &k)
}

// loadBytes appends the value to dst. The length may be rubbish until the
// version has been checked; it is within the segment in any case.
func (m *Map[K, V]) loadBytes(dst []byte, k *K) ([]byte, bool) {
	key, n := m.key(k)
	if n > m.maxKey {
		return dst, false
	}
	return m.appendValue(dst, key, n, hashKey(key, n, &m.secrets))
}

func (t *table) appendValue(dst []byte, key mem.Ptr, n, h uint64) ([]byte, bool) {
	for try := 0; ; try++ {
		f := t.find(key, n, h)
		out := dst
		if f.hit && t.stands(&f) { // before the length is believed and memory taken for it
			out = slices.Grow(dst, int(f.value))[:len(dst)+int(f.value)]
			mem.CopyOut(out[len(dst):], f.entry)
		}
		if !f.retry && t.stands(&f) {
			runtime.KeepAlive(t)
			switch {
			case !f.hit:
				t.miss()
			case t.tells:
				t.hit(h)
			}
			return out, f.hit
		}
		if t.dead() {
			return dst, false
		}
		t.again(try)
	}
}

// key returns the bytes of a key, without letting it escape.
func (m *Map[K, V]) key(k *K) (p mem.Ptr, n uint64) {
	if m.textKey {
		return mem.TextKey(k)
	}
	return mem.KeyPtr(k), mem.SizeOf[K]()
}

// hashKey is hashBytes with the commonest lengths inline.
func hashKey(key mem.Ptr, n uint64, s *secrets) uint64 {
	if n-8 <= 8 {
		return hash16(mem.Load64(key), mem.Load64(key.Add(n-8)), n, s)
	}
	return hashBytes(key, n, s)
}
