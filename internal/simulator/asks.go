package simulator

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// asks are what a prompt wants of the model, besides an answer.
type asks struct {
	turns  int        // in how many turns tools are called before the text
	names  [][]string // of the tools, turn by turn, the last for all that follow; nil: the first tool offered
	all    bool       // every tool offered
	thinks bool
	speaks bool // before it calls
	spoils bool // the arguments are no JSON
	cuts   bool // the last of the calls is cut at the output limit
}

const mostTurns = 100

var asked = regexp.MustCompile(`simulate:([a-z]+(?:-[a-z]+)*)(?:=([A-Za-z0-9_.,/*-]+))?`)

func asksOf(text string) (k asks) {
	calls, turns := false, 0
	for _, m := range asked.FindAllStringSubmatch(text, -1) {
		value := strings.TrimRight(m[2], ".,/")
		switch m[1] {
		case "tool":
			calls = true
			if value == "" {
				break
			}
			k.names = nil
			for turn := range strings.SplitSeq(value, "/") {
				k.names = append(k.names, strings.Split(turn, ","))
			}
		case "tools":
			calls, k.all = true, true
		case "tool-turns":
			calls = true
			turns, _ = strconv.Atoi(value)
		case "bad-arguments":
			calls, k.spoils = true, true
		case "cut-in-call":
			calls, k.cuts = true, true
		case "say-first":
			k.speaks = true
		case "thinking":
			k.thinks = true
		}
	}
	if calls {
		k.turns = min(max(1, turns, len(k.names)), mostTurns)
	}
	return k
}

// chosen are the tools that are called now.
func (k asks) chosen(p prompt) (out []tool) {
	if p.turns >= k.turns || len(p.tools) == 0 {
		return nil
	}
	switch {
	case k.names != nil:
		for _, pattern := range k.names[min(p.turns, len(k.names)-1)] {
			out = append(out, named(p.tools, pattern)...)
		}
	case k.all:
		out = p.tools
	default:
		out = p.tools[:1]
	}
	if p.single && len(out) > 1 {
		out = out[:1]
	}
	return out
}

// named are the tools with the name; a * in it stands for anything.
func named(tools []tool, pattern string) (out []tool) {
	for _, t := range tools {
		if ok, _ := path.Match(pattern, t.name); ok {
			out = append(out, t)
		}
	}
	return out
}
