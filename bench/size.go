package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/slab"
)

// taken is what an entry takes of the segment, in bytes, counted in two ways.
type taken struct {
	blocks float64 // the blocks of the map
	all    float64 // every page in use, with what is left over in it, and its part of what describes pages and arena
}

// takenBy returns it for a map of n entries that has an arena for itself.
func takenBy(a *arena.Arena, m *hashmap.Map[string, blob], n int) (taken, error) {
	s, err := m.Stats()
	of := slab.Of(a).Stats()
	used := int64(of.Pages-of.FreePages) * of.PageSize
	// The table of an arena that can grow has its place from the start, and memory for the pages that are there.
	table := of.Metadata * int64(of.Pages) / int64(of.MaxPages)
	return taken{float64(s.Bytes()) / float64(n), float64(used+table) / float64(n)}, err
}

// sizedFor prints what n entries take in arenas that are made for them.
func sizedFor(n int, w io.Writer) error {
	fmt.Fprintf(w, "\n%-32s %12s %12s\n", fmt.Sprintf("bytes an entry, %d, sized", n), "blocks", "all")
	keys := keyNames(n)
	for _, page := range []int{4 << 10, 8 << 10, 16 << 10} {
		t, err := sized(keys, page)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%-32s %12.1f %12.1f\n", fmt.Sprintf("pages of %d KiB", page>>10), t.blocks, t.all)
	}
	return nil
}

// sized fills a map in an arena of the size that Plan says.
func sized(keys []string, page int) (taken, error) {
	o := &arena.Options{PageSize: page, Lifetime: arena.RemoveWithLast}
	fit, err := hashmap.Plan(o, len(keys), 16, 64)
	if err != nil {
		return taken{}, err
	}
	o.Size = fit.Size
	a, err := arena.Create(fmt.Sprintf("bench.%d.size", os.Getpid()), o)
	if err != nil {
		return taken{}, err
	}
	m, err := hashmap.Create[string, blob](a, "m", &hashmap.Options{Capacity: len(keys)})
	if err != nil {
		return taken{}, errors.Join(err, a.Close())
	}
	for _, k := range keys {
		if err = m.Store(k, blob{}); err != nil {
			break
		}
	}
	t, wrong := takenBy(a, m, len(keys))
	return t, errors.Join(err, wrong, m.Close(), a.Close())
}
