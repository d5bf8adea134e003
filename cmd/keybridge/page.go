package main

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// listed is how much of a list is shown, and from where on.
type listed struct {
	Limit  int     `default:"20" help:"How many are listed, at most 1000."`
	Cursor *string `placeholder:"WORD" help:"Go on where the list before ended: it prints the command."`
}

func (l *listed) page(q url.Values) {
	q.Set("limit", strconv.Itoa(l.Limit))
	if l.Cursor != nil {
		q.Set("cursor", *l.Cursor)
	}
}

// goingOn returns what to write below a list: if there are more, the command that shows
// them. What is asked for is called as the flags are.
func (p program) goingOn(command string, g *gatewayFlags, q url.Values) func(next string) string {
	return func(next string) string {
		if next == "" {
			return ""
		}
		on := maps.Clone(q)
		on.Set("cursor", next)
		for name, value := range map[string]string{"config": g.Config, "admin": g.Admin, "token": g.Token} {
			if value != "" {
				on.Set(name, value)
			}
		}
		return "\nthere are more:\n  " + p.called + " " + command + flags(on) + "\n"
	}
}

// flags are what is asked for as flags, each with a space before it.
func flags(q url.Values) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(q)) {
		b.WriteString(" --" + name + "=" + quoted(q.Get(name)))
	}
	return b.String()
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@,+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
