package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// row is a line of the table.
type row struct {
	name  string
	cells []float64
	ratio bool // hit ratios, not differences
}

func printTable(w io.Writer, points []point, rows []row) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s", "points above LRU")
	for _, p := range points {
		fmt.Fprintf(&b, " %7.7s", p.name)
	}
	fmt.Fprintf(&b, "\n%-26s", "")
	for _, p := range points {
		fmt.Fprintf(&b, " %7d", p.capacity)
	}
	fmt.Fprintf(&b, " %7s %7s\n", "mean", "least")
	for _, r := range rows {
		fmt.Fprintf(&b, "%-26s", r.name)
		format, sum := " %+7.2f", 0.0
		if r.ratio {
			format = " %7.2f"
		}
		for _, c := range r.cells {
			fmt.Fprintf(&b, format, c)
			sum += c
		}
		fmt.Fprintf(&b, format+format+"\n", sum/float64(len(r.cells)), slices.Min(r.cells))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
