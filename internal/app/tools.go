package app

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"keybridge/internal/admin"
	"keybridge/internal/config"
	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/mcp"
	"keybridge/internal/metrics"
)

// tools are the central tools in force. A conversation that began before a reload
// calls the servers there are after it: who was to lose a tool has lost it, and a
// server with a new credential is called with that.
type tools struct {
	room    atomic.Pointer[mcp.Room]
	leaving sync.WaitGroup // rooms that are in force no more
	once    sync.Once
	time    context.Context    //nolint:containedctx // what the leaving rooms have until close's ends
	hurry   context.CancelFunc // ends it
}

// patience is how long rooms may take to leave.
func (t *tools) patience() (context.Context, context.CancelFunc) {
	t.once.Do(func() { t.time, t.hurry = context.WithCancel(context.Background()) }) //nolint:gosec // close calls it
	return t.time, t.hurry
}

// Of implements gateway.Tools.
func (t *tools) Of(who ledger.Principal) []llm.ToolDef { return t.room.Load().Of(who) }

// Call implements gateway.Tools.
func (t *tools) Call(ctx context.Context, who ledger.Principal, c llm.ToolCall) (llm.ToolResult, ledger.ToolUse) {
	return t.room.Load().Call(ctx, who, c)
}

// furnish puts the servers of the next configuration in force. Those that stay as
// they are keep their sessions; the others end theirs when their calls have ended.
func (t *tools) furnish(o mcp.Options) {
	before := t.room.Load()
	t.room.Store(mcp.New(o, before))
	if before != nil {
		ctx, _ := t.patience() // every call has its time
		t.leaving.Go(func() { before.Close(ctx) })
	}
}

// close ends all sessions, and whatever still runs in them when ctx ends. Nobody calls
// any more by then.
func (t *tools) close(ctx context.Context) {
	_, hurry := t.patience()
	defer hurry()
	defer context.AfterFunc(ctx, hurry)()
	if room := t.room.Load(); room != nil {
		room.Close(ctx)
	}
	t.leaving.Wait()
}

// shown is the room that metrics and operators see: with Options.Tools its own, if it
// is one.
func (a *App) shown() *mcp.Room {
	if room, ok := a.o.Tools.(*mcp.Room); ok {
		return room
	}
	return a.tools.room.Load()
}

// offer makes the central tools of the configuration those of the next snapshot. It
// cannot fail: a server that is dead is one that is not up yet.
func (a *App) offer(c *config.Config, next *gateway.Snapshot) {
	next.Loop = gateway.Loop{MaxTurns: c.MCP.Loop.MaxTurns, MaxCalls: c.MCP.Loop.MaxCalls, MaxTime: c.MCP.Loop.MaxTime}
	a.tools.furnish(mcp.Options{Servers: servers(c.MCP.Servers), Logger: a.log, Version: a.o.Version})
	switch {
	case a.o.Tools != nil:
		next.Tools = a.o.Tools
	case len(c.MCP.Servers) > 0:
		next.Tools = &a.tools
	}
	var names []string
	for _, s := range a.serversNow() {
		names = append(names, s.Name)
	}
	a.metrics.SetServers(names)
}

func servers(configured []config.Server) []mcp.Server {
	out := make([]mcp.Server, 0, len(configured))
	for _, s := range configured {
		out = append(out, mcp.Server{
			Name: s.Name, URL: s.URL, Headers: revealed(s.Headers), Command: s.Command, Args: s.Args, Env: revealed(s.Env),
			Public: public(s.Headers, s.Env), Allow: s.Allow, Deny: s.Deny, Tokens: s.Tokens, Timeout: s.Timeout, MaxConcurrent: s.MaxConcurrent, MaxResult: int(s.MaxResult),
		})
	}
	return out
}

// public are the names of those that hold no credential.
func public(sets ...[]config.Named) (names []string) {
	for _, v := range slices.Concat(sets...) {
		if !v.Credential {
			names = append(names, v.Name)
		}
	}
	return names
}

func revealed(values []config.Named) map[string]string {
	out := make(map[string]string, len(values))
	for _, v := range values {
		out[v.Name] = v.Value.Reveal()
	}
	return out
}

// serversNow is what the metrics tell of the servers.
func (a *App) serversNow() []metrics.Server {
	room := a.shown()
	if room == nil {
		return nil
	}
	var out []metrics.Server
	for _, s := range room.Status() {
		out = append(out, metrics.Server{Name: s.Name, Up: s.Up, Tools: s.Tools})
	}
	return out
}

// toolsOf is what the operator is shown of the tools of a caller, or of all callers.
func (a *App) toolsOf(caller string) admin.Tools {
	c, room := a.current.Load().config, a.shown()
	var out admin.Tools
	for _, t := range c.Tokens {
		out.Known = append(out.Known, t.Name)
	}
	callers := map[string][]string{}
	for _, s := range c.MCP.Servers {
		callers[s.Name] = s.Tokens
	}
	whom := []string{caller}
	if caller == "" && len(out.Known) > 0 {
		whom = out.Known
	}
	offers := map[string][]admin.Tool{} // by server: a caller gets all of one or none
	for _, name := range whom {
		mine := map[string][]admin.Tool{}
		for _, o := range room.Offers(ledger.Principal{Name: name, Credential: ledger.Pooled}) {
			mine[o.Server] = append(mine[o.Server], admin.Tool{Name: o.Name, Server: o.Server, Tool: o.Tool, Description: o.Description})
		}
		maps.Copy(offers, mine)
	}
	for _, s := range room.Status() {
		out.Servers = append(out.Servers, admin.ToolServer{
			Name: s.Name, Up: s.Up, Error: s.Reason, Since: s.Since, Protocol: s.Protocol, Tools: s.Tools, Callers: slices.Clone(callers[s.Name]),
		})
		out.Tools = append(out.Tools, offers[s.Name]...)
	}
	return out
}
