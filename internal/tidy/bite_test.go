package tidy_test

import (
	"strings"
	"testing"
	"testing/fstest"
)

// bites breaks every rule in each of its ways, once: path, text, and what the
// one complaint says. Words the rules look for are spelled apart.
var bites = []struct{ rule, path, text, complaint string }{
	{"imports", "slab/a.go", `package slab; import "` + module + `/hashmap"`, "slab may import"},
	{"imports", "array/a.go", `package array; import "` + module + `/value"`, neighbours},
	{"imports", "shm/a.go", `package shm; import "` + module + `/internal/pages"`, "shm may import"},
	{"imports", "shm/a.go", `package shm; import "` + module + `/internal/shmtest"`, "only _test.go files"},
	{"imports", "shm/a_test.go", `package shm; import "` + module + `/arena"`, "shm may import"},
	{"imports", "examples/e/a.go", `package main; import "` + module + `/internal/mem"`, outside},
	{"imports", "examples/e/a.go", `package main; import "` + module + `/examples/f"`, outside},
	{"imports", "shm/a.go", `package shm; import "golang.org/x/sync/errgroup"`, "no fourth"},
	{"imports", "shm/a.go", `package shm; import "github.com/stretchr/testify/assert"`, "only tests"},
	{"imports", "queue/a.go", `package queue`, "add it"},
	{"imports", "shm/a.go", `package shm; import "` + module + `"`, "no root package"},
	{"gomod", "go.mod", "module m\n\nrequire (\n\texample.com/x v1.0.0\n\tgolang.org/x/sys v0.1.0\n)\n", "requires example.com/x"},
	{"gomod", "go.mod", "module m\n\ntool example.com/x\n", "tools.mod"},
	{"gomod", "README.md", "", "no go.mod"},
	{"unsafe", "internal/mem/a.go", `package mem; import "unsafe"`, "ends in _unsafe.go"},
	{"unsafe", "shm/a_unsafe.go", `package shm; import _ "unsafe"`, "only internal/mem"},
	{"unsafe", "internal/psync/word_unsafe.go", `package psync; import "unsafe"`, "only internal/mem"},
	{"atomics", "shm/a.go", "package shm\nimport \"sync/atomic\"\nvar n atomic.Int64\nvar w uint64\nfunc f() { atomic.AddUint64(&w, 1) }", "shm/a.go:5: atomic.AddUint64"},
	{"atomics", "shm/a.go", `package shm; import a "sync/atomic"; var f = a.LoadUint64`, "atomic.LoadUint64"},
	{"atomics", "shm/a.go", `package shm; import . "sync/atomic"`, "by name"},
	{"doors", "shm/a_test.go", `package shm; import "C"`, "no cgo"},
	{"doors", "shm/a.go", "package shm\n\n//go:linkname f runtime.f\nfunc f()", "shm/a.go:3: go:linkname"},
	{"essays", "shm/a.go", `package shm`, "no doc.go"},
	{"essays", "shm/doc.go", "// Package shm is short.\npackage shm", "has 1 lines"},
	{"sentinels", "shm/a.go", `package shm; var ErrName = error(nil)`, "shm/errors.go"},
	{"examples", "shm/a.go", `package shm`, "shm/example_test.go"},
	{"examples", "shm/sub/a.go", `package sub`, "shm/sub/example_test.go"},
	{"readme", "shm/a.go", `package shm`, "no README.md"},
	{"text", "docs/a.md", "\nsee `/ro" + "ot/x`", "docs/a.md:2"},
	{"text", "docs/a.md", "/ho" + "me/someone/x", "one machine"},
	{"text", ".ci/run", "# FIX" + "ME", ".ci/run:1"},
	{"layouts", "shm/layout.go", "package shm\ntype h struct {\n\tn uint64\n}", "shm/layout.go:3: a stored field"},
	{"layouts", "shm/layout.go", `package shm; func f() {}`, "nothing else"},
	{"layouts", "shm/layout.go", `package shm; var v int`, "nothing else"},
	{"length", "shm/a.go", "package shm\nfunc f() {" + strings.Repeat("\n", longest) + "}", "71 lines"},
	{"names", "shm/util_test.go", `package shm`, "drawer"},
	{"names", "common/a.go", `package x`, "drawer"},
}

func TestRulesBite(t *testing.T) {
	bitten := make(map[string]bool)
	for _, b := range bites {
		bitten[b.rule] = true
		found := rules[b.rule](sketch(t, b.path, b.text))
		if len(found) != 1 || !strings.Contains(found[0], b.complaint) {
			t.Errorf("%s over %s %q:\n found %q\n want one complaint with %q", b.rule, b.path, b.text, found, b.complaint)
		}
	}
	for name := range rules {
		if !bitten[name] {
			t.Errorf("rule %s is broken by none of the cases", name)
		}
	}
}

// TestRulesSpare shows near misses that must pass.
func TestRulesSpare(t *testing.T) {
	for _, s := range []struct{ rule, path, text string }{
		{"imports", "shm/a_test.go", `package shm_test; import "` + module + `/internal/shmtest"; import "` + module + `/shm"`},
		{"imports", "examples/e/a.go", `package main; import "` + module + `/examples/e/internal/x"; import "` + module + `/value"`},
		{"imports", "internal/shmtest/a.go", `package shmtest; import "github.com/stretchr/testify/require"; import "` + module + `/value"`},
		{"unsafe", "internal/mem/a_unsafe.go", `package mem; import "unsafe"`},
		{"unsafe", futexFile, `package psync; import "unsafe"`},
		{"atomics", "shm/a.go", `package shm; import "sync/atomic"; var p atomic.Pointer[int]`},
		{"sentinels", "shm/errors.go", `package shm; var ErrName = error(nil)`},
		{"text", "docs/a.md", "https://example.com/wo" + "rk/ and ./ro" + "ot/x and internal/wo" + "rk/x"},
		{"text", "shm/testdata/a.md", "TO" + "DO"},
		{"layouts", "shm/layout.go", "package shm\ntype h struct {\n\t_ structs.HostLayout\n\tn uint64 // count\n}"},
		{"length", "shm/a.go", "package shm\nfunc f() {" + strings.Repeat("\n", longest-1) + "}"},
	} {
		if found := rules[s.rule](sketch(t, s.path, s.text)); len(found) != 0 {
			t.Errorf("%s over %s %q:\n found %q\n want none", s.rule, s.path, s.text, found)
		}
	}
}

// sketch is a tree of one file.
func sketch(t *testing.T, path, text string) *tree {
	t.Helper()
	s, err := load(fstest.MapFS{path: {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
