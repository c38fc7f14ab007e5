package main

// aged is LFU with dynamic aging. The word is {worth 28, count 4}: an entry that is
// used gets the stripe's floor plus a bonus for its count. The floor rises to what
// victims were worth, so a count that was earned long ago is overtaken by new
// entries, the sooner the more is evicted. There is no clock.
type aged struct {
	bonus []uint32 // of the counts from 1 on; the last is where counting ends
}

const (
	countBits = 4
	countMask = 1<<countBits - 1
	worthBits = 28
	unit      = 1 << 8 // of bonus
)

// chosen gives ten units times the root of the uses after the first, and one to a
// key that was used once. Linear wins more on some traces and loses more on others.
var chosen = aged{bonus: []uint32{1, 10, 14, 17, 20, 22, 24, 26, 28, 30, 32, 33, 35, 36, 37}}

func (a aged) word(s *stripe, count uint64) uint64 {
	count = min(count, uint64(len(a.bonus)))
	return uint64(s.floor+a.bonus[count-1]*unit)<<countBits&(1<<32-1) | count
}

func (a aged) fresh(s *stripe) uint64           { return a.word(s, 1) }
func (a aged) again(s *stripe, g uint64) uint64 { return a.word(s, g&countMask+1) }
func (a aged) hit(s *stripe, w uint64) uint64   { return a.word(s, w&countMask+1) }

// rank is how far the worth is above the floor; both wrap. What is further above
// than any bonus was not written so: its writer was killed, or the floor is not
// the one it was. It goes first.
func (a aged) rank(s *stripe, w uint64) int64 {
	above := int64(int32((uint32(w>>countBits)-s.floor)<<countBits) >> countBits)
	if above > int64(a.bonus[len(a.bonus)-1]*unit) {
		return -1 << worthBits
	}
	return above
}

func (a aged) evicted(s *stripe, w uint64) {
	if above := a.rank(s, w); above > 0 {
		s.floor += uint32(above)
	}
}
