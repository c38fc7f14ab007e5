package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	defaultDir = "/dev/shm"

	// filePrefix marks a segment's file among others in a shared directory.
	filePrefix = "shmkit."

	// draftPrefix marks a segment that has no name of its own yet.
	draftPrefix = ".shmkit."

	maxName = 200
)

// checkName allows what is one plain file name on every system: no path, no
// hidden file, nothing that a shell or a person would misread.
func checkName(name string) error {
	switch why := nameFault(name); why {
	case "":
		return nil
	default:
		return fmt.Errorf("%w %.220q: %s (allowed: 1 to %d of A-Z a-z 0-9 . _ -, a letter or digit first, no \"..\")",
			ErrName, name, why, maxName)
	}
}

func nameFault(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxName:
		return fmt.Sprintf("it has %d bytes", len(name))
	case !isAlnum(name[0]):
		return fmt.Sprintf("it begins with %q", name[:1])
	case strings.Contains(name, ".."):
		return `it contains ".."`
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && !strings.ContainsRune("._-", rune(c)) {
			return fmt.Sprintf("it contains %q at byte %d", name[i:i+1], i)
		}
	}
	return ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// pathOf returns where the segment of that name lives. The path is absolute,
// so that it leads to the same place after a change of working directory.
func pathOf(dir, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	dir, err := absoluteDir(dir)
	return filepath.Join(dir, filePrefix+name), err
}

func absoluteDir(dir string) (string, error) {
	if dir == "" {
		return defaultDir, nil
	}
	return filepath.Abs(dir)
}

// segmentName returns the segment's name that a file name stands for.
func segmentName(file string) (string, bool) {
	name, ok := strings.CutPrefix(file, filePrefix)
	return name, ok && checkName(name) == nil
}

// plan is Options with every question answered.
type plan struct {
	name    string
	path    string
	size    int64 // to allocate, whole pages
	reserve int64 // address space, whole pages
	mode    fs.FileMode
	prepare func(*Segment) error
}

// newPlan checks sizes and mode, and rounds sizes up to whole pages.
func newPlan(o *Options) (plan, error) {
	if o == nil {
		o = new(Options)
	}
	p := plan{size: o.Size, reserve: o.MaxSize, mode: o.Mode, prepare: o.Prepare}
	if p.reserve == 0 {
		p.reserve = p.size
	}
	if p.mode == 0 {
		p.mode = 0o600
	}
	switch {
	case p.size <= 0:
		return p, fmt.Errorf("size %d: at least 1 byte expected", p.size)
	case p.reserve < p.size:
		return p, fmt.Errorf("maximum size %d: at least the size, %d, expected", p.reserve, p.size)
	case p.reserve > maxReserve:
		return p, fmt.Errorf("maximum size %d: at most %d expected", p.reserve, int64(maxReserve))
	case p.mode&^fs.ModePerm != 0 || p.mode&0o600 != 0o600:
		return p, fmt.Errorf("mode %v (%#o): permission bits expected, 0600 among them", p.mode, uint32(p.mode))
	}
	p.size, p.reserve = wholePages(p.size), wholePages(p.reserve)
	return p, fitsAddress(p.reserve)
}

func wholePages(n int64) int64 {
	page := int64(os.Getpagesize())
	return (n + page - 1) / page * page
}

func fitsAddress(n int64) error {
	if int64(int(n)) != n {
		return fmt.Errorf("%d bytes: more than this machine can address: %w", n, errors.ErrUnsupported)
	}
	return nil
}
