package shm

import (
	"fmt"
	"io/fs"
	"time"
)

// Info describes a segment by its file, without opening it.
type Info struct {
	Name    string
	Size    int64 // of the file, as far as it has grown
	Mode    fs.FileMode
	ModTime time.Time // of the file; stores to mapped memory need not move it
	UID     int       // owner
}

// List returns the segments in a directory, ordered by name. "" means
// /dev/shm. It sees those of other users too, and opens none of them. Hidden
// files of creators that were killed are removed on the way.
func List(dir string) ([]Info, error) {
	dir, err := absoluteDir(dir)
	if err != nil {
		return nil, fmt.Errorf("shm: list: %w", err)
	}
	list, err := listNamed(dir)
	if err != nil {
		return nil, fmt.Errorf("shm: list %s: %w", dir, err)
	}
	return list, nil
}
