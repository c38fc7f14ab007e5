package tidy_test

import (
	"regexp"
	"slices"
	"strings"
)

// stack is the house from the ground up. Neighbours do not know each other,
// and shm does not know the two floors drawn below it: see floors.
var stack = []string{
	"internal/fault", "internal/mem", "internal/psync", "internal/pages", "internal/tree", "internal/intent",
	"shm", "arena", "slab",
}

// A floor is what a package may import of ours, and why nothing else.
type floor struct {
	may []string
	why string
}

// floors has every package of the core module. Test files may import
// internal/shmtest besides.
var floors = map[string]floor{
	"internal/fault":  {nil, "everything ticks, so the ticks know nothing"},
	"internal/mem":    {upTo("internal/fault"), "the unsafe room knows bytes and types, not what they mean"},
	"internal/psync":  {upTo("internal/mem"), "words and locks serve a segment as well as what is in it"},
	"internal/pages":  {upTo("internal/psync"), "any attacher recovers pages, without the allocator's policy"},
	"internal/tree":   {upTo("internal/psync"), "the shape of a tree is walked without knowing who allocates or stores in it"},
	"internal/intent": {upTo("internal/tree"), "a record is settled without the structure that wrote it"},
	"shm":             {upTo("internal/psync"), "a segment knows nothing of its contents"},
	"arena":           {upTo("shm"), "an arena recovers what is on it from records, not from structures"},
	"slab":            {upTo("arena"), "an allocator knows sizes and destinations, not what is stored"},
	"value":           {upTo("slab"), neighbours},
	"array":           {upTo("slab"), neighbours},
	"hashmap":         {upTo("slab"), neighbours},

	"internal/shmtest": {append(upTo("slab"), "value", "array", "hashmap"), "test support sees the house, not its users"},
	"internal/tidy":    {nil, "it reads the source and runs none of it"},
}

const (
	neighbours = "a structure that leans on its neighbour cannot be recovered without it"
	outside    = "examples and commands show what anyone can write: public packages only"
	testOnly   = "internal/shmtest"
)

// upTo lists the stack from the ground up to and including top.
func upTo(top string) []string {
	return slices.Clone(stack[:slices.Index(stack, top)+1])
}

// thirdParty is all the core module imports that is neither ours nor Go's;
// the paths in it that only tests may import are marked.
var thirdParty = map[string]struct{ testsOnly bool }{
	"golang.org/x/sys/unix":               {},
	"github.com/cespare/xxhash/v2":        {},
	"github.com/stretchr/testify/assert":  {testsOnly: true},
	"github.com/stretchr/testify/require": {testsOnly: true},
}

func checkImports(t *tree) (c complaints) {
	for _, f := range t.goFiles() {
		for p := range f.imports() {
			ours, isOurs := strings.CutPrefix(p, module+"/")
			switch {
			case isOurs:
				checkOurs(&c, f, ours)
			case p == module:
				c.add("%s imports %s: there is no root package", f.path, p)
			case strings.Contains(strings.Split(p, "/")[0], "."):
				checkThirdParty(&c, f, p)
			}
		}
	}
	checkKnown(&c, t)
	return c
}

// checkKnown complains about packages that stand on no floor.
func checkKnown(c *complaints, t *tree) {
	seen := make(map[string]bool)
	for _, f := range t.goFiles() {
		if _, known := floors[f.dir()]; !known && !isOutside(f.dir()) && !seen[f.dir()] {
			seen[f.dir()] = true
			c.add("package %s stands on no floor: add it, and what it may import and why, to floors in internal/tidy/deps_test.go", f.dir())
		}
	}
}

func isOutside(dir string) bool {
	return strings.HasPrefix(dir, "examples/") || strings.HasPrefix(dir, "cmd/")
}

func checkOurs(c *complaints, f *file, p string) {
	switch {
	case p == f.dir():
	case p == testOnly:
		if !f.isTest() {
			c.add("%s imports %s: only _test.go files may", f.path, p)
		}
	case isOutside(f.dir()):
		own := strings.HasPrefix(p, f.dir()+"/")
		if !own && (isOutside(p) || strings.HasPrefix(p, "internal/")) {
			c.add("%s imports %s: %s", f.path, p, outside)
		}
	default:
		floor := floors[f.dir()]
		if !slices.Contains(floor.may, p) {
			c.add("%s imports %s: %s may import %v of ours: %s", f.path, p, f.dir(), floor.may, floor.why)
		}
	}
}

func checkThirdParty(c *complaints, f *file, p string) {
	entry, ok := thirdParty[p]
	switch {
	case !ok:
		c.add("%s imports %s: the core module has three dependencies and gains no fourth; needs of its own make a nested module", f.path, p)
	case entry.testsOnly && !f.isTest() && f.dir() != testOnly:
		c.add("%s imports %s: only tests may", f.path, p)
	}
}

var requirement = regexp.MustCompile(`(?m)^(?:require)?\s+([\w.-]+\.\w+/\S+) v\S+$`)

// checkGoMod holds the direct requirements of the core module to thirdParty.
func checkGoMod(t *tree) (c complaints) {
	mod := t.file("go.mod")
	if mod == nil {
		return complaints{"there is no go.mod at the root"}
	}
	for _, m := range requirement.FindAllStringSubmatch(mod.text, -1) {
		if !providesThirdParty(m[1]) {
			c.add("go.mod requires %s: the core module has three dependencies and gains no fourth; tools go to tools.mod", m[1])
		}
	}
	if strings.Contains(mod.text, "\ntool ") || strings.Contains(mod.text, "\nreplace ") {
		c.add("go.mod has a tool or replace line: users of the module would see it; tools go to tools.mod")
	}
	return c
}

func providesThirdParty(mod string) bool {
	for p := range thirdParty {
		if p == mod || strings.HasPrefix(p, mod+"/") {
			return true
		}
	}
	return false
}
