package slab

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/shmkit/shmkit/internal/pages"
)

// Dump writes what [Slab.Stats] says as text, for people: its form may change.
// Classes that never had a page and were never asked for are left out.
func (s *Slab) Dump(w io.Writer) error {
	st := s.Stats()
	b := bufio.NewWriter(w) // remembers the first error
	fmt.Fprintf(b, "segment: %d bytes of at most %d, metadata %d\n", st.Committed, st.Max, st.Metadata)
	fmt.Fprintf(b, "pages: %d of at most %d, %d bytes each\n", st.Pages, st.MaxPages, st.PageSize)
	fmt.Fprintf(b, "free pages: %d, in a row at most %d (%d bytes)\n", st.FreePages, st.LargestFree, st.LargestBytes)
	fmt.Fprintf(b, "pages being cut: %d, with blocks kept at hand: %d, of freed runs: %d\n", st.CutPages, st.HeldPages, st.Runs.FreedPages)
	for _, in := range st.Inside {
		p := &in.Process
		fmt.Fprintf(b, "in pages now: %d by slot %d#%d, process %d %q, alive %t\n", in.Pages, p.Slot, p.Incarnation, p.PID, p.Name, p.Alive)
	}
	for _, h := range st.Held {
		p := &h.Process
		fmt.Fprintf(b, "kept at hand: %d blocks in %d pages by slot %d#%d, process %d %q\n", h.Blocks, h.Pages, p.Slot, p.Incarnation, p.PID, p.Name)
	}
	fmt.Fprintln(b)
	st.table(b)
	return b.Flush()
}

// table writes the classes in columns, the runs last.
func (st *Stats) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(columns ...any) {
		for _, c := range columns {
			fmt.Fprintf(t, "%v\t", c)
		}
		fmt.Fprintln(t)
	}
	row("block", "pages", "most", "used", "free", "requests", "failures", "waste")
	for i := range st.Classes {
		if c := &st.Classes[i]; c.MostPages != 0 || c.Requests != 0 || c.Free != 0 { // lodgers that nobody has asked for
			row(c.Size, c.Pages, c.MostPages, c.Used, c.Free, c.Requests, c.Failures, c.Waste)
		}
	}
	r := &st.Runs
	row("run", r.Pages, r.MostPages, r.Count-r.Freed, r.Freed, r.Requests, r.Failures, 0)
	_ = t.Flush() // the writer below remembers it
}

// PageMap draws the pages, a character each, width of them in a line, with a
// legend below. A width of 0 means 64. Colours, if wanted, are the escape
// sequences of terminals, and show how full each page is. Beside writers what is
// drawn is of slightly different moments.
func (s *Slab) PageMap(w io.Writer, width int, color bool) error {
	if width <= 0 {
		width = 64
	}
	s.f.Refresh()
	t := s.f.Pages
	d := drawing{w: bufio.NewWriter(w), color: color, classes: t.Classes(), pages: t.Pages()}
	digits := len(strconv.FormatUint(d.pages, 10))
	for p := range d.pages {
		if p%uint64(width) == 0 {
			d.paint(plain)
			if p != 0 {
				d.text("\n")
			}
			d.text(fmt.Sprintf("%*d ", digits, p))
		}
		d.page(p, t.Page(p))
	}
	d.paint(plain)
	d.text("\n")
	d.legend()
	return d.w.Flush()
}

// drawing is a page map that is being drawn, page after page.
type drawing struct {
	w       *bufio.Writer // remembers the first error
	color   bool
	shade   int // of what is being written
	classes []pages.Class
	pages   uint64
	tails   uint64 // pages of the present run that are still to come
	joining bool   // the pages before are being put into a run, or taken out
	seen    [pages.MaxClasses]bool
}

// Colours of the 256 that terminals have.
const (
	plain  = 0
	faint  = 244
	blue   = 39
	purple = 201
)

// shades are the colours of a page by how full it is: up to a quarter, a half,
// three quarters, not quite, quite.
var shades = [5]int{34, 112, 220, 208, 196}

func (d *drawing) page(p uint64, page pages.Page) {
	mark, shade := d.mark(p, &page)
	d.paint(shade)
	d.text(string(mark))
}

// letters are those of the classes. Each one and its capital differ from all others.
var letters = []rune("abcdefghijklmnopqrstuvwxyzγδθλξπσφψωбджилцшэюя")

// mark chooses the character of a page, given those before it.
func (d *drawing) mark(p uint64, page *pages.Page) (mark rune, shade int) {
	if page.Kind == pages.PageTail {
		return d.tail(page)
	}
	d.joining = false
	if d.tails != 0 { // the run should go on here
		d.tails--
		return '!', purple
	}
	switch page.Kind {
	case pages.PageFree:
		return '.', plain
	case pages.PageRaw:
		return '~', faint
	case pages.PageRun:
		return d.run(p, page)
	case pages.PageClass:
		return d.class(page)
	}
	return '!', purple
}

func (d *drawing) class(page *pages.Page) (mark rune, shade int) {
	d.seen[page.Class] = true
	all := d.classes[page.Class].All
	shade = shades[min(4, page.Used*4/all)]
	switch page.Used {
	case 0:
		return '_', shade
	case all:
		return unicode.ToUpper(letters[page.Class]), shade
	}
	return letters[page.Class], shade
}

// run draws the first page of a run.
func (d *drawing) run(p uint64, page *pages.Page) (mark rune, shade int) {
	if page.Run == 0 || page.Run > d.pages-p {
		return '!', purple
	}
	d.tails = page.Run - 1
	if page.Used == 0 {
		return '%', faint
	}
	return '#', blue
}

func (d *drawing) tail(page *pages.Page) (mark rune, shade int) {
	switch {
	case d.tails != 0:
		d.tails--
		return '=', blue
	case d.joining || page.Inside != 0:
		d.joining = true
		return '~', faint
	}
	return '!', purple
}

func (d *drawing) paint(shade int) {
	if d.color && shade != d.shade {
		if shade == plain {
			d.text("\x1b[0m")
		} else {
			d.text(fmt.Sprintf("\x1b[38;5;%dm", shade))
		}
	}
	d.shade = shade
}

func (d *drawing) text(s string) { _, _ = d.w.WriteString(s) }

// legend explains the characters, and of the classes those that were drawn.
func (d *drawing) legend() {
	d.text(". free  # run  = its other pages  % freed run  ~ being cut or joined  ! impossible  _ no block in use\n")
	var classes []string
	for class := range d.classes {
		if d.seen[class] {
			classes = append(classes, fmt.Sprintf("%c %d", letters[class], d.classes[class].Size))
		}
	}
	if classes != nil {
		d.text(strings.Join(classes, "  ") + "  (block size; a capital: none free)\n")
	}
	if !d.color {
		return
	}
	d.text("blocks in use:")
	for i, share := range []string{"< 25%", "< 50%", "< 75%", "< 100%", "all"} {
		d.text("  ")
		d.paint(shades[i])
		d.text(share)
		d.paint(plain)
	}
	d.text("\n")
}
