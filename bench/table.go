package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// printTable prints every section.
func printTable(w io.Writer, results []result) error {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "\n%-34s  %9s %-15s %5s   %9s %-15s %5s   %7s %7s\n",
			r.title, "one, ns", "(min-max)", "ratio", "two, ns", "(min-max)", "ratio", "two/one", "allocs")
		one := baseline(r.rows, func(r row) cell { return r.one })
		two := baseline(r.rows, func(r row) cell { return r.two })
		for _, x := range r.rows {
			fmt.Fprintf(&b, "%-34s  %s   %s   %s %7.2f\n", x.name, x.one.text(one), x.two.text(two), x.company(), x.allocs)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// baseline is the first figure of a column.
func baseline(rows []row, of func(row) cell) cell {
	for _, r := range rows {
		if c := of(r); len(c) != 0 {
			return c
		}
	}
	return nil
}

func (c cell) text(base cell) string {
	if len(c) == 0 {
		return fmt.Sprintf("%9s %15s %5s", "-", "", "-")
	}
	span := fmt.Sprintf("(%.1f-%.1f)", slices.Min(c), slices.Max(c))
	return fmt.Sprintf("%9.1f %-15s %5.2f", c.median(), span, c.over(base))
}

// company is how much dearer an operation is beside a second.
func (r row) company() string {
	if len(r.two) == 0 {
		return fmt.Sprintf("%7s", "-")
	}
	return fmt.Sprintf("%7.2f", r.two.over(r.one))
}
