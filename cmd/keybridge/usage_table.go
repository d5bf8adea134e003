package main

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// table lines up cells: texts on the left, numbers on the right.
type table struct {
	columns []column
	rows    [][]string
	most    int // how wide it should be; 0: as it likes
}

type column struct {
	name   string
	number bool
	loose  bool // is cut if the table is too wide
}

func (t *table) text(names ...string) {
	for _, name := range names {
		t.columns = append(t.columns, column{name: name})
	}
}

func (t *table) numbers(names ...string) {
	for _, name := range names {
		t.columns = append(t.columns, column{name: name, number: true})
	}
}

// cut adds a text that nobody needs whole.
func (t *table) cut(name string) { t.columns = append(t.columns, column{name: name, loose: true}) }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *bytes.Buffer) {
	head := make([]string, len(t.columns))
	for i, c := range t.columns {
		head[i] = c.name
	}
	rows := t.rows
	if strings.Join(head, "") != "" {
		rows = append([][]string{head}, rows...)
	}
	widths := make([]int, len(t.columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	t.narrow(rows, widths)
	var line strings.Builder
	for _, row := range rows {
		line.Reset()
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.columns[i].number {
				line.WriteString(space + cell)
			} else {
				line.WriteString(cell + space)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// narrow cuts what may be cut until the table fits.
func (t *table) narrow(rows [][]string, widths []int) {
	const gap, least = 2, 12
	over := -gap - t.most
	for _, w := range widths {
		over += w + gap
	}
	if t.most == 0 || over <= 0 {
		return
	}
	for i := range t.columns {
		if !t.columns[i].loose || widths[i] <= least {
			continue
		}
		widths[i] = max(least, widths[i]-over)
		for _, row := range rows {
			row[i] = clipTo(row[i], widths[i])
		}
	}
}

// printable is a text that strangers may have written, in one line and without what a
// terminal takes for a command.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}
