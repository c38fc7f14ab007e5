package tidy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/shmkit/shmkit"

// A file of the tree; syntax is set for the Go files of the core module.
type file struct {
	path   string // from the module root, with slashes
	text   string
	syntax *ast.File
}

func (f *file) dir() string  { return path.Dir(f.path) }
func (f *file) base() string { return path.Base(f.path) }
func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// A tree is everything below the module root that people wrote.
type tree struct {
	fset  *token.FileSet
	files []*file
}

// complaints is what a rule finds.
type complaints []string

func (c *complaints) add(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// rules is every rule of the house, by name.
var rules = map[string]func(*tree) complaints{
	"imports":   checkImports,
	"gomod":     checkGoMod,
	"unsafe":    checkUnsafe,
	"atomics":   checkAtomics,
	"doors":     checkDoors,
	"essays":    checkEssays,
	"sentinels": checkSentinels,
	"examples":  checkExamples,
	"readme":    checkReadme,
	"text":      checkText,
	"layouts":   checkLayouts,
	"length":    checkLength,
	"names":     checkNames,
}

func TestHouseRules(t *testing.T) {
	house, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, c := range rule(house) {
				t.Error(c)
			}
		})
	}
}

// load reads and parses the tree. A file that does not parse is an error:
// nothing can be said about it.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	var nested []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(p):
			return fs.SkipDir
		case d.IsDir():
			if _, err := fs.Stat(fsys, path.Join(p, "go.mod")); err == nil && p != "." {
				nested = append(nested, p+"/")
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		core := !slices.ContainsFunc(nested, func(n string) bool { return strings.HasPrefix(p, n) })
		return t.read(fsys, p, core)
	})
	return t, err
}

func skipped(dir string) bool {
	base := path.Base(dir)
	hidden := strings.HasPrefix(base, ".") && base != "." && base != ".ci" && base != ".github"
	return hidden || base == "testdata"
}

func (t *tree) read(fsys fs.FS, p string, core bool) error {
	b, err := fs.ReadFile(fsys, p)
	if err != nil {
		return err
	}
	f := &file{path: p, text: string(b)}
	if core && strings.HasSuffix(p, ".go") {
		f.syntax, err = parser.ParseFile(t.fset, p, b, parser.ParseComments|parser.SkipObjectResolution)
	}
	t.files = append(t.files, f)
	return err
}

// goFiles are the Go files of the core module.
func (t *tree) goFiles() []*file {
	return t.matching(func(f *file) bool { return f.syntax != nil })
}

// code is goFiles without tests.
func (t *tree) code() []*file {
	return t.matching(func(f *file) bool { return f.syntax != nil && !f.isTest() })
}

func (t *tree) matching(ok func(*file) bool) []*file {
	var out []*file
	for _, f := range t.files {
		if ok(f) {
			out = append(out, f)
		}
	}
	return out
}

// public are the directories of the packages others may import.
func (t *tree) public() []string {
	var dirs []string
	for _, f := range t.code() {
		inner := slices.ContainsFunc(strings.Split(f.dir(), "/"), func(part string) bool {
			return part == "internal" || part == "cmd" || part == "examples"
		})
		if !inner && !slices.Contains(dirs, f.dir()) {
			dirs = append(dirs, f.dir())
		}
	}
	return dirs
}

// file finds one file by its path; nil if there is none.
func (t *tree) file(p string) *file {
	if i := slices.IndexFunc(t.files, func(f *file) bool { return f.path == p }); i >= 0 {
		return t.files[i]
	}
	return nil
}

// at is where a node stands, for a complaint.
func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imports are the paths a file imports, with the name each goes by in it.
func (f *file) imports() map[string]string {
	m := make(map[string]string)
	for _, spec := range f.syntax.Imports {
		p := strings.Trim(spec.Path.Value, "`\"")
		m[p] = path.Base(p)
		if spec.Name != nil {
			m[p] = spec.Name.Name
		}
	}
	return m
}
