package psync

import "fmt"

// ID names one attach: incarnation in the high half, slot+1 in bits 20 to 31.
// The low 20 bits are zero and free for the flags of the word that stores it.
type ID uint64

const (
	slotShift = 20
	slotBits  = 12

	// MaxSlots is the largest slot table an ID can name.
	MaxSlots = 1<<slotBits - 1

	// IDMask covers the bits of a word that hold an ID.
	IDMask uint64 = ^uint64(1<<slotShift - 1)
)

// MakeID returns the id of an incarnation of a slot.
func MakeID(slot int, incarnation uint32) ID {
	return ID(uint64(incarnation)<<32 | uint64(slot+1)<<slotShift)
}

// IDOf returns the id that a word holds; it is zero if the word is unowned.
func IDOf(word uint64) ID {
	if word&(MaxSlots<<slotShift) == 0 {
		return 0
	}
	return ID(word & IDMask)
}

// Slot returns the index of the slot in its table, -1 for nobody.
func (id ID) Slot() int { return int(uint64(id)>>slotShift&MaxSlots) - 1 }

// Incarnation returns which attach of the slot it is.
func (id ID) Incarnation() uint32 { return uint32(uint64(id) >> 32) }

// String returns slot and incarnation, for messages.
func (id ID) String() string {
	if id == 0 {
		return "nobody"
	}
	return fmt.Sprintf("slot %d#%d", id.Slot(), id.Incarnation())
}
