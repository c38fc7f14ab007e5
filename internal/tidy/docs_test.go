package tidy_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

// essayLines is how long a package comment is at least: task, picture,
// caveats do not fit in less.
const essayLines = 15

// checkEssays wants each public package explained in its doc.go.
func checkEssays(t *tree) (c complaints) {
	for _, dir := range t.public() {
		doc := t.file(dir + "/doc.go")
		if doc == nil {
			c.add("%s has no doc.go: begin with the essay (task, picture, caveats)", dir)
			continue
		}
		if n := strings.Count(doc.syntax.Doc.Text(), "\n"); n < essayLines {
			c.add("%s/doc.go: the package comment has %d lines, fewer than %d: task, picture, caveats", dir, n, essayLines)
		}
	}
	return c
}

// checkSentinels wants the errors of a public package in one place.
func checkSentinels(t *tree) (c complaints) {
	for _, dir := range t.public() {
		for _, f := range t.code() {
			if f.dir() != dir || f.base() == "errors.go" {
				continue
			}
			for _, name := range variables(f) {
				if strings.HasPrefix(name.Name, "Err") {
					c.add("%s: %s belongs in %s/errors.go", t.at(name), name.Name, dir)
				}
			}
		}
	}
	return c
}

// variables are the names a file declares by var at package level.
func variables(f *file) (names []*ast.Ident) {
	for _, d := range f.syntax.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			names = append(names, spec.(*ast.ValueSpec).Names...)
		}
	}
	return names
}

// checkExamples wants each public package shown at work.
func checkExamples(t *tree) (c complaints) {
	for _, dir := range t.public() {
		f := t.file(dir + "/example_test.go")
		if f == nil || !strings.Contains(f.text, "\nfunc Example") {
			c.add("%s has no example: write at least one Example function in %s/example_test.go", dir, dir)
		}
	}
	return c
}

func checkReadme(t *tree) (c complaints) {
	if t.file("README.md") == nil {
		c.add("there is no README.md")
	}
	return c
}

var (
	// machinePath is a path that exists on one machine only.
	machinePath = regexp.MustCompile(`(?:^|[^\w.~)}])/(?:root|work|home|Users)/`)
	// leftover is a note to oneself; spelled apart, so as not to find itself.
	leftover = regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	// published is text that others wrote and we carry as it is.
	published = regexp.MustCompile(`\.(?:json|sum)$`)
)

// checkText reads every line people wrote, in nested modules too.
func checkText(t *tree) (c complaints) {
	for _, f := range t.files {
		if published.MatchString(f.path) || strings.ContainsRune(f.text, 0) {
			continue
		}
		number := 0
		for line := range strings.Lines(f.text) {
			number++
			if m := machinePath.FindString(line); m != "" {
				c.add("%s:%d: %q is a path of one machine", f.path, number, m)
			}
			if m := leftover.FindString(line); m != "" {
				c.add("%s:%d: %s: do it, or write an issue", f.path, number, m)
			}
		}
	}
	return c
}

// checkLayouts holds layout.go to what is stored: types and constants, every
// field with its meaning.
func checkLayouts(t *tree) (c complaints) {
	for _, f := range t.code() {
		if f.base() != "layout.go" {
			continue
		}
		for _, d := range f.syntax.Decls {
			if decl, ok := d.(*ast.GenDecl); !ok || decl.Tok == token.VAR {
				c.add("%s: layout.go holds stored types, constants and comments, nothing else", t.at(d))
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.StructType); ok {
				checkFields(&c, t, s)
			}
			return true
		})
	}
	return c
}

func checkFields(c *complaints, t *tree, s *ast.StructType) {
	for _, field := range s.Fields.List {
		if field.Doc == nil && field.Comment == nil && !isHostLayout(field) {
			c.add("%s: a stored field without a comment: who writes it, who reads it, what it means", t.at(field))
		}
	}
}

// isHostLayout knows the field `_ structs.HostLayout`, which stores nothing.
func isHostLayout(field *ast.Field) bool {
	sel, ok := field.Type.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "HostLayout"
}
