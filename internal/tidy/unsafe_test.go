package tidy_test

import (
	"go/ast"
	"slices"
	"strings"
)

// futexFile is the one file outside internal/mem that hands an address to the
// kernel.
const futexFile = "internal/psync/futex_linux_unsafe.go"

// checkUnsafe keeps the door of the unsafe room: the file name says so, and
// the file lies in the room.
func checkUnsafe(t *tree) (c complaints) {
	for _, f := range t.code() {
		if _, ok := f.imports()["unsafe"]; !ok {
			continue
		}
		if !strings.HasSuffix(f.path, "_unsafe.go") {
			c.add("%s imports unsafe: the name of such a file ends in _unsafe.go", f.path)
		}
		if f.dir() != "internal/mem" && f.path != futexFile {
			c.add("%s imports unsafe: only internal/mem and %s may; ask internal/mem for the access you need", f.path, futexFile)
		}
	}
	return c
}

// rawAtomics are the packages that may call atomic functions on plain words:
// they make the doors through which everybody else goes.
var rawAtomics = []string{"internal/psync", "internal/mem", "internal/fault"}

// typedAtomics are safe everywhere, for what belongs to this process alone;
// a stored word is a psync type, so that it ticks.
var typedAtomics = []string{
	"Bool", "Int32", "Int64", "Uint32", "Uint64", "Uintptr", "Pointer", "Value",
}

func checkAtomics(t *tree) (c complaints) {
	for _, f := range t.code() {
		name, ok := f.imports()["sync/atomic"]
		if !ok || slices.Contains(rawAtomics, f.dir()) {
			continue
		}
		if name == "." {
			c.add("%s imports sync/atomic as \".\": import it by name", f.path)
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || slices.Contains(typedAtomics, sel.Sel.Name) {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
				c.add("%s: atomic.%s on a plain word: shared words are psync types (they tick), words of this process are atomic.Int64 and the like",
					t.at(sel), sel.Sel.Name)
			}
			return true
		})
	}
	return c
}
