package main

// A fact is what a program would look up most often of an entry: a plain struct,
// stored as it is in memory, beside the raw bytes. It vouches for itself too.
type fact struct {
	Generation uint64 // the reload that wrote it
	Key        uint64 // digest of the key
	Bytes      uint32 // of the value
	Kind       kind
	Sum        uint64 // of all before
}

// kind is the first byte of a JSON value: an object, an array, a string, ...
type kind uint32

func newFact(generation uint64, key string, value []byte) fact {
	f := fact{Generation: generation, Key: digest(key), Bytes: uint32(len(value))}
	if len(value) > 0 {
		f.Kind = kind(value[0])
	}
	f.Sum = f.sum()
	return f
}

func (f *fact) sum() uint64 {
	return mix(mix(mix(f.Generation)^f.Key) ^ (uint64(f.Bytes)<<32 | uint64(f.Kind)))
}

// judge returns whether a fact is whole and belongs to the key.
func (f *fact) judge(key uint64) verdict {
	switch {
	case f.Sum != f.sum():
		return torn
	case f.Key != key:
		return wrong
	}
	return intact
}
