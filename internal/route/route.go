// Package route says what a request is for: which provider, which API, and by
// which pattern the metrics know it. A table is immutable; every request is
// matched on its path as it came, and nothing is redirected or cleaned.
package route

import (
	"net/http"
	"strings"

	"keybridge/internal/fault"
	"keybridge/keypool/verdict"
)

// API is what reads the bytes of an exchange.
type API uint8

// The APIs. All but Opaque are bridged.
const (
	Opaque API = iota
	Chat
	Responses
	Messages
)

// Provider is what a table must know of a configured provider.
type Provider struct {
	Name    string
	Kind    verdict.Family
	Enabled bool
}

// Match is what a request is for.
type Match struct {
	// Provider is the provider's name and Index its place in the slice the table
	// was made from. With a fault, they are set only if the provider was found.
	Provider string
	Index    int
	// Family is the API in whose shape errors are answered, verdict.OpenAI or
	// verdict.Anthropic. It is always set, with a fault too.
	Family verdict.Family
	// API is Opaque with a fault.
	API API
	// Route is the pattern, "/v1/files/{id}", of a closed set: fit for a label. With
	// a fault it may be "".
	Route string
	// Path is what is appended, still escaped, to the provider's base URL.
	Path string
	// Inference means that nothing is created: the request may be sent again after
	// a break that leaves open whether the first was served.
	Inference bool
	// Idempotent means GET or HEAD.
	Idempotent bool
	// Upload means that a body beyond the usual limit may be streamed through.
	Upload bool
	// Keeps means that the request is about what the provider keeps, such as a file.
	// ID is the thing's, as it stands in the path; "" if the path names none.
	Keeps bool
	ID    string
	// Quiet marks the 404 of a client's habit (a warm-up, telemetry), not a mistake
	// that anybody should read about in the log.
	Quiet bool
}

// Bridged says whether a dialect reads the exchange.
func (m *Match) Bridged() bool { return m.API != Opaque }

// Table routes requests to providers.
type Table struct {
	providers []Provider
	byName    map[string]int
	// The providers behind the short forms; -1 where none of that API is configured,
	// and the first disabled one where none is enabled.
	openAI, anthropic int
	names             string
}

// New makes the table of the providers, in the order of the configuration.
func New(providers []Provider) *Table {
	t := &Table{
		providers: append([]Provider(nil), providers...),
		byName:    make(map[string]int, len(providers)),
		openAI:    -1,
		anthropic: -1,
	}
	const shown = 8 // a text, not a catalogue
	var names []string
	for i, p := range t.providers {
		t.byName[p.Name] = i
		short := &t.openAI
		if p.Kind == verdict.Anthropic {
			short = &t.anthropic
		}
		if *short < 0 || p.Enabled && !t.providers[*short].Enabled {
			*short = i
		}
		if i < shown {
			names = append(names, p.Name)
		}
	}
	t.names = strings.Join(names, ", ")
	if len(providers) > shown {
		t.names += ", …"
	}
	return t
}

// Match finds what the request is for. The fault of a request that is for nothing
// says what to ask instead; Match.Family tells how to shape it.
func (t *Table) Match(r *http.Request) (Match, *fault.Error) {
	path := r.URL.EscapedPath()
	m := Match{Family: t.guess(r, path)}
	if upgrades(r.Header) {
		return m, fault.New(fault.Upgrade, "WebSocket connections are not served: use plain HTTP with server-sent events.")
	}
	if quiet(r.Method, path) {
		m.Quiet = true
		return m, fault.New(fault.NotFound, "Not found.")
	}
	if f := flaw(path); f != "" {
		return m, fault.New(fault.NotFound, "%s", f)
	}
	head, rest := cutSegment(path)
	if i, ok := t.byName[head]; ok {
		return t.long(r, i, rest)
	}
	if head == "v1" && rest != "" {
		return t.short(r, m, path)
	}
	return m, t.astray(r, m.Family, path)
}

// long matches below /{provider}.
func (t *Table) long(r *http.Request, i int, rest string) (Match, *fault.Error) {
	m := t.match(i)
	var e *endpoint
	if below, ok := strings.CutPrefix(rest, "/v1"); ok && strings.HasPrefix(below, "/") {
		e = catalogueOf(m.Family).find(below)
	}
	switch {
	case !t.providers[i].Enabled:
		if e != nil {
			m.Route = e.pattern
		}
		return m, disabled(m.Provider)
	case e == nil:
		return m, t.unknown(r, i, rest)
	}
	return m.at(e, r.Method, rest)
}

// short matches below /v1, for the first enabled provider of the API that the path,
// or where both APIs have it the anthropic-version header, means.
func (t *Table) short(r *http.Request, m Match, path string) (Match, *fault.Error) {
	below := path[len("/v1"):]
	o, a := openAI.find(below), anthropic.find(below)
	e, i := o, t.openAI
	switch {
	case o == nil && a == nil:
		return m, t.astray(r, m.Family, path)
	case o == nil,
		a != nil && t.anthropic >= 0 && (t.openAI < 0 || r.Header.Get("Anthropic-Version") != ""):
		e, i = a, t.anthropic
	}
	if i < 0 {
		return m, t.unconfigured(e)
	}
	m = t.match(i)
	if !t.providers[i].Enabled {
		m.Route = e.pattern
		return m, disabled(m.Provider)
	}
	return m.at(e, r.Method, path)
}

func (t *Table) match(i int) Match {
	m := Match{Provider: t.providers[i].Name, Index: i, Family: verdict.OpenAI}
	if t.providers[i].Kind == verdict.Anthropic {
		m.Family = verdict.Anthropic
	}
	return m
}

// at completes the match with the endpoint that was found for a path that begins
// with /v1: OpenAI's base URLs end in that, Anthropic's do not have it.
func (m Match) at(e *endpoint, name, path string) (Match, *fault.Error) {
	m.Route = e.pattern
	asked := method(name)
	if asked&e.methods == 0 {
		return m, fault.New(fault.NotFound, "%s does not take this method: use %s.", e.pattern, e.methods)
	}
	m.API = e.api
	m.Path = path
	if m.Family == verdict.OpenAI {
		m.Path = path[len("/v1"):]
	}
	m.Idempotent = asked == get
	m.Inference = asked == post && e.traits&infer != 0
	m.Upload = asked == post && e.traits&upload != 0
	if m.Keeps = e.traits&keep != 0; m.Keeps {
		m.ID = firstID(e.pattern, path)
	}
	return m, nil
}

// guess tells from the look of a request in whose shape its errors are understood.
func (t *Table) guess(r *http.Request, path string) verdict.Family {
	if strings.HasPrefix(path, "/") {
		if head, _ := cutSegment(path); head != "" {
			if i, ok := t.byName[head]; ok {
				return t.match(i).Family
			}
		}
	}
	switch {
	case strings.Contains(path, "/messages"),
		r.Header.Get("Anthropic-Version") != "", r.Header.Get("X-Api-Key") != "",
		t.openAI < 0 && t.anthropic >= 0:
		return verdict.Anthropic
	}
	return verdict.OpenAI
}

// quiet says whether a request is one of those that clients send out of habit and
// whose refusal they do not mind.
func quiet(method, path string) bool {
	return path == "/" && method == http.MethodHead || path == "/api" || strings.HasPrefix(path, "/api/")
}
