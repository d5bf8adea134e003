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
}

type column struct {
	name   string
	number bool
}

func (t *table) text(names ...string) {
	for _, name := range names {
		t.columns = append(t.columns, column{name: name})
	}
}

func (t *table) numbers(names ...string) {
	for _, name := range names {
		t.columns = append(t.columns, column{name, true})
	}
}

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
