package main

// cache is a policy at work on one cache.
type cache interface {
	has(key uint64) bool
	// access looks key up on behalf of a process, inserts it if it is not there,
	// and says whether it was.
	access(key uint64, by int) bool
}

// maker makes an empty cache for so many entries.
type maker func(capacity int) cache

// candidate is a policy to be measured.
type candidate struct {
	name string
	make maker
}

// policies returns all candidates, the ideal ones first.
func policies(c config) []candidate {
	ideal := space{stripes: 1, look: 1 << 30, ghosts: 1, exact: true}
	alone := crowd{procs: 1, every: 1}
	of := func(r ranker, s space, w crowd) maker {
		return func(n int) cache {
			return newStriped(n, func(n int) part { return newStripe(n, r, s) }, s, w)
		}
	}
	all := []candidate{
		{"SIEVE", newSieve},
		{"S3-FIFO", newS3FIFO},
		{"W-TinyLFU, 1 %", func(n int) cache { return newTinyLFU(n, 1) }},
		{"W-TinyLFU, 20 %", func(n int) cache { return newTinyLFU(n, 20) }},
	}
	for _, x := range all {
		all = append(all, candidate{x.name + ", striped", func(n int) cache {
			return newStriped(n, func(n int) part { return whole{x.make(n)} }, c.space, c.crowd)
		}})
	}
	rankers := []struct {
		name string
		r    ranker
	}{
		{"last access", recency{}},
		{"LRU-2", lru2{}},
		{"reuse distance", reuse{}},
		{"decayed count", decayed{halfLife: 4}},
		{"aged frequency", chosen},
	}
	if !c.synthetic { // they look at every entry for each victim
		for _, x := range rankers {
			all = append(all, candidate{x.name + ", ideal", of(x.r, ideal, alone)})
		}
	}
	for i, x := range rankers {
		s := c.space
		s.exact = i != len(rankers)-1 // the others have no known small form of ghosts
		all = append(all, candidate{x.name, of(x.r, s, c.crowd)})
	}
	return all
}

// replay returns the share of hits. The processes of the crowd make the accesses
// in the order it deals them; what one inserts, all find.
func replay(keys []uint64, c cache, w crowd) float64 {
	hits, d := 0, w.dealer()
	for _, k := range keys {
		if c.access(k, d.next()) {
			hits++
		}
	}
	return float64(hits) / float64(len(keys))
}
