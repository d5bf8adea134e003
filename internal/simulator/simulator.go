// Package simulator is a provider that misbehaves on purpose. It speaks OpenAI's
// and Anthropic's APIs in their exact wire shapes, costs nothing, answers with an
// echo of the prompt, and fails by name: per key, as often and as long as asked.
// It serves as the demo of a gateway without keys and as the upstream of its tests.
package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The providers a Simulator plays.
const (
	OpenAI    = "openai"
	Anthropic = "anthropic"
)

// Key is a credential that the simulator accepts.
type Key struct {
	Provider string // OpenAI or Anthropic
	Name     string // what faults and the log call it
	Secret   string
	// Organization and Project (Anthropic: workspace) are told in the answer's
	// header and bound what a key sees: files, batches, stored responses. Empty:
	// one of its own, derived from Provider and Name.
	Organization, Project string
}

// Keys makes up n keys of each provider, named k0, k1 and so on, each alone in its
// organization.
func Keys(n int) []Key {
	var keys []Key
	for _, provider := range []string{OpenAI, Anthropic} {
		for i := range n {
			keys = append(keys, Key{Provider: provider, Name: fmt.Sprintf("k%d", i), Secret: fmt.Sprintf("sk-simulated-%s-key-%d", provider, i)})
		}
	}
	return keys
}

// Options shape a Simulator. The zero value of a field is its default.
type Options struct {
	Keys   []Key
	Faults []Fault       // armed from the start
	Chunks int           // content events of a stream (default 4); a request's X-Simulator-Chunks wins
	Pace   time.Duration // pause before each event of a stream (default none); a request's X-Simulator-Pace wins
	// Deterministic makes an answer a function of the request alone: the same
	// method, path, query and body get the same ids, times and bytes from every
	// key. Only headers that name the key's organization, project and rate limits
	// differ.
	Deterministic bool
	LogSize       int // calls that the log remembers (default 1000)
	MeterSize     int // answers that the meter remembers (default 1000)
	// Limits are the rate limits that are enforced. Nil: none is, and the headers
	// tell of 10 000 requests and 2 000 000 tokens a minute.
	Limits []Limit
}

// Validate tells what is wrong with the options; New wants them valid.
func (o Options) Validate() error {
	names, secrets := map[string]bool{}, map[string]bool{}
	for i, k := range o.Keys {
		name, secret := k.Provider+"/"+k.Name, k.Provider+"/"+k.Secret
		switch {
		case k.Provider != OpenAI && k.Provider != Anthropic:
			return fmt.Errorf("simulator: keys[%d]: provider %q: use %q or %q", i, k.Provider, OpenAI, Anthropic)
		case k.Name == "" || k.Secret == "":
			return fmt.Errorf("simulator: keys[%d]: set a name and a secret", i)
		case names[name]:
			return fmt.Errorf("simulator: keys[%d]: the name %q is taken: choose another", i, k.Name)
		case secrets[secret]:
			return fmt.Errorf("simulator: keys[%d]: another key of %s has the same secret", i, k.Provider)
		}
		names[name], secrets[secret] = true, true
	}
	for i, l := range o.Limits {
		if err := l.validate(); err != nil {
			return fmt.Errorf("simulator: limits[%d]: %w", i, err)
		}
	}
	for i, f := range o.Faults {
		if err := f.Validate(); err != nil {
			return fmt.Errorf("faults[%d]: %w", i, err)
		}
	}
	return nil
}

// Simulator is an http.Handler that plays the providers under /openai/v1/… and
// /anthropic/v1/…; Provider gives one of them alone. It is safe for concurrent use.
type Simulator struct {
	opts      Options
	providers map[string]*provider
	faults    *book
	log       *ring
	objects   *objects
	meter     *meter
	limits    *limits
	done      chan struct{}
	closing   sync.Once
}

// New returns a simulator that accepts the keys and no other. It panics when
// o.Validate returns an error.
func New(o Options) *Simulator {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	if o.Chunks <= 0 {
		o.Chunks = 4
	}
	if o.LogSize <= 0 {
		o.LogSize = 1000
	}
	if o.MeterSize <= 0 {
		o.MeterSize = 1000
	}
	s := &Simulator{
		opts: o, faults: &book{}, log: newRing(o.LogSize), objects: newObjects(), meter: &meter{size: o.MeterSize}, limits: newLimits(o.Limits), done: make(chan struct{}),
		providers: map[string]*provider{},
	}
	s.faults.set(o.Faults)
	for _, a := range []api{openAI(), anthropic()} {
		s.providers[a.name] = &provider{sim: s, api: &a, keys: map[string]*Key{}}
	}
	for _, k := range o.Keys {
		organization, project := s.providers[k.Provider].api.own(seed(k.Provider, k.Name))
		k.Organization, k.Project = cmp.Or(k.Organization, organization), cmp.Or(k.Project, project)
		s.providers[k.Provider].keys[k.Secret] = &k
	}
	return s
}

// ServeHTTP serves /openai/… and /anthropic/….
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, p := range s.providers {
		if strings.HasPrefix(r.URL.Path, "/"+name+"/") {
			http.StripPrefix("/"+name, p).ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "the simulator answers under /openai/v1/ and /anthropic/v1/", http.StatusNotFound)
}

// Provider is the handler of one provider alone, with paths from its host's root:
// /v1/chat/completions, /v1/messages. A name that is not OpenAI or Anthropic gets nil.
func (s *Simulator) Provider(name string) http.Handler {
	if p, ok := s.providers[name]; ok {
		return p
	}
	return nil
}

// Arm adds a fault behind those already armed.
func (s *Simulator) Arm(f Fault) error {
	if err := f.Validate(); err != nil {
		return err
	}
	s.faults.add(f)
	return nil
}

// Rearm arms these faults instead of all others, at one stroke.
func (s *Simulator) Rearm(fs ...Fault) error {
	for _, f := range fs {
		if err := f.Validate(); err != nil {
			return err
		}
	}
	s.faults.set(fs)
	return nil
}

// Disarm removes every fault.
func (s *Simulator) Disarm() { s.faults.clear(func(Fault) bool { return true }) }

// Faults are the faults still armed, in the order in which they are looked at.
func (s *Simulator) Faults() []Fault { return s.faults.list() }

// Log is what was asked, oldest first.
func (s *Simulator) Log() []Call { return s.log.list() }

// ResetLog forgets the log.
func (s *Simulator) ResetLog() { s.log.reset() }

// Close ends every stalled answer. Requests that come later are still served, but
// nothing stalls any more.
func (s *Simulator) Close() { s.closing.Do(func() { close(s.done) }) }

// api is what the two providers differ in.
type api struct {
	name     string
	failures map[string]failure
	routes   []route
	noKey    failure
	tooLong  failure
	secret   func(http.Header) string
	// header is what every answer carries; a call without a key was not let in.
	header    func(*call) http.Header
	limits    func(*call, http.Header)
	errorBody func(*call, failure) []byte
	// check refuses what the provider refuses before it looks at the route.
	check      func(*call) *failure
	noRoute    func(c *call, methods []string) failure
	waitHeader func(form string, wait time.Duration, now time.Time, h http.Header)
	own        func(ids) (organization, project string)
}

// route is one method and path; a segment in braces stands for any one segment.
type route struct {
	method, pattern string
	handle          func(*call) reply
}

type provider struct {
	sim  *Simulator
	api  *api
	keys map[string]*Key // by secret
}

// match finds the route; without one it tells which methods the path has.
func (p *provider) match(method, path string) (rt *route, arg string, methods []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for i := range p.api.routes {
		a, ok := fits(p.api.routes[i].pattern, path)
		switch {
		case ok && p.api.routes[i].method == method:
			return &p.api.routes[i], a, nil
		case ok:
			methods = append(methods, p.api.routes[i].method)
		}
	}
	return nil, "", methods
}

func fits(pattern, path string) (arg string, ok bool) {
	for {
		want, restPattern, morePattern := strings.Cut(pattern, "/")
		got, restPath, morePath := strings.Cut(path, "/")
		switch {
		case strings.HasPrefix(want, "{") && got != "":
			arg = got
		case want != got:
			return "", false
		}
		if morePattern != morePath {
			return "", false
		}
		if !morePattern {
			return arg, true
		}
		pattern, path = restPattern, restPath
	}
}

// ServeHTTP answers one request: who asks, what for, which fault, then the bytes.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{sim: p.sim, api: p.api, w: w, r: r, start: time.Now(), path: r.URL.EscapedPath()}
	secret := p.api.secret(r.Header)
	c.key = p.keys[secret]
	if c.key != nil {
		// A refused connection reads nothing of the body, so its model is unknown.
		if f, ok := p.sim.faults.refusal(c); ok {
			c.fault = f
			c.drop()
		}
	}
	if f := c.read(); f != nil {
		c.deliver(c.fail(*f))
		return
	}
	switch {
	case secret == "":
		c.deliver(c.fail(p.api.noKey))
		return
	case c.key == nil:
		c.secret = secret
		c.deliver(c.failNamed("invalid_key"))
		return
	}
	c.secret = secret
	rt, arg, methods := p.match(r.Method, c.path)
	c.arg = arg
	if c.model == "" && strings.Contains(c.path, "/models/") {
		c.model = arg
	}
	c.fault = p.sim.faults.take(c)
	if kinds[c.fault.Name].act == answers {
		c.deliver(c.failNamed(c.fault.Name))
		return
	}
	if f := p.api.check(c); f != nil {
		c.deliver(c.fail(*f))
		return
	}
	if rt == nil {
		c.deliver(c.fail(p.api.noRoute(c, methods)))
		return
	}
	if f := c.admit(); f != nil {
		c.deliver(c.fail(*f))
		return
	}
	c.deliver(rt.handle(c))
}

// wellFormed tells whether the body is one JSON object.
func wellFormed(body []byte) bool {
	body = bytes.TrimSpace(body)
	return len(body) > 0 && body[0] == '{' && validJSON(body)
}
