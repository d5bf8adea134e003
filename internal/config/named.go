package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

const (
	headerForm   = "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"
	variableForm = `^[A-Za-z_][A-Za-z0-9_]{0,127}$`
	// schemeForm is what may stand before the reference of a header, like Bearer.
	schemeForm = `[A-Za-z]{1,16}`
)

var (
	schemed = regexp.MustCompile(`^` + schemeForm + ` `)
	// named is in the names of credentials, passworded a URL that holds one.
	named      = regexp.MustCompile(`(?i)auth|key|token|secret|passw|pwd|credential|cookie|signature`)
	passworded = regexp.MustCompile(`://[^/?#@]*:[^/?#@]+@`)

	// protocols are the headers that the protocol or the connection sets; so are
	// all that begin with Mcp-.
	protocols = []string{ //nolint:gochecknoglobals // a constant table
		"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host", "last-event-id",
		"te", "trailer", "transfer-encoding", "upgrade",
	}

	headerKind   = kind{headerForm, "header: write letters, digits and hyphens", regexp.MustCompile(headerForm), true}            //nolint:gochecknoglobals // a constant
	variableKind = kind{variableForm, "variable: write letters, digits and underscores", regexp.MustCompile(variableForm), false} //nolint:gochecknoglobals // a constant
)

// kind is what the names of a block mean.
type kind struct {
	form, what string
	names      *regexp.Regexp
	header     bool // case does not matter, and one word may stand before the reference
}

// named is a block of names, each with a reference.
func (d *decoder) named(list *[]Named, k kind) setting {
	value := reference()
	if k.header {
		value.Pattern = withLineEnd(`^(` + schemeForm + ` +)?` + strings.TrimPrefix(secret.Form, "^"))
		value.Not = &schema{Pattern: withLineEnd(`^(` + schemeForm + ` +)?` + regexp.QuoteMeta(secret.Masked) + `$`)}
		value.Examples = []string{"env:NAME", "Bearer env:NAME", "file:PATH"}
	}
	about := &schema{Type: "object", PropertyNames: &schema{Pattern: k.form}, AdditionalProperties: value}
	return setting{schema: about, read: func(n ast.Node, at string) {
		m, ok := n.(ast.MapNode)
		if !ok {
			d.report(at, "%s found where names with values belong: write each on a line of its own, as NAME: env:VARIABLE", found(n))
			return
		}
		taken := map[string]int{}
		for it := m.MapRange(); it.Next(); {
			name, line := it.Key().GetToken().Value, it.Key().GetToken().Position.Line
			if d.nameOf(k, name, at, line, taken) {
				entry := at + "." + echo(name)
				d.lines[entry] = line
				*list = append(*list, d.value(k, name, it.Value(), entry))
			}
		}
	}}
}

// echo is a name as a problem may show it: not if it could be a secret in the wrong place.
func echo(name string) string {
	if len(name) >= 20 && strings.ContainsAny(name, "0123456789") {
		return "***"
	}
	return name
}

// nameOf checks a name of a block.
func (d *decoder) nameOf(k kind, name, at string, line int, taken map[string]int) bool {
	same := name
	if k.header {
		same = strings.ToLower(name)
	}
	text := ""
	switch first, twice := taken[same]; {
	case !k.names.MatchString(name):
		text = "holds a name that is none of a " + k.what
	case k.header && (slices.Contains(protocols, same) || strings.HasPrefix(same, "mcp-")):
		text = strconv.Quote(name) + " is set by the protocol itself: remove it"
	case twice:
		text = strconv.Quote(echo(name)) + " is written a second time (first in line " + strconv.Itoa(first) + "): remove one"
	}
	taken[same] = line
	if text != "" {
		d.problems = append(d.problems, Problem{d.file, line, at, text})
	}
	return text == ""
}

// value reads the reference that a name stands for.
func (d *decoder) value(k kind, name string, n ast.Node, at string) Named {
	if _, ok := n.(*ast.NullNode); ok {
		d.report(at, "has no value: write a reference like env:NAME, or remove the line")
		return Named{Name: name}
	}
	scheme := ""
	if s, ok := n.(*ast.StringNode); ok && k.header {
		if scheme = schemed.FindString(s.Value); scheme != "" {
			rest := *s
			rest.Value = strings.TrimLeft(s.Value[len(scheme):], " ")
			n = &rest
		}
	}
	v, source := d.secret(n, at)
	if v.IsZero() {
		return Named{Name: name}
	}
	credential := named.MatchString(name) || passworded.MatchString(v.Reveal()) ||
		k.header && (scheme != "" || !strings.HasPrefix(source, secret.Masked))
	return Named{name, secret.New(scheme + v.Reveal()), scheme + source, credential}
}
