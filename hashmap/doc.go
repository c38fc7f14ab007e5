// Package hashmap is a hash map in a shared arena.
//
//	routes, err := hashmap.OpenOrCreate[string, Route](a, "routes", nil)
//	err = routes.Store("/buy", Route{Backend: 3, Weight: 80})
//	r, ok := routes.Load("/buy")
//
// Any number of processes read and write it at the same time. A read takes no
// lock, stores nothing and works over a read-only mapping; it is never torn, it
// never misses a key that is there throughout, and it is held up by nobody who
// is slow, stopped or dead. A write locks a stripe of the map for a moment. A
// process may be killed at any instruction: its write has happened whole or not
// at all, and the next writer of the stripe settles the rest.
//
// A write that depends on what is there is one step as well, seen by all
// processes: LoadOrStore, Swap, LoadAndDelete, CompareAndSwap and CompareAndDelete
// as sync.Map has them, Compute for any function of the old value, and Add.
// Clear and ReplaceAll exchange the whole content in one step. StoreAll and
// DeleteAll write many keys, each one in a step of its own, faster than one by one.
//
// All, Keys, Values and AllPrefix iterate; Range and RangePrefix do so too and say
// how it ended. Scan returns the next entries, and a number with which the scan goes
// on in another process. Snapshot returns a map of Go's. None of them ever mixes two
// contents: when the content is exchanged meanwhile, an iteration goes on over the old
// one, which is kept for 1 to 100 ms; a scan has an error, and Snapshot begins again.
//
// # Keys and values
//
// A key is a string, or a type without pointers, padding and floats, whose equal
// values therefore have equal bytes. A value is a []byte, a string, or a type
// without pointers. Both are copied in and out. The types are part of the map:
// opening it with others is an error.
//
// # Encoded values
//
//	codec := hashmap.JSON[Config]()
//	configs, err := hashmap.OpenOrCreateEncoded[string](a, "configs", codec, nil)
//	err = configs.Store("shop", Config{Hosts: []string{"a", "b"}})
//	c, ok := configs.Load("shop")
//
// An [Encoded] map takes values of any type: a [Codec] makes bytes of them. It has
// the same verbs. Load returns a pointer to a value that this process has decoded
// once, shared by all who load the key until it is written: to be read only. All
// others return values that are the caller's own. What the codec fails to encode
// or decode is an error that wraps ErrCodec, and nothing has changed. The codec is
// called with no lock held, and never on shared memory.
//
// # Terms
//
//   - Entry: a block with the key and the value. It is never changed, but for its
//     deadline; a new value is a new entry.
//   - Bucket: one cache line with a version, a tag and a slot for each of six
//     entries. A slot holds the offset of an entry and 20 bits of its hash.
//   - Chain: the buckets in which a key can be: its home, and the ones after it as
//     long as they are marked as overflowed.
//   - Distance of an entry: how many buckets behind its home it lies. It stands beside
//     the tag, if it is one of 0 to 2, for those who split the segment.
//   - Segment: a block of up to 255 buckets, mostly 127 where it has grown, for a range of
//     hashes. A chain does not leave its segment. One that is full is replaced by a
//     larger one, or by two that share its range.
//   - Directory: a word for each value of the high bits of a hash, that leads to
//     the segment. It is doubled when a segment needs more words than it has. See
//     package internal/tree for it, and for the two sides.
//   - Stripe: a range of hashes, of one or more segments, with one lock and one
//     count.
//   - Spare of a stripe: a block that a write over an entry has left, for the next one.
//   - Changes of a stripe: a number that is odd while an entry is changed. The sum of
//     them is the version of the map.
//   - Row: what a map with a limit remembers of the entries of a bucket, to choose
//     whom to evict.
//   - Lease: the right to load a key, for Fetch; one of 8 to 128 places in the root
//     block.
//
// # Picture
//
//	directory            segment
//	hash ──▶ | word | ──▶ | first line | bucket | bucket | … |
//
//	          bucket, 64 bytes                                    entry
//	hash ──▶ | version | tags, flags | slot | slot | … | slot |     ┌──────────────┐
//	                                    └─ {hash bits, offset} ──▶  | lengths      |
//	                                                                | key          |
//	                                                                | value        |
//	                                                                └──────────────┘
//
// # Invariants
//
//   - A slot that is not 0 leads to a whole entry whose key belongs there.
//   - The version of a bucket is raised after a slot changed and before the old
//     entry is freed. While it stands still, so do the entries.
//   - The tag of a slot, and the distance, are stored before the slot; alone they mean
//     nothing. What replaces an expired entry has no distance that means anything.
//   - A bucket is marked as overflowed before an entry that has its home there is
//     stored further on.
//   - The version of the tree is raised after a word of the directory changed and
//     before the segment that it led to is freed.
//   - A slot is stored once at each version of its bucket, and versions do not come
//     back: so a slot's word, with the versions of the bucket and the tree, stands
//     for one entry for ever.
//
// # Blocking, full, damaged
//
// Load, LoadInto, LoadAppend, Contains, TTL, the iterations, Scan, Stats, Cap and
// Len never wait; a read is repeated only because a write to the same bucket was
// completed. All others, once they have to write, wait for the lock of their stripe
// as long as its holder lives; Clear and ReplaceAll wait for each other, and Snapshot
// waits for them if they come again and again. When the arena has no room, whatever
// stores returns ErrFull or ErrNoSpace, and the old value stays. Whatever may write
// returns ErrReadOnly on an arena opened read-only, also when it would not have
// written. A read that meets damage finds nothing and leaves ErrCorrupt in Err;
// the other verbs return it; Range, Scan, Snapshot and Stats also if another read has
// met it, since an incomplete answer would look like a whole one.
//
// # Time to live
//
// An entry can have a deadline: by Options.TTL, StoreTTL, Expire or AddInitial.
// From then on it is not there, for every verb. Store, Swap, LoadOrStore, ReplaceAll
// and a Compute that says Renew set the deadline anew; CompareAndSwap, Compute and
// Add leave that of the entry they change. Deadlines are kept by the machine's
// monotonic clock, to the nanosecond, and compared when the entry is looked at; setting
// the wall clock changes none, and the clocks of processes agree to some microseconds,
// also in time namespaces of their own. While the machine is suspended no time passes.
// In a file that outlives a restart of the machine the wall clock says how long that
// took. Memory of expired entries is used again when it is wanted, or
// freed by PurgeExpired; until then Len counts them. A read of an entry with a
// deadline takes some ten nanoseconds longer.
//
// # Limit
//
// A map with Options.Limit is a cache: it never has more entries, and a new key drives an
// old one out. Each stripe has its share, so some entries may go when others still have
// room: the map is full when all stripes are. Out goes what is used least, by a count
// that ages; an entry that has expired goes before, but where a new key has none of its
// places free. A Load, LoadInto, LoadAppend or LoadOrStore that finds its key is a use,
// and so is a write to a key that is there; Contains, TTL and iteration are not, nor is
// what is read over a read-only arena. To be told, some reads try to lock their stripe,
// for less than a microsecond, and if it is not free go on without: a read of such a map
// by a process that may write is no longer one that stores nothing, but it still waits
// for nobody. It takes some twenty nanoseconds longer.
//
// When the arena is full such a map evicts too, before a write fails with ErrFull; so
// the arena's size is a limit in bytes. Mostly one entry goes, whose block has the size.
// If its size is another, up to fifteen go one by one, and then all that lie in as many
// pages as the value takes, up to three times; a value of more than sixteen pages gets
// room by the first fifteen, or none. A write that is given up leaves the old value of
// its key, as always, but others are gone; none is for a value that the arena could not
// hold without them either. Clear and ReplaceAll evict nothing of the old content.
//
// The directory and all segments are made at creation, 24 bytes an entry, and stay.
// [PlanLimit] says how large an arena must be for the limit to be what evicts.
//
// # Changes
//
// WaitChange waits until the map is changed, by whatever process, and WaitKey until
// a key is. What changes between a look at the version and the call is not missed,
// nor is a change whose writer was killed. A writer wakes who waits with one system
// call; if nobody waits, the writer only finds that out. Expiry is noticed when it is looked for:
// WaitKey does, WaitChange does not.
//
// # Loading
//
// Fetch returns the value of a key, and has it loaded if it is not there: by one
// goroutine of one process, whose result is that of all who wait. A loader that is
// killed is replaced at once, one that is stuck or stopped when its lease is over,
// and its late result is not stored. Fetch knows nothing of what the value was
// loaded from: a Delete while a load is under way does not keep its result out.
//
// # Growth
//
// A map without a limit is made for a number of entries and grows beyond it, a
// segment at a time: the writer who has found one too full replaces it before his
// next write, which takes some ten microseconds. Nobody waits for the table. If
// there is no room for that, the map goes on as it is, until a segment has no slot
// left. It does not shrink, but for Clear and ReplaceAll. The number of stripes, 2 to 256, is that
// of the capacity it was made for: a map that will be large and has many writers
// should be made large.
//
// # Caveats
//
// The hash is keyed with secrets of the map, which whoever can read the segment
// can read too.
//
// Whoever may write the segment chooses the bytes that a codec is given to decode.
package hashmap
