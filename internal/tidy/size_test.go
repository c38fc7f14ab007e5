package tidy_test

import (
	"go/ast"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// longest is the most lines a function may have, signature and braces
// included. It only ever goes down.
const longest = 70

// A length is how long one function is.
type length struct {
	at, name string
	lines    int
}

// lengths are those of all functions outside tests, shortest first.
func lengths(t *tree) (all []length) {
	for _, f := range t.code() {
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := t.fset.Position(fn.End()).Line - t.fset.Position(fn.Pos()).Line + 1
			all = append(all, length{t.at(fn), fn.Name.Name, lines})
		}
	}
	slices.SortStableFunc(all, func(a, b length) int { return a.lines - b.lines })
	return all
}

func checkLength(t *tree) (c complaints) {
	for _, l := range lengths(t) {
		if l.lines > longest {
			c.add("%s: %s has %d lines, more than %d: outline the slow path or name the steps", l.at, l.name, l.lines, longest)
		}
	}
	return c
}

// TestFunctionLengths reports, so that the ceiling can be lowered.
func TestFunctionLengths(t *testing.T) {
	house, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	all := lengths(house)
	if len(all) == 0 {
		return
	}
	top := all[len(all)-1]
	t.Logf("%d functions, median %d lines, longest %d (%s, %s)",
		len(all), all[len(all)/2].lines, top.lines, top.name, top.at)
}

// drawers are names that say nothing about what is inside.
var drawers = []string{"util", "utils", "common"}

func checkNames(t *tree) (c complaints) {
	for _, f := range t.goFiles() {
		file := strings.TrimSuffix(strings.TrimSuffix(f.base(), ".go"), "_test")
		for _, name := range []string{path.Base(f.dir()), f.syntax.Name.Name, file} {
			if slices.Contains(drawers, name) {
				c.add("%s: %q names a drawer, not a thing", f.path, name)
			}
		}
	}
	return c
}
