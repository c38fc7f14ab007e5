// Package tree is the shape that a structure grows in: a directory of segments,
// as in extendible hashing, under a head that never moves. It knows where
// everything lies, finds its way there in memory that others change and that may
// be damaged, and walks over all of it. What is in a segment's slots is the
// structure's business.
//
// # Terms
//
//		head ── version, dirs[2] ──▶ directory ── words ──▶ segment ── slots ──▶ entry
//
//	  - Head: a line of 64 bytes in the root block of the structure.
//	  - Version: raised after every change of a directory's words, or of the
//	    reference to it. Its top bit is the side that is current.
//	  - Side: there can be two trees. The one that is not current is being built,
//	    or taken down, by the holder of the swap lock. One store of version
//	    exchanges them.
//	  - Directory: a block of 2^bits words, one for each value of the high bits of
//	    a hash.
//	  - Segment: a block of lines of 64 bytes: a first line with hints of the
//	    structure's, then buckets.
//	  - Word: leads to a segment, and says how deep it is and how many buckets it
//	    has. A segment of depth d has all the 2^(bits-d) words whose first d bits
//	    are its own; they are equal.
//	  - Slot: a word of a bucket that leads to an entry, a block of its own.
//
// # Locks
//
// The locks of the structure, each for a range of hashes, guard what is in the
// segments of the range, and that they are those segments: a segment is split by
// the holder of its range's lock. Below them in rank is the tree lock: its holder
// alone stores version, the current directory's words, and the reference to it.
// Above them is the swap lock.
//
// # Reading without a lock
//
// Version, reference, word, and what the reader came for; then version again,
// last. If it is the same, the word was in its place all the while: whoever
// changes a word raises version before the segment that it led to is freed.
//
// The directory of segments that split one at a time is that of Fagin,
// Nievergelt, Pippenger and Strong, Extendible hashing, 1979; the version in place
// of their locks is that of package hashmap.
package tree
