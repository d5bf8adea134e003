package config

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

// Token is one static gateway token.
type Token struct {
	Name     string // unique, never empty; it is no secret
	Secret   secret.Value
	Source   string            // the reference it came from, a literal masked
	Metadata map[string]string // what the operator says about its bearer; nil: nothing
}

const (
	tokenForm    = `^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$` //nolint:gosec // of names
	metadataForm = `^[A-Za-z][A-Za-z0-9._-]{0,63}$`

	mostMetadata     = 16
	mostMetadataText = 256 // characters
)

var (
	tokenName    = regexp.MustCompile(tokenForm)
	metadataName = regexp.MustCompile(metadataForm)
)

// token is an entry of tokens: a reference, or a block of settings.
func (d *decoder) token(tokens *[]Token) setting {
	forms := []*schema{reference(), d.tokenSettings(&Token{}).schema}
	return setting{schema: &schema{AnyOf: forms}, read: func(n ast.Node, at string) {
		t := Token{}
		if _, ok := n.(ast.MapNode); ok && !misspaced(n) {
			d.tokenSettings(&t).read(n, at)
		} else {
			t.Secret, t.Source = d.secret(n, at)
		}
		*tokens = append(*tokens, t)
	}}
}

func (d *decoder) tokenSettings(t *Token) setting {
	credential := setting{schema: reference(), read: func(n ast.Node, at string) { t.Secret, t.Source = d.secret(n, at) }}
	return d.section(
		field{"secret", "The token.", credential.needed("secret: env:NAME, file:PATH or literal:VALUE")},
		field{"name", "What its bearer is called in the record, the log and under tokens of mcp.servers. Unique. Default: the variable's or file's name.", d.text(&t.Name).matching(tokenForm)},
		field{"metadata", "What else is to be recorded of its bearer: names with texts, like team: search.", d.metadata(&t.Metadata)},
	)
}

// metadata is a block of names with texts.
func (d *decoder) metadata(to *map[string]string) setting {
	about := &schema{
		Type: "object", PropertyNames: &schema{Pattern: metadataForm}, MaxProperties: mostMetadata,
		AdditionalProperties: &schema{Type: "string", MinLength: 1, MaxLength: mostMetadataText},
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		m, ok := n.(ast.MapNode)
		if !ok {
			d.report(at, "%s found where names with texts belong: write each on a line of its own, as name: text", found(n))
			return
		}
		out := map[string]string{}
		for it := m.MapRange(); it.Next(); {
			name, line := it.Key().GetToken().Value, it.Key().GetToken().Position.Line
			entry := at + "." + echo(name)
			switch first, twice := d.lines[entry]; {
			case !metadataName.MatchString(name):
				d.problems = append(d.problems, Problem{d.file, line, at, "holds a name that is none: write up to 64 letters, digits, dots, hyphens and underscores, a letter first"})
				continue
			case twice:
				d.problems = append(d.problems, Problem{d.file, line, entry, "written a second time (first in line " + strconv.Itoa(first) + "): remove one"})
				continue
			}
			d.lines[entry] = line
			if text, ok := d.metadataText(it.Value(), entry); ok {
				out[name] = text
			}
		}
		if len(out) > mostMetadata {
			d.report(at, "holds more than %d names: remove some", mostMetadata)
		}
		if len(out) > 0 {
			*to = out
		}
	}}
}

func (d *decoder) metadataText(n ast.Node, at string) (string, bool) {
	if _, ok := n.(*ast.NullNode); ok {
		d.report(at, "has no value: write a text, or remove the line")
		return "", false
	}
	s, ok := d.str(n, at)
	if ok && (s == "" || utf8.RuneCountInString(s) > mostMetadataText) {
		d.report(at, "is empty or longer than %d characters: write a shorter text, or remove the line", mostMetadataText)
		return "", false
	}
	return s, ok
}

// uniqueTokens refuses what may be there only once, and names the tokens that have no name.
func (d *decoder) uniqueTokens(c *Config) {
	secrets, names, taken := map[string]string{}, map[string]string{}, map[string]bool{}
	for i, t := range c.Tokens {
		entry := place("tokens", i)
		if !t.Secret.IsZero() {
			d.once(secrets, t.Secret, entry)
		}
		if !d.written(entry+".name") || d.reported(entry+".name") {
			continue
		}
		first, twice := names[t.Name]
		switch at := entry + ".name"; {
		case !tokenName.MatchString(t.Name):
			d.report(at, "is no name: write up to 64 letters, digits and . _ @ + -, a letter or digit first")
		case !t.Secret.IsZero() && strings.Contains(t.Name, t.Secret.Reveal()):
			d.report(at, "holds the secret, and names stand in logs: choose another")
		case twice:
			d.report(at, "%q is the name of %s too (line %d): rename one of the two", t.Name, first, d.line(first))
		default:
			names[t.Name], taken[t.Name] = entry, true
		}
	}
	for i := range c.Tokens {
		if t := &c.Tokens[i]; t.Name == "" && t.Source != "" {
			t.Name = distinct(secret.ID(t.Source), taken)
		}
	}
	if at, ok := secrets[c.AdminToken.Reveal()]; ok && !c.AdminToken.IsZero() {
		d.report("admin_token", "has the same secret as %s (line %d), so that every client could steer the pools: choose another", at, d.line(at))
	}
}
