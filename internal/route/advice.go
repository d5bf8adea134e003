package route

import (
	"net/http"
	"strings"

	"keybridge/internal/fault"
	"keybridge/keypool/verdict"
)

// The texts of this file are for the person who has just set up a client: each
// says what to change.

func disabled(provider string) *fault.Error {
	return fault.New(fault.Disabled, "The provider %s is switched off in the gateway's configuration (enabled: false).", provider)
}

// unconfigured explains a short form whose API no provider speaks.
func (t *Table) unconfigured(e *endpoint) *fault.Error {
	if len(t.providers) == 0 {
		return fault.New(fault.NotFound, "No provider is configured.")
	}
	return fault.New(fault.NotFound, "No provider of the API that has %s is configured. Configured: %s.", e.pattern, t.names)
}

// unknown explains a path below an enabled provider.
func (t *Table) unknown(r *http.Request, i int, rest string) *fault.Error {
	name, mine := t.providers[i].Name, t.match(i).Family
	other := verdict.Anthropic
	if mine == other {
		other = verdict.OpenAI
	}
	base := origin(r) + "/" + name
	depth, below := versions(rest)
	switch {
	case administers(below):
		return administration()
	case served(mine, below):
		return misbased(mine, base, depth)
	case served(other, below):
		return fault.New(fault.NotFound, "The provider %s speaks %s, which does not have this path: it serves %s.", name, spoken(mine), catalogueOf(mine).served)
	}
	return fault.New(fault.NotFound, "This path is not served. Below %s there are: %s.", base, catalogueOf(mine).served)
}

// astray explains a path that begins with no provider's name and is none of the
// short forms; likely is the API the request looks like.
func (t *Table) astray(r *http.Request, likely verdict.Family, path string) *fault.Error {
	depth, below := versions(path)
	if administers(below) {
		return administration()
	}
	for _, family := range []verdict.Family{likely, verdict.OpenAI, verdict.Anthropic} {
		if served(family, below) {
			return misbased(family, origin(r), depth)
		}
	}
	if len(t.providers) == 0 {
		return fault.New(fault.NotFound, "No provider is configured.")
	}
	if depth == 1 {
		return fault.New(fault.NotFound, "This path is not served. There are: %s.", catalogueOf(likely).served)
	}
	return fault.New(fault.NotFound, "This path is not served. Use /v1/… or /{provider}/v1/… with one of the configured providers: %s.", t.names)
}

// misbased says which base URL makes the path right: depth is how often the client
// wrote /v1 before a path that is served with one.
func misbased(family verdict.Family, base string, depth int) *fault.Error {
	switch {
	case family == verdict.Anthropic && depth > 1:
		return fault.New(fault.NotFound, "The path has /v1 twice: set ANTHROPIC_BASE_URL to %s, without /v1.", base)
	case family == verdict.Anthropic:
		return fault.New(fault.NotFound, "The path lacks /v1: this client wants it in the base URL, so set that to %s/v1 (official SDKs and Claude Code: %s).", base, base)
	case depth > 1:
		return fault.New(fault.NotFound, "The path has /v1 twice: set OPENAI_BASE_URL to %s/v1, or to %s if the client adds /v1 itself.", base, base)
	}
	return fault.New(fault.NotFound, "The path lacks /v1: set OPENAI_BASE_URL to %s/v1.", base)
}

func administration() *fault.Error {
	return fault.New(fault.NotFound, "The administration of a provider's account is never passed through: use the provider's own address and key for it.")
}

// versions counts the /v1 at the start of a clean path and returns what follows.
func versions(path string) (depth int, below string) {
	for {
		rest, ok := strings.CutPrefix(path, "/v1")
		if !ok || rest != "" && rest[0] != '/' {
			return depth, path
		}
		depth, path = depth+1, rest
	}
}

func administers(below string) bool {
	if below == "" {
		return false
	}
	head, _ := cutSegment(below)
	return head == "organization" || head == "organizations"
}

func served(family verdict.Family, below string) bool {
	return below != "" && catalogueOf(family).find(below) != nil
}

func catalogueOf(family verdict.Family) *catalogue {
	if family == verdict.Anthropic {
		return anthropic
	}
	return openAI
}

func spoken(family verdict.Family) string {
	if family == verdict.Anthropic {
		return "Anthropic's API"
	}
	return "OpenAI's API"
}

// origin is the address the caller itself has used for this gateway.
func origin(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
