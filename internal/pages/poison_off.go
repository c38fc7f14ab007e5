//go:build !poison

package pages

// With the build tag poison free blocks are filled with a pattern, and looked at
// before they are handed out again. Every process that has the arena open must
// have the tag.

func (*Table) poison(*place, uint64)         {}
func (*Table) poisonPage(_ uint64, _ *Class) {}
func (*Table) unpoison(_, _ uint64)          {}
