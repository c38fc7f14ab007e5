package shmtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/arena"
)

// Layout is what a package stores, and what it looked like when the layout
// version was settled.
type Layout struct {
	Version int            // the arena.Version that the numbers of Frozen belong to
	Frozen  string         // a line for each struct: "name size: field offset, field offset"; indented lines go on
	Stored  []reflect.Type // every struct of the package's layout.go
}

// Check holds the stored structs of the package under test to three rules: they
// have no holes and no pointers; they are what they were when the layout version
// was settled; and docs/LAYOUT.md says what layout.go says. With update it writes
// the last instead of comparing. It runs in the directory of the package.
func (l *Layout) Check(t *testing.T, update bool) {
	t.Helper()
	var found []string
	for _, s := range l.Stored {
		for _, fault := range tile(s, s.Name(), 0) {
			t.Error(fault)
		}
		found = append(found, lineOf(s))
	}
	for _, fault := range l.compare(found) {
		t.Error(fault)
	}
	text, err := l.render()
	require.NoError(t, err)
	Section(t, update, "layout "+packagePath(t), text)
}

// tile returns what keeps a stored type from being the same bytes everywhere: a
// hole, a field that is not where its size wants it, or a kind without a fixed
// size or with an address in it. at is where the type stands in its struct.
func tile(s reflect.Type, name string, at uintptr) (faults []string) {
	switch s.Kind() {
	case reflect.Struct:
		return tileFields(s, name, at)
	case reflect.Array:
		return tile(s.Elem(), name+"[…]", at)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if at%s.Size() != 0 {
			return []string{fmt.Sprintf("%s: %d bytes at offset %d: not aligned", name, s.Size(), at)}
		}
		return nil
	}
	return []string{fmt.Sprintf("%s is a %s: only integers of a fixed size are stored", name, s.Kind())}
}

func tileFields(s reflect.Type, name string, at uintptr) (faults []string) {
	var end uintptr
	for i := range s.NumField() {
		f := s.Field(i)
		if f.Offset != end {
			faults = append(faults, fmt.Sprintf("%s: a hole of %d bytes before %s", name, f.Offset-end, f.Name))
		}
		end = f.Offset + f.Type.Size()
		faults = append(faults, tile(f.Type, name+"."+f.Name, at+f.Offset)...)
	}
	if end != s.Size() {
		faults = append(faults, fmt.Sprintf("%s: a hole of %d bytes at its end", name, s.Size()-end))
	}
	return faults
}

// lineOf is a struct in the form of Frozen.
func lineOf(s reflect.Type) string {
	var fields []string
	for i := range s.NumField() {
		fields = append(fields, fmt.Sprintf("%s %d", s.Field(i).Name, s.Field(i).Offset))
	}
	return fmt.Sprintf("%s %d: %s", s.Name(), s.Size(), strings.Join(fields, ", "))
}

// compare says how the structs found differ from the frozen ones.
func (l *Layout) compare(found []string) (faults []string) {
	frozen := strings.Split(strings.TrimSpace(strings.ReplaceAll(l.Frozen, "\n ", " ")), "\n")
	if l.Version != arena.Version {
		return []string{fmt.Sprintf("the frozen numbers are those of layout version %d, arena.Version is %d: settle them anew in layout_test.go:\n%s",
			l.Version, arena.Version, strings.Join(found, "\n"))}
	}
	for i := range max(len(frozen), len(found)) {
		was, is := nth(frozen, i), nth(found, i)
		if was != is {
			faults = append(faults, fmt.Sprintf("the layout has changed under version %d:\n was %s\n is  %s\n"+
				"Segments of this version would be misread. If a release has written it, raise arena.Version; then mend layout_test.go.",
				l.Version, was, is))
		}
	}
	return faults
}

func nth(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}

// render returns the stored structs as Markdown, with the comments of layout.go.
func (l *Layout) render() (string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "layout.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	left := len(l.Stored)
	for _, decl := range file.Decls {
		name, fields, doc := structOf(decl)
		if fields == nil {
			continue
		}
		s := l.stored(name)
		if s == nil {
			return "", fmt.Errorf("layout.go: struct %s is not among those that layout_test.go checks", name)
		}
		left--
		if err := tableOf(&b, s, fields, doc); err != nil {
			return "", err
		}
	}
	if left != 0 {
		return "", fmt.Errorf("layout.go has %d structs less than layout_test.go checks", left)
	}
	return b.String(), nil
}

func (l *Layout) stored(name string) reflect.Type {
	for _, s := range l.Stored {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// structOf returns the parts of a declaration of a struct; fields is nil if it
// is something else.
func structOf(decl ast.Decl) (name string, fields []*ast.Field, doc string) {
	gen, ok := decl.(*ast.GenDecl)
	if !ok || gen.Tok != token.TYPE || len(gen.Specs) != 1 {
		return "", nil, ""
	}
	spec := gen.Specs[0].(*ast.TypeSpec)
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return "", nil, ""
	}
	return spec.Name.Name, s.Fields.List, sentence(gen.Doc)
}

// tableOf writes one struct: what it is, then a row for each field.
func tableOf(b *strings.Builder, s reflect.Type, fields []*ast.Field, doc string) error {
	fmt.Fprintf(b, "**%s**, %d bytes. %s\n\n", s.Name(), s.Size(), doc)
	b.WriteString("| offset | bytes | field | |\n|---:|---:|---|---|\n")
	i := 0
	for _, field := range fields {
		meaning := sentence(field.Comment)
		if meaning == "" {
			meaning = sentence(field.Doc)
		}
		for _, name := range field.Names {
			if meaning == "" {
				return fmt.Errorf("layout.go: %s.%s has no comment: who writes it, who reads it, what it means", s.Name(), name)
			}
			f := s.Field(i)
			fmt.Fprintf(b, "| %d | %d | `%s` | %s |\n", f.Offset, f.Type.Size(), f.Name, meaning)
			i++
		}
	}
	b.WriteString("\n")
	return nil
}

// sentence is a comment on one line, safe in a table.
func sentence(c *ast.CommentGroup) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(c.Text()), " "), "|", `\|`)
}

// Section compares text with the part of docs/LAYOUT.md between the marks of
// that name; with update it writes it there.
func Section(t *testing.T, update bool, name, text string) {
	t.Helper()
	file := filepath.Join(moduleRoot(t), "docs", "LAYOUT.md")
	all, err := os.ReadFile(file)
	require.NoError(t, err)
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	before, rest, ok := strings.Cut(string(all), begin)
	require.True(t, ok, "docs/LAYOUT.md has no line %q", begin)
	was, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "docs/LAYOUT.md has no line %q", end)
	if text = "\n" + text; was == text {
		return
	}
	if !update {
		require.Equal(t, text, was, "docs/LAYOUT.md, section %q, is not what the source says; make layout UPDATE=1 rewrites it", name)
	}
	require.NoError(t, os.WriteFile(file, []byte(before+begin+text+end+after), 0o644))
}

// moduleRoot is the directory of the module that the working directory is part of.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		require.NotEqual(t, filepath.Dir(d), d, "no go.mod above %s", dir)
	}
}

// packagePath is the path of the working directory from the root of the module.
func packagePath(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	rel, err := filepath.Rel(moduleRoot(t), dir)
	require.NoError(t, err)
	return path.Clean(filepath.ToSlash(rel))
}
