package array

// StaleStore stores without a look at whether the object is there, as a writer
// does that was stopped between the two.
func StaleStore(x *Array[uint64], i int, v uint64) { x.words[i].Store(v) }
