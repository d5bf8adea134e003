package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
	"keybridge/keypool/verdict"
)

const (
	nameForm = `^[a-z0-9]+(-[a-z0-9]+)*$`
	idForm   = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`
	wordForm = `^[!-~]{0,256}$`

	maxWeight = 1000
)

var (
	providerName = regexp.MustCompile(nameForm)
	keyID        = regexp.MustCompile(idForm)
	headerWord   = regexp.MustCompile(wordForm)

	// reserved are first segments of paths that are not a provider's.
	reserved = map[string]bool{"v1": true, "api": true, "healthz": true, "readyz": true, "metrics": true} //nolint:gochecknoglobals // a constant table

	defaultBase = map[verdict.Family]string{ //nolint:gochecknoglobals // a constant table
		verdict.OpenAI:    "https://api.openai.com/v1",
		verdict.Anthropic: "https://api.anthropic.com",
	}
)

func newProvider() Provider {
	return Provider{Enabled: true, Strategy: Priority, Affinity: AffinityAuto, Probe: ProbeAuto}
}

func (d *decoder) provider(providers *[]Provider) setting {
	like, base := newProvider(), ""
	return setting{schema: d.providerSettings(&like, &base).schema, read: func(n ast.Node, at string) {
		p, base := newProvider(), ""
		d.providerSettings(&p, &base).read(n, at)
		if _, ok := n.(ast.MapNode); ok {
			p.BaseURL = d.base(at, base, p.Kind)
			d.keyNames(at, p.Keys)
			if p.Meter && p.Kind == verdict.Anthropic {
				d.report(at+".meter", "is for providers that speak OpenAI's API: Anthropic's reports the usage of every stream; remove it")
			}
		}
		*providers = append(*providers, p)
	}}
}

func (d *decoder) providerSettings(p *Provider, base *string) setting {
	all := d.section(
		field{
			"name", "The provider's name in paths (/NAME/v1/…), metrics and logs. Unique.",
			d.text(&p.Name).matching(nameForm).but(slices.Sorted(maps.Keys(reserved))).needed("name: a short one like openai; it is the first part of the provider's paths"),
		},
		field{
			"kind", "Which API it speaks and how its errors are to be understood.",
			choice(d, &p.Kind, verdict.OpenAI, verdict.Anthropic, verdict.Compatible).needed("kind: openai, anthropic or openai-compatible"),
		},
		field{"enabled", "false: every request to it is refused with 503. Its settings are checked all the same.", d.flag(&p.Enabled)},
		field{
			"base_url", "Where the provider is: https or http, no user, query or fragment. OpenAI's ends in /v1, Anthropic's does not. Default: " +
				defaultBase[verdict.OpenAI] + " for kind openai, " + defaultBase[verdict.Anthropic] + " for anthropic; openai-compatible has none.",
			d.text(base).matching(urlForm),
		},
		field{
			"strategy", "Which usable key is asked: the first in the list (priority), each in turn (round_robin), the one with the fewest calls in flight (least_busy), " +
				"each as often as its weight says (weighted), the one with the most of its rate limits left (headroom).",
			choice(d, &p.Strategy, Priority, RoundRobin, LeastBusy, Weighted, Headroom),
		},
		field{
			"affinity", "auto: a conversation stays with its key where another one's prompt cache is another, so that it is not paid for twice. off: every request goes by the strategy.",
			choice(d, &p.Affinity, AffinityAuto, AffinityOff),
		},
		field{
			"probe", "auto: rejected keys are tried in the background and come back by themselves. off: only real requests try them again.",
			choice(d, &p.Probe, ProbeAuto, ProbeOff),
		},
		field{"max_wait", "How long a request waits for a key to come back when none can be used now. 0s: not at all.", d.duration(&p.MaxWait)},
		field{
			"meter", "true: the usage of chat streams whose client does not ask for it is asked for, and kept from the client. For providers that speak OpenAI's API.",
			d.flag(&p.Meter),
		},
		field{"keys", "The keys. None: the provider serves only callers who bring their own key.", d.list(d.key(&p.Keys), true)},
	)
	all.schema.AllOf = []*schema{
		{If: &schema{Properties: only("kind", schema{Const: string(verdict.Compatible)})}, Then: &schema{Required: []string{"base_url"}}},
		{If: &schema{Properties: only("kind", schema{Const: string(verdict.Anthropic)})}, Then: &schema{Properties: only("base_url", schema{Not: &schema{Pattern: v1Form}})}},
		{Properties: only("base_url", schema{Not: &schema{Pattern: dotsForm}})},
		{If: &schema{Properties: only("kind", schema{Const: string(verdict.Anthropic)})}, Then: &schema{Properties: only("meter", schema{Const: false})}},
	}
	return all
}

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

// key is an entry of keys: a reference, or a block of settings.
func (d *decoder) key(keys *[]Key) setting {
	forms := []*schema{reference(), d.keySettings(&Key{Weight: 1}).schema}
	return setting{schema: &schema{AnyOf: forms}, read: func(n ast.Node, at string) {
		k := Key{Weight: 1}
		if _, ok := n.(ast.MapNode); !ok || misspaced(n) {
			k.Secret, k.Source = d.secret(n, at)
			*keys = append(*keys, k)
			return
		}
		d.keySettings(&k).read(n, at)
		for _, scope := range [][2]string{{"organization", k.Organization}, {"project", k.Project}} {
			if !headerWord.MatchString(scope[1]) {
				d.report(at+"."+scope[0], "is no identifier: write it as the provider shows it, without spaces")
			}
		}
		if d.written(at+".id") && !d.reported(at+".id") {
			d.checkID(at+".id", k)
		}
		*keys = append(*keys, k)
	}}
}

func (d *decoder) keySettings(k *Key) setting {
	credential := setting{schema: reference(), read: func(n ast.Node, at string) { k.Secret, k.Source = d.secret(n, at) }}
	return d.section(
		field{"secret", "The key.", credential.needed("secret: env:NAME, file:PATH or literal:VALUE")},
		field{"id", "The key's name in metrics and logs, unique in its provider. Default: the variable's or file's name.", d.text(&k.ID).matching(idForm)},
		field{
			"organization", "The organization the key belongs to. Keys of one organization share its limits: when it is out of credit, all of them are passed over at once.",
			d.text(&k.Organization).matching(wordForm),
		},
		field{"project", "The project, at Anthropic the workspace, the key belongs to; as organization.", d.text(&k.Project).matching(wordForm)},
		field{
			"models", "The models the key may be used for; by default every model. * stands for any characters except /, ? for one, [a-c] for one of a set.",
			d.list(d.model(&k.Models), false),
		},
		field{"weight", "How many requests it takes in a round, under strategy weighted: 1 to 1000.", d.number(&k.Weight, maxWeight)},
	)
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

func (d *decoder) model(models *[]string) setting {
	one := ""
	s := d.modelPattern(&one)
	read := s.read
	s.read = func(n ast.Node, at string) {
		one = ""
		if read(n, at); one != "" {
			*models = append(*models, one)
		}
	}
	return s
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
