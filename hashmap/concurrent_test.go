package hashmap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/internal/shmtest"
)

// The tests of this file are the ones for the race detector: it sees heap
// segments only.

// crowd runs each function in goroutines of its own, again and again for a
// while, and fails with the first error.
func crowd(t *testing.T, d time.Duration, members ...func(r *rand.Rand) error) {
	t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	first := make(chan error, 2*len(members))
	for _, f := range members {
		for range 2 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for !stop.Load() {
					if err := f(r); err != nil {
						first <- err
						return
					}
					if r.IntN(50) == 0 {
						runtime.Gosched()
					}
				}
			})
		}
	}
	select {
	case err := <-first:
		stop.Store(true)
		all.Wait()
		require.NoError(t, err)
	case <-time.After(d):
	}
	stop.Store(true)
	all.Wait()
}

// Keys 0 to 3 are always there; the others come and go.
func TestRace_Fixed(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(small)
		m := create[uint64, sealed](t, a, "m", &Options{Capacity: 60})
		other := open[uint64, sealed](t, b, "m")
		for k := range uint64(4) {
			require.NoError(t, m.Store(k, seal(k, 0)))
		}
		read := func(r *rand.Rand) error {
			k := r.Uint64N(30)
			s, ok := other.Load(k)
			if k < 4 && !ok {
				return fmt.Errorf("key %d is missing", k)
			}
			if ok && !s.whole(k) {
				return fmt.Errorf("key %d: torn or wrong: %v", k, s)
			}
			return nil
		}
		write := func(r *rand.Rand) error {
			k := r.Uint64N(30)
			return m.Store(k, seal(k, r.Uint64()))
		}
		remove := func(r *rand.Rand) error {
			_, err := other.Delete(4 + r.Uint64N(26))
			return err
		}
		fetch := func(r *rand.Rand) error {
			k := r.Uint64N(4)
			s, err := other.Fetch(context.Background(), k, func(context.Context, uint64) (sealed, error) { return sealed{}, ErrLoad }, &FetchOptions{Stale: 1})
			if err == nil && !s.whole(k) {
				err = fmt.Errorf("Fetch: key %d: torn or wrong: %v", k, s)
			}
			return err
		}
		crowd(t, 300*time.Millisecond, read, write, remove, fetch, everything(other, func(k uint64, s sealed) bool { return s.whole(k) }, 4))
	})
}

// everything iterates: each entry is whole, none comes twice, and those that are
// always there come.
func everything[V any](m *Map[uint64, V], whole func(k uint64, v V) bool, always int) func(*rand.Rand) error {
	return func(*rand.Rand) error {
		seen := make(map[uint64]bool)
		for k, v := range m.All() {
			if !whole(k, v) {
				return fmt.Errorf("All: key %d: torn or wrong: %v", k, v)
			}
			if seen[k] && k < uint64(always) {
				return fmt.Errorf("All: key %d comes twice", k)
			}
			seen[k] = true
		}
		for k := range uint64(always) {
			if !seen[k] {
				return fmt.Errorf("All: key %d is missing", k)
			}
		}
		if n := m.Len(); n < always {
			return fmt.Errorf("Len() = %d, want at least %d", n, always)
		}
		return nil
	}
}

func TestRace_Bytes(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(roomy)
		m := create[uint64, []byte](t, a, "m", &Options{Capacity: 60})
		other := open[uint64, []byte](t, b, "m")
		collide(t, 8, &m.table, &other.table) // one long chain
		for k := range uint64(4) {
			require.NoError(t, m.Store(k, sealBytes(k, 0)))
		}
		whole := func(k uint64, b []byte) bool {
			_, ok := wholeBytes(k, b)
			return ok
		}
		read := func(r *rand.Rand) error {
			k := r.Uint64N(30)
			b, ok := other.LoadAppend(nil, k)
			if k < 4 && !ok {
				return fmt.Errorf("key %d is missing", k)
			}
			if ok && !whole(k, b) {
				return fmt.Errorf("key %d: torn or wrong: %d bytes", k, len(b))
			}
			return nil
		}
		write := func(r *rand.Rand) error {
			k := r.Uint64N(30)
			return m.Store(k, sealBytes(k, r.Uint64()))
		}
		remove := func(r *rand.Rand) error {
			_, err := other.Delete(4 + r.Uint64N(26))
			return err
		}
		crowd(t, 300*time.Millisecond, read, write, remove, everything(other, whole, 4))
	})
}

// large is a value that takes long to copy, so that a change comes between even
// where the copy follows the version without detour.
type large [2000]uint64

func sealLarge(id, seq uint64) *large {
	v := new(large)
	for i := range v {
		v[i] = id<<32 | seq
	}
	return v
}

func (v *large) whole(id uint64) bool {
	for i := range v {
		if v[i] != v[0] || v[i]>>32 != id {
			return false
		}
	}
	return true
}

// There is hardly more room than the values take: a block that was freed is used
// again by the next writer, for another key.
func TestRace_Large(t *testing.T) {
	const keys = 3
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(&arena.Options{Size: 120 << 10, Processes: 4, Objects: 8})
		m := create[uint64, large](t, a, "m", &Options{Capacity: 20})
		other := open[uint64, large](t, b, "m")
		for k := range uint64(keys) {
			require.NoError(t, m.Store(k, *sealLarge(k, 0)))
		}
		read := func(r *rand.Rand) error {
			k := r.Uint64N(keys)
			if v, ok := other.Load(k); !ok || !v.whole(k) {
				return fmt.Errorf("key %d: found %v, torn or wrong", k, ok)
			}
			return nil
		}
		write := func(r *rand.Rand) error {
			k := r.Uint64N(keys)
			if err := m.Store(k, *sealLarge(k, r.Uint64()>>32)); !errors.Is(err, ErrFull) {
				return err
			}
			return nil
		}
		crowd(t, 400*time.Millisecond, read, write)
	})
}

// Readers of a map that is removed, replaced and made anew in the same memory
// find values of their own map or nothing.
func TestRace_Removed(t *testing.T) {
	shmtest.Backings(t, func(t *testing.T, opener shmtest.Opener) {
		a, b := opener(small)
		var current atomic.Pointer[Map[uint64, sealed]]
		var generation uint64
		renew := func(r *rand.Rand) error {
			generation++
			m, err := Create[uint64, sealed](a, "m", &Options{Capacity: 20})
			if err != nil {
				return err
			}
			for k := range uint64(20) {
				if err := m.Store(k, seal(k, generation)); err != nil {
					return err
				}
			}
			current.Store(m)
			for k := range uint64(20) {
				if err := m.Store(k, seal(k, generation)); err != nil {
					return err
				}
			}
			if r.IntN(2) == 0 {
				err = a.Remove("m")
				_ = m.Close()
			} else {
				_ = m.Close()
				err = a.Remove("m")
			}
			return err
		}
		var turn sync.Mutex
		alone := func(r *rand.Rand) error {
			turn.Lock()
			defer turn.Unlock()
			return renew(r)
		}
		read := func(r *rand.Rand) error {
			m, err := Open[uint64, sealed](b, "m", nil)
			if err != nil {
				return nil
			}
			var of uint64
			for range 20 {
				k := r.Uint64N(20)
				s, ok := m.Load(k)
				if !ok {
					continue
				}
				if of == 0 {
					of = s[1]
				}
				if !s.whole(k) || s[1] != of {
					return fmt.Errorf("key %d: %v, in a map of generation %d", k, s, of)
				}
			}
			return m.Close()
		}
		stale := func(r *rand.Rand) error {
			m, k := current.Load(), r.Uint64N(20)
			if m == nil {
				return nil
			}
			if s, ok := m.Load(k); ok && !s.whole(k) {
				return fmt.Errorf("key %d: torn or wrong: %v", k, s)
			}
			for k, s := range m.All() {
				if !s.whole(k) {
					return fmt.Errorf("All: key %d: torn or wrong: %v", k, s)
				}
			}
			if err := m.Err(); err != nil && m.damage.Load() != nil {
				return fmt.Errorf("damage was seen: %w", *m.damage.Load())
			}
			return nil
		}
		crowd(t, 300*time.Millisecond, alone, read, stale)
	})
}

// The deadline that TTL returns is that of the key, though its block is written over
// with an entry that has none.
func TestRace_TTL(t *testing.T) {
	m := create[uint64, uint64](t, shmtest.Heap(t, small), "m", &Options{Capacity: 10})
	require.NoError(t, m.StoreTTL(0, 0, time.Hour))
	read := func(*rand.Rand) error {
		if left, ok := m.TTL(0); !ok || left < time.Minute {
			return fmt.Errorf("it has %v, %v", left, ok)
		}
		return nil
	}
	write := func(r *rand.Rand) error {
		if k := r.Uint64N(10); k > 2 {
			return m.Store(k, k)
		}
		return m.StoreTTL(0, 0, time.Hour)
	}
	crowd(t, 300*time.Millisecond, read, write)
}
