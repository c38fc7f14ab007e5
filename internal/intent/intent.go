package intent

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/pages"
	"github.com/shmkit/shmkit/internal/psync"
)

// Table gives access to the records of all slots of an arena.
type Table struct {
	view   *mem.View
	slots  *psync.Table
	off    uint64 // of the first slot's first record
	stride uint64 // between slots
	pages  *pages.Table
	owner  *psync.Owner // who settles
}

// SetOwner says who takes the locks that settling takes. Before, nothing is
// settled that needs one.
func (t *Table) SetOwner(o *psync.Owner) { t.owner = o }

// NewTable returns the records that begin at off in the first slot.
func NewTable(v *mem.View, slots *psync.Table, off, stride uint64, pt *pages.Table) *Table {
	return &Table{view: v, slots: slots, off: off, stride: stride, pages: pt}
}

// Record returns record i of a slot.
func (t *Table) Record(slot, i int) *Record { return t.record(slot, i) }

func (t *Table) record(slot, i int) *Record {
	return mem.Must[Record](t.view, t.off+uint64(slot)*t.stride+uint64(i)*Size)
}

// Named appends to buf the offsets of all blocks that open records name. It
// reads one record after the other: a name stands from before the block is
// freed until the last settle, so a block that was freed before the scan began
// and is not seen in it is not named and can't be named anew.
func (t *Table) Named(buf []uint64) []uint64 {
	for s := range t.slots.High() {
		if _, used := t.slots.Current(s); !used {
			continue
		}
		for i := range PerSlot {
			r := t.record(s, i)
			op := r.op.Load() & opMask
			if op == opNone || op == opRename {
				continue
			}
			if ref := r.old.Load() & RefMask; ref != 0 {
				buf = append(buf, ref)
			}
			if ref := r.new.Load() & RefMask; ref != 0 {
				buf = append(buf, ref)
			}
			if op == opSplit {
				buf = append(buf, r.extra.Load()&RefMask)
			}
		}
	}
	return buf
}

// Pool hands the records of the own slot out to goroutines. It lives in this
// process only. Each record has a flag on a cache line of its own, so that
// goroutines with different records do not meet.
type Pool struct {
	records [PerSlot]*Record
	flags   [PerSlot]flag
	lost    atomic.Uint64 // taken, and never given back
	closed  atomic.Bool
}

type flag struct {
	psync.Flag
	_ [124]byte
}

// NewPool returns the pool of the owner's slot, whose records are all closed.
func (t *Table) NewPool(slot int) *Pool {
	p := &Pool{}
	for i := range p.records {
		p.records[i] = t.record(slot, i)
	}
	return p
}

// Lanes is the number of records that Take hands out. They have the indices
// from 0 on.
const Lanes = PerSlot - nested

const (
	// nested is the number of records kept for TakeNested.
	nested = 2
	// preferred is the number of records among which goroutines are spread. The
	// others are for when these are in use: what belongs to a record, such as
	// blocks that lie ready, should not lie about in many places.
	preferred = 8
)

// Take returns a record and its index for Give, the same one for the same
// goroutine if it is free. It waits while all are in use, and fails when the pool
// is closed.
func (p *Pool) Take() (r *Record, i int, ok bool) {
	i = p.Prefer()
	if !p.TryTake(i) {
		return p.take(i, 0, Lanes)
	}
	return p.records[i], i, true
}

// Prefer returns the index of the record that this goroutine takes if it is free.
func (p *Pool) Prefer() int { return int(mem.Spread() % preferred) }

// TakeNested is Take for one who may hold a record already, or a record whose
// holder waits for what this one is for. Its few records are never held by
// anybody who waits for another one.
func (p *Pool) TakeNested() (r *Record, i int, ok bool) { return p.take(Lanes, Lanes, PerSlot) }

// TryTake takes the record with index i if it is free and the pool is open.
func (p *Pool) TryTake(i int) bool {
	if !p.flags[i].TryTake() {
		return false
	}
	if p.closed.Load() {
		p.Give(i)
		return false
	}
	return true
}

// TakeFree is Take for one who does not wait: it fails while all are in use.
func (p *Pool) TakeFree() (i int, ok bool) {
	i = p.Prefer()
	for range Lanes {
		if p.TryTake(i) {
			return i, true
		}
		if i++; i == Lanes {
			i = 0
		}
	}
	return 0, false
}

// take takes one of the records [from, to), the first one from index first on.
func (p *Pool) take(first, from, to int) (r *Record, i int, ok bool) {
	for try := 0; ; try++ {
		for range to - from {
			if p.TryTake(first) {
				return p.records[first], first, true
			}
			if first++; first == to {
				first = from
			}
		}
		if all := uint64(1)<<to - 1<<from; p.closed.Load() || p.lost.Load()&all == all {
			return nil, 0, false
		}
		pause(try)
	}
}

// pause lets others run, and sleeps when that has not helped: whoever holds the
// records may himself wait for a process that is stopped.
func pause(try int) {
	if try < 64 {
		runtime.Gosched()
		return
	}
	time.Sleep(min(time.Millisecond, time.Duration(try)*time.Microsecond))
}

// Give returns a closed record.
func (p *Pool) Give(i int) { p.flags[i].Give() }

// Barrier returns when every record that was taken before has been given back
// once: operations that began before have ended.
func (p *Pool) Barrier() {
	for i := range PerSlot {
		if _, _, ok := p.take(i, i, i+1); ok {
			p.Give(i)
		}
	}
}

// Lose keeps a record that is open for good: nobody could settle it.
func (p *Pool) Lose(i int) { p.lost.Or(1 << i) }

// Lost reports whether a record was lost. Its slot must stay as that of a dead
// process, or the record would be written over.
func (p *Pool) Lost() bool { return p.lost.Load() != 0 }

// Close refuses further Takes and reports whether all records are back, but for
// those that were lost.
func (p *Pool) Close() bool {
	p.closed.Store(true)
	lost := p.lost.Load()
	for i := range p.flags {
		if p.flags[i].Taken() && lost>>i&1 == 0 {
			return false
		}
	}
	return true
}

// Alloc opens the record: the block at ref is about to be marked used.
func (r *Record) Alloc(ref uint64) {
	r.old.Put(0)
	r.new.Put(ref)
	r.op.StoreRelease(opAlloc) // survivor: frees the block if it was marked
}

// Change is what a replace does beside storing the target.
type Change struct {
	Lock    uint64 // offset of the lock word held
	Target  uint64 // offset of the word to store
	Old     uint64 // what it holds: a reference word
	New     uint64 // what it shall hold: the block of the open alloc with its high bits, or 0
	Version uint64 // offset of the word to raise; 0: none
	Count   uint64 // offset of the counter to set; 0: none
	After   uint64 // what to set it to
}

// Replace opens the record for the change c, under its lock. The caller then
// stores the target, raises the version, frees the old block and sets the
// count, in this order, and closes the record.
func (r *Record) Replace(c *Change) {
	r.fill(c)
	r.op.StoreRelease(c.Lock<<8 | opReplace) // survivor: target holds old: rolls back
}

// Trade opens the record for a change whose old block is kept: the word at Count,
// which holds New, or 0 if New is the block of the open alloc, holds After in the end.
func (r *Record) Trade(c *Change) {
	r.fill(c)
	r.op.StoreRelease(c.Lock<<8 | opTrade) // survivor: target holds old: rolls back
}

// Rename opens the record for a change of the target that frees nothing, and
// then clears the word at also.
func (r *Record) Rename(c *Change, also uint64) {
	r.fill(c)
	r.extra.Put(also)
	r.op.Store(c.Lock<<8 | opRename) // survivor: target holds old: nothing happened
}

// Apply carries out the change c under its record, step by step, and closes
// it.
func (t *Table) Apply(r *Record, c *Change) {
	r.Replace(c)
	mem.Must[psync.Word64](t.view, c.Target).Store(c.New) // survivor: target holds new: rolls forward
	if c.Version != 0 {
		v := mem.Must[psync.Word64](t.view, c.Version)
		v.Store(v.Load() + 1) // survivor: raises it once more
	}
	t.free(c.Old) // survivor: sees it freed, and named
	if c.Count != 0 {
		mem.Must[psync.Word64](t.view, c.Count).Store(c.After) // survivor: stores the same
	}
	r.Close()
}

func (r *Record) fill(c *Change) {
	r.target.Put(c.Target)
	r.old.Put(c.Old)
	r.new.Put(c.New)
	r.version.Put(c.Version)
	r.count.Put(c.Count)
	r.after.Put(c.After)
}

// MakeRun opens the record for a run of n pages at ref, under the run lock.
func (r *Record) MakeRun(lock, ref, n uint64) {
	r.old.Put(0)
	r.new.Put(ref)
	r.extra.Put(n)
	r.op.Store(lock<<8 | opMake) // survivor: takes apart what there is of it
}

// BreakRun opens the record for taking apart the run of n pages at ref, under
// the run lock.
func (r *Record) BreakRun(lock, ref, n uint64) {
	r.old.Put(ref)
	r.new.Put(0)
	r.extra.Put(n)
	r.op.Store(lock<<8 | opBreak) // survivor: nothing begun: the run stays freed
}

// Made turns the record of a run that is complete into one of its block.
func (r *Record) Made() { r.op.Store(opAlloc) }

// Close closes the record: the operation is done, or nothing of it is left.
func (r *Record) Close() { r.op.StoreRelease(opNone) }

// Lock returns the offset of the lock under which the record was opened, and
// whether it is open under a lock.
func (r *Record) Lock() (uint64, bool) {
	op := r.op.Load()
	return op >> 8, op&opMask >= opReplace
}

// Inside is the word that names the page which the operation is in, one more
// than its number, so that whoever recovers the slot leaves it. It holds other
// things at other times; then the page of that number is one that the operation
// is not in, and whoever looks there sees so.
func (r *Record) Inside() *psync.Word64 { return &r.extra }

// Reserved returns the block of an open alloc record.
func (r *Record) Reserved() (ref uint64, ok bool) {
	return r.new.Load() & RefMask, r.op.Load()&opMask == opAlloc
}

// Open reports whether the record is open.
func (r *Record) Open() bool { return r.op.Load()&opMask != opNone }
