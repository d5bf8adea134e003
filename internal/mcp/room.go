// Package mcp is the room of the central tools: it keeps sessions with MCP servers,
// knows what tools they have, and runs calls within limits. It trusts no server:
// what a server sends is bounded, and it is sent nothing but its own headers.
package mcp

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// Options are what a Room is made of.
type Options struct {
	// Servers in the order in which their tools are offered. Names are unique.
	Servers []Server
	Logger  *slog.Logger
	Version string // of the gateway, as servers are told it
	// DialContext replaces the network of servers with a URL; nil: the real one.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	pace        pace
}

// Server is an MCP server with what it is used for. It has a URL, which speaks
// Streamable HTTP, or a Command, which is started and speaks over its stdin and stdout.
type Server struct {
	Name string
	URL  string
	// Headers go with each request to the URL.
	Headers map[string]string

	Command string
	Args    []string
	// Env is what the command gets besides what each program needs (PATH, HOME and
	// the like): nothing else of the gateway's own environment.
	Env map[string]string

	// Public are the names of those of Headers and Env whose values are no credentials.
	// The others are masked wherever the server repeats them.
	Public []string

	Allow []string // names of the tools offered, * for any characters; none: all
	Deny  []string // names of the tools not offered, even if allowed
	// Tokens are the names of the callers that get the tools; none: everybody.
	Tokens []string

	Timeout        time.Duration // of a call, its wait for a free slot included; 0: a minute
	ConnectTimeout time.Duration // 0: 10 s
	MaxConcurrent  int           // calls at once; 0: 16
	MaxResult      int           // bytes of a result that are given to the model; 0: 256 KiB
}

func (s Server) withDefaults() Server {
	s.Timeout = cmp.Or(s.Timeout, time.Minute)
	s.ConnectTimeout = cmp.Or(s.ConnectTimeout, 10*time.Second)
	s.MaxConcurrent = cmp.Or(s.MaxConcurrent, 16)
	s.MaxResult = cmp.Or(s.MaxResult, 256<<10)
	return s
}

// offers says that a tool may be offered by its name.
func (s *Server) offers(tool string) bool {
	fits := func(pattern string) bool { return matches(pattern, tool) }
	return (len(s.Allow) == 0 || slices.ContainsFunc(s.Allow, fits)) && !slices.ContainsFunc(s.Deny, fits)
}

// Room is a set of servers. It is safe for concurrent use.
type Room struct {
	servers []*server
	closing sync.Once

	mu     sync.Mutex
	seen   []*catalogue // what offers were made of
	offers []offer
	byName map[string]int
}

// Offer is a tool as callers get it, and where it is from.
type Offer struct {
	llm.ToolDef
	Server string
	Tool   string // as the server calls it
}

type offer struct {
	Offer
	server *server
}

// Status is how a server is doing.
type Status struct {
	Name     string
	Up       bool
	Reason   string // why it is down; "" if it is up
	Since    time.Time
	Tools    int    // offered, 0 while it is down
	Protocol string // the revision spoken, "" while it is down
}

// New makes a Room and begins to connect to its servers; it does not wait for them.
// Servers that the room before (nil: none) has with the same settings are shared with
// it: their sessions live on, and what tools they have is asked again.
func New(o Options, before *Room) *Room {
	r := &Room{}
	for _, settings := range o.Servers {
		settings = settings.withDefaults()
		s := before.share(settings)
		if s == nil {
			s = open(settings, &o, before.lend(&settings))
		}
		r.servers = append(r.servers, s)
	}
	return r
}

func (r *Room) share(settings Server) *server {
	if r == nil {
		return nil
	}
	for _, s := range r.servers {
		if reflect.DeepEqual(s.o, settings) && s.retain() {
			s.revive()
			return s
		}
	}
	return nil
}

// lend returns the catalogue of the server that one with these settings replaces, if
// it is the same one and up, to be offered until the new session has its own.
func (r *Room) lend(settings *Server) *catalogue {
	if r == nil {
		return nil
	}
	for _, s := range r.servers {
		if s.o.Name != settings.Name || s.o.URL != settings.URL || s.o.Command != settings.Command || !slices.Equal(s.o.Args, settings.Args) || !s.isUp() {
			continue
		}
		if c := s.catalogue.Load(); c != nil {
			return &catalogue{tools: slices.DeleteFunc(slices.Clone(c.tools), func(t tool) bool { return !settings.offers(t.name) })}
		}
	}
	return nil
}

// Close leaves the servers. Those that no other room shares are left for good: calls
// under way may end until ctx does, and it returns when nothing runs any more.
func (r *Room) Close(ctx context.Context) {
	r.closing.Do(func() {
		var all sync.WaitGroup
		for _, s := range r.servers {
			if s.release() {
				all.Go(func() { s.close(ctx) })
			}
		}
		all.Wait()
	})
}

// Of lists what the caller is offered now: the tools of the servers that are up, in
// the order of the servers, then of the tools' names.
func (r *Room) Of(who ledger.Principal) []llm.ToolDef {
	all, _ := r.all()
	defs := make([]llm.ToolDef, 0, len(all))
	for o := range those(all, func(s *server) bool { return s.serves(who) }) {
		defs = append(defs, o.ToolDef)
	}
	return defs
}

// Offers is Of with the tools' origins.
func (r *Room) Offers(who ledger.Principal) (out []Offer) {
	all, _ := r.all()
	for o := range those(all, func(s *server) bool { return s.serves(who) }) {
		out = append(out, o.Offer)
	}
	return out
}

// All lists what all callers together are offered now.
func (r *Room) All() (out []Offer) {
	all, _ := r.all()
	for o := range those(all, func(*server) bool { return true }) {
		out = append(out, o.Offer)
	}
	return out
}

// those are the tools of the servers that are up and serve.
func those(all []offer, serves func(*server) bool) iter.Seq[*offer] {
	return func(yield func(*offer) bool) {
		var last *server
		var skip bool
		for i := range all {
			if s := all[i].server; s != last {
				last, skip = s, !serves(s) || !s.isUp()
			}
			if !skip && !yield(&all[i]) {
				return
			}
		}
	}
}

// Status tells of each server, in order.
func (r *Room) Status() []Status {
	out := make([]Status, len(r.servers))
	for i, s := range r.servers {
		out[i] = s.status()
	}
	return out
}

// Up tells which servers are up, by name.
func (r *Room) Up() map[string]bool {
	up := make(map[string]bool, len(r.servers))
	for _, s := range r.servers {
		up[s.o.Name] = s.isUp()
	}
	return up
}

// all returns the tools of all servers, also of those that are down, so that a tool's
// name does not depend on which servers are up.
func (r *Room) all() ([]offer, map[string]int) {
	now := make([]*catalogue, len(r.servers))
	for i, s := range r.servers {
		now[i] = s.catalogue.Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName != nil && slices.Equal(now, r.seen) {
		return r.offers, r.byName
	}
	r.seen, r.offers, r.byName = now, nil, map[string]int{}
	for i, c := range now {
		if c == nil {
			continue
		}
		names := shownNames(r.servers[i].o.Name, c.tools, func(name string) bool { _, taken := r.byName[name]; return taken })
		for j, t := range c.tools {
			r.byName[names[j]] = len(r.offers)
			r.offers = append(r.offers, offer{
				Offer: Offer{
					ToolDef: llm.ToolDef{Name: names[j], Description: t.description, Schema: t.schema, Forms: &llm.Forms{}},
					Server:  r.servers[i].o.Name, Tool: t.name,
				},
				server: r.servers[i],
			})
		}
	}
	return r.offers, r.byName
}
