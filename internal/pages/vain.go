package pages

// Vain is a set of pages with HintHeld that were looked at in vain: they are cut for
// something else than what is wanted, and have blocks in use. Such a page is of no use
// until
//
//   - its last block is freed; then HintEmpty is set, and stays until the page is taken,
//     or has a block in use again;
//   - or it is taken for that and cut anew, for what is wanted. Of this the page says
//     nothing that could be read without going to it. So who keeps the set counts what is
//     cut for the class, in a word that everybody raises before he leaves the page; when
//     that has changed the set is worth nothing.
//
// Pages of the class itself, and those whose lodger is of the class, are never in it: a
// free brings them back by a hint that they may have already.
type Vain struct{ words []uint64 }

// Clear takes all pages out.
func (v *Vain) Clear() { clear(v.words) }

// word returns the pages of one hint word that are in the set; nil has none.
func (v *Vain) word(at uint64) uint64 {
	if v == nil || at >= uint64(len(v.words)) {
		return 0
	}
	return v.words[at]
}

func (v *Vain) add(p uint64) {
	if more := int(p/64) + 1 - len(v.words); more > 0 {
		v.words = append(v.words, make([]uint64, more)...)
	}
	v.words[p/64] |= 1 << (p % 64)
}

// related reports whether a page of a class may come to have blocks for what is wanted
// while it stays what it is.
func (t *Table) related(class, want int) bool {
	lodger := t.types.classes[class].Lodger
	return class == want || lodger != 0 && lodger == want
}

// Hosts returns the classes whose pages serve a class: itself, and the one whose
// lodger is of it.
func (t *Table) Hosts(class int) (hosts []int) {
	for i := range t.types.classes {
		if t.related(i, class) {
			hosts = append(hosts, i)
		}
	}
	return hosts
}
