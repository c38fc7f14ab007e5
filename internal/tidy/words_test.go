package tidy_test

import "strings"

// checkDoors keeps shut, in tests too, the doors nobody goes through: the
// runtime's private functions, which a Go release may take away, and cgo,
// which would take `go get` and cross-building away.
func checkDoors(t *tree) (c complaints) {
	for _, f := range t.goFiles() {
		if _, ok := f.imports()["C"]; ok {
			c.add("%s imports C: no cgo", f.path)
		}
		for _, group := range f.syntax.Comments {
			for _, line := range group.List {
				if strings.HasPrefix(line.Text, "//go:linkname") {
					c.add("%s: go:linkname: use what the runtime exports", t.at(line))
				}
			}
		}
	}
	return c
}
