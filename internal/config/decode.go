package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// decoder walks the document and collects problems. It goes on after each, so
// that the operator sees them all.
type decoder struct {
	file     string
	env      Env
	lines    map[string]int // place → line, of everything that is written in the file
	problems Problems
}

func (d *decoder) report(at, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.file, Line: d.line(at), At: at, Text: fmt.Sprintf(format, args...)})
}

// line is where a place is written, or else what surrounds it.
func (d *decoder) line(at string) int {
	for at != "" {
		if line, ok := d.lines[at]; ok {
			return line
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return 1
}

func (d *decoder) written(at string) bool {
	_, ok := d.lines[at]
	return ok
}

// section is a mapping with these names and no others.
func (d *decoder) section(fields ...field) setting {
	known := make(map[string]field, len(fields))
	about := &schema{Type: "object", AdditionalProperties: false}
	for _, f := range fields {
		known[f.name] = f
		f.schema.Description = f.about
		about.Properties = append(about.Properties, f)
		if f.missing != "" {
			about.Required = append(about.Required, f.name)
		}
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		m, ok := n.(ast.MapNode)
		if !ok {
			d.report(at, "%s found where settings (name: value) belong: write each on a line of its own, as name: value", found(n))
			return
		}
		for it := m.MapRange(); it.Next(); {
			d.member(it.Key(), it.Value(), at, known)
		}
		for _, f := range fields {
			if f.missing != "" && !d.written(join(at, f.name)) {
				d.report(at, "is missing %s", f.missing)
			}
		}
	}}
}

// member reads one name and its value.
func (d *decoder) member(key, value ast.Node, at string, known map[string]field) {
	name, line := key.GetToken().Value, key.GetToken().Position.Line
	place := join(at, name)
	f, ok := known[name]
	if !ok {
		d.unknown(at, name, line, known)
		return
	}
	if first, ok := d.lines[place]; ok {
		d.problems = append(d.problems, Problem{d.file, line, place, fmt.Sprintf("written a second time (first in line %d): remove one", first)})
		return
	}
	d.lines[place] = line
	if _, ok := value.(*ast.NullNode); ok {
		d.report(place, "has no value: write one, or remove the line (an empty list is [])")
		return
	}
	f.read(value, place)
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// unknown reports a name that is no setting. The name is echoed only if it cannot
// be a key that slipped to the wrong place.
func (d *decoder) unknown(at, name string, line int, known map[string]field) {
	names := slices.Sorted(maps.Keys(known))
	text := "unknown name"
	near := nearest(name, names)
	if near != "" || len(name) <= 40 && !strings.ContainsFunc(name, notInWord) {
		text += " " + strconv.Quote(name)
	}
	if near != "" {
		text += fmt.Sprintf(": did you mean %q?", near)
	} else {
		text += ": remove it; known here are " + strings.Join(names, ", ")
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: line, At: at, Text: text})
}

func notInWord(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// list is a sequence of such entries. If unique, no two
// that are alike can be right, because each holds what may be there only once.
func (d *decoder) list(entry setting, unique bool) setting {
	return setting{schema: &schema{Type: "array", Items: entry.schema, UniqueItems: unique}, read: func(n ast.Node, at string) {
		s, ok := n.(*ast.SequenceNode)
		if !ok {
			d.report(at, "%s found where a list belongs: write one entry a line, each after a hyphen and a space", found(n))
			return
		}
		for i, v := range s.Values {
			place := fmt.Sprintf("%s[%d]", at, i)
			d.lines[place] = v.GetToken().Position.Line
			if _, ok := v.(*ast.NullNode); ok {
				d.report(place, "is empty: write an entry, or remove the line")
				continue
			}
			entry.read(v, place)
		}
	}}
}

// found says what a node is in the operator's words; never its content.
func found(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a block of settings"
	}
	return "a number"
}

func (d *decoder) str(n ast.Node, at string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.SequenceNode, ast.MapNode:
		d.report(at, "%s found where text belongs: write one value", found(n))
	default:
		d.report(at, "%s found where text belongs: put it in quotes", found(n))
	}
	return "", false
}

func (d *decoder) text(p *string) setting {
	about := &schema{Type: "string"}
	if *p != "" {
		about.Default = *p
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		if s, ok := d.str(n, at); ok {
			*p = s
		}
	}}
}

func (d *decoder) flag(p *bool) setting {
	return setting{schema: &schema{Type: "boolean", Default: *p}, read: func(n ast.Node, at string) {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.report(at, "%s found where true or false belongs: write true or false, without quotes", found(n))
			return
		}
		*p = b.Value
	}}
}

// choice is one of these words.
func choice[T ~string](d *decoder, p *T, words ...T) setting {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	about := &schema{Enum: all}
	if *p != "" {
		about.Default = string(*p)
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		s, ok := n.(*ast.StringNode)
		if ok && slices.Contains(all, s.Value) {
			*p = T(s.Value)
			return
		}
		text := "must be one of " + strings.Join(all, ", ")
		if ok {
			if near := nearest(s.Value, all); near != "" {
				text = fmt.Sprintf("%q is not known: did you mean %q?", s.Value, near)
			}
		}
		d.report(at, "%s", text)
	}}
}

// durationForm is the only one: a negative duration is none.
const durationForm = `^ *(0|\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d))+) *$`

var durations = regexp.MustCompile(durationForm)

func (d *decoder) duration(p *time.Duration) setting {
	zero := int64(0)
	about := &schema{
		Title: "Duration", Type: []string{"string", "integer"}, Pattern: durationForm, Minimum: &zero, Maximum: &zero,
		Default: durationText(*p), Examples: []string{"500ms", "10s", "5m", "1h30m", "90d"},
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		text := strings.TrimSpace(scalar(n))
		v, err := parseDuration(text)
		switch {
		case err == nil && strings.HasPrefix(text, "-"):
			d.report(at, "is negative: write 0s or more")
		case err != nil || !durations.MatchString(text):
			d.report(at, "is not a duration: write a number with its unit, like 500ms, 10s, 5m, 1h30m or 90d")
		default:
			*p = v
		}
	}}
}

// size is a number of bytes, at least least.
func (d *decoder) size(p *int64, least int64) setting {
	about := &schema{
		Title: "Size", Type: []string{"string", "integer"}, Pattern: sizeForm(least), Minimum: &least,
		Default: sizeText(*p), Examples: []string{"512KiB", "32MiB", "1GB"},
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		v, ok := parseSize(scalar(n))
		switch {
		case !ok:
			d.report(at, "is not a size: write a whole number of bytes or with a unit, like 512KiB, 32MiB or 1GB")
		case v < least:
			d.report(at, "is too small: write %d or more", least)
		default:
			*p = v
		}
	}}
}

// number is a whole number from 1 to most.
func (d *decoder) number(p *int, most int64) setting {
	least := int64(1)
	about := &schema{Type: "integer", Minimum: &least, Maximum: &most, Default: *p}
	return setting{schema: about, read: func(n ast.Node, at string) {
		v, err := strconv.ParseInt(scalar(n), 10, 32)
		if _, whole := n.(*ast.IntegerNode); !whole || err != nil || v < least || v > most {
			d.report(at, "is not a whole number from %d to %d: write one, without quotes", least, most)
			return
		}
		*p = int(v)
	}}
}

// scalar is the text of a single value as it is written; "" for anything else.
func scalar(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value
	}
	return ""
}
