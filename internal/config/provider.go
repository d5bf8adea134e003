package config

import (
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
	"keybridge/keypool/verdict"
)

var (
	providerName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	keyID        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	headerWord   = regexp.MustCompile(`^[!-~]{0,256}$`)

	// reserved are first segments of paths that are not a provider's.
	reserved = map[string]bool{"v1": true, "api": true, "healthz": true, "readyz": true, "metrics": true} //nolint:gochecknoglobals // a constant table

	defaultBase = map[verdict.Family]string{ //nolint:gochecknoglobals // a constant table
		verdict.OpenAI:    "https://api.openai.com/v1",
		verdict.Anthropic: "https://api.anthropic.com",
	}
)

func newProvider() Provider {
	return Provider{Enabled: true, Strategy: Priority, Probe: ProbeAuto}
}

func (d *decoder) provider(providers *[]Provider) reader {
	return func(n ast.Node, at string) {
		p := newProvider()
		var base string
		d.section(map[string]reader{
			"name":     d.text(&p.Name),
			"kind":     choice(d, &p.Kind, verdict.OpenAI, verdict.Anthropic, verdict.Compatible),
			"enabled":  d.flag(&p.Enabled),
			"base_url": d.text(&base),
			"strategy": choice(d, &p.Strategy, Priority, RoundRobin, LeastBusy),
			"probe":    choice(d, &p.Probe, ProbeAuto, ProbeOff),
			"max_wait": d.duration(&p.MaxWait),
			"keys":     d.list(d.key(&p.Keys)),
		})(n, at)
		if _, ok := n.(ast.MapNode); ok {
			d.required(at+".name", "name: a short one like openai; it is the first part of the provider's paths")
			d.required(at+".kind", "kind: openai, anthropic or openai-compatible")
			p.BaseURL = d.base(at, base, p.Kind)
			d.keyNames(at, p.Keys)
		}
		*providers = append(*providers, p)
	}
}

func (d *decoder) required(at, what string) {
	if !d.written(at) {
		d.report(parent(at), "is missing %s", what)
	}
}

func parent(at string) string { return at[:strings.LastIndexByte(at, '.')] }

func (d *decoder) base(at, s string, kind verdict.Family) *url.URL {
	if !d.written(at + ".base_url") {
		if kind == verdict.Compatible {
			d.report(at, "is missing base_url, which a provider of kind openai-compatible has no default for: add it, like https://host/v1")
		}
		s = defaultBase[kind]
	}
	if s == "" && (!d.written(at+".base_url") || d.reported(at+".base_url")) {
		return nil // the reason is reported already
	}
	u, problem := baseURL(s, kind)
	if problem != "" {
		d.report(at+".base_url", "%s", problem)
	}
	return u
}

func (d *decoder) checkProviders(providers []Provider) {
	seen := map[string]string{}
	for i, p := range providers {
		at := place("providers", i) + ".name"
		switch first, ok := seen[p.Name]; {
		case !d.written(at) || p.Name == "" && d.reported(at):
		case !providerName.MatchString(p.Name):
			d.report(at, "%q is no provider name: write lower-case letters and digits, joined by single hyphens, like openai-eu", p.Name)
		case reserved[p.Name]:
			d.report(at, "%q begins paths of the gateway itself: choose another name", p.Name)
		case ok:
			d.report(at, "%q is the name of %s too (line %d): rename one of the two", p.Name, first, d.line(first))
		default:
			seen[p.Name] = place("providers", i)
		}
	}
}

func (d *decoder) reported(at string) bool {
	for _, p := range d.problems {
		if p.At == at {
			return true
		}
	}
	return false
}

// key reads an entry of keys: a reference, or a block of settings.
func (d *decoder) key(keys *[]Key) reader {
	return func(n ast.Node, at string) {
		var k Key
		if _, ok := n.(ast.MapNode); !ok || misspaced(n) {
			k.Secret, k.Source = d.secret(n, at)
			*keys = append(*keys, k)
			return
		}
		d.section(map[string]reader{
			"id":           d.text(&k.ID),
			"secret":       func(n ast.Node, at string) { k.Secret, k.Source = d.secret(n, at) },
			"organization": d.text(&k.Organization),
			"project":      d.text(&k.Project),
			"models":       d.list(d.model(&k.Models)),
		})(n, at)
		d.required(at+".secret", "secret: env:NAME, file:PATH or literal:VALUE")
		for _, scope := range [][2]string{{"organization", k.Organization}, {"project", k.Project}} {
			if !headerWord.MatchString(scope[1]) {
				d.report(at+"."+scope[0], "is no identifier: write it as the provider shows it, without spaces")
			}
		}
		if d.written(at+".id") && !d.reported(at+".id") {
			d.checkID(at+".id", k)
		}
		*keys = append(*keys, k)
	}
}

// misspaced tells "env: NAME", which YAML reads as a setting, from a block.
func misspaced(n ast.Node) bool {
	m, ok := n.(ast.MapNode)
	if !ok {
		return false
	}
	it := m.MapRange()
	if !it.Next() {
		return false
	}
	switch it.Key().GetToken().Value {
	case "env", "file", "literal":
		return true
	}
	return false
}

func (d *decoder) checkID(at string, k Key) {
	switch {
	case !keyID.MatchString(k.ID):
		d.report(at, "is no id: write up to 64 letters, digits, dots, hyphens and underscores, a letter or digit first")
	case !k.Secret.IsZero() && strings.Contains(k.ID, k.Secret.Reveal()):
		d.report(at, "holds the secret, and ids stand in logs and metrics: choose a name")
	}
}

func (d *decoder) model(models *[]string) reader {
	return func(n ast.Node, at string) {
		s, ok := d.str(n, at)
		if !ok {
			return
		}
		if _, err := path.Match(s, ""); err != nil || s == "" {
			d.report(at, "%q is no pattern: * stands for any letters except /, ? for one, [a-z] for one of a set (close the bracket)", s)
			return
		}
		*models = append(*models, s)
	}
}

// keyNames refuses what may be there only once and names the keys without an id.
func (d *decoder) keyNames(at string, keys []Key) {
	secrets, ids, taken := map[string]string{}, map[string]string{}, map[string]bool{}
	for i, k := range keys {
		entry := place(at+".keys", i)
		if !k.Secret.IsZero() {
			d.once(secrets, k.Secret, entry)
		}
		if k.ID == "" {
			continue
		}
		if first, ok := ids[k.ID]; ok {
			d.report(entry+".id", "%q is the id of %s too (line %d): rename one of the two", k.ID, first, d.line(first))
		}
		ids[k.ID], taken[k.ID] = entry, true
	}
	for i := range keys {
		if k := &keys[i]; k.ID == "" && k.Source != "" {
			k.ID = distinct(secret.ID(k.Source), taken)
		}
	}
}
