package config

import (
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File string
	Line int    // from 1; 0 if the file could not be read at all, or it is none
	At   string // where in the structure, like providers[0].keys[2]; empty: the file as a whole
	Text string // what is wrong, and what to do; never a secret
}

// String is the problem on one line: file:line: place: text.
func (p Problem) String() string {
	s := p.File + ":"
	if p.Line > 0 {
		s += strconv.Itoa(p.Line) + ":"
	}
	if p.At != "" {
		s += " " + p.At + ":"
	}
	return s + " " + p.Text
}

// Problems is everything that is wrong with a configuration file, in the order of
// its lines. It is the error of Load and Parse.
type Problems []Problem //nolint:errname // the plural says what it is: not one error but all of them

// Error is one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
	return ps
}
