package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	legacy = "2025-11-25" // the newest revision with sessions

	mostTools       = 512
	mostPages       = 1000
	mostListed      = 16 << 20 // bytes of all pages of a catalogue
	listedInSession = 64 << 20 // the SDK keeps pages: a session is renewed before they are too many
	longestText     = 4 << 10  // of a description
	longestSchema   = 64 << 10
	mostOffered     = 512 << 10 // of the descriptions and schemas of a server
)

// session is one session with a server, from its first word to its last.
type session struct {
	cs    *sdk.ClientSession
	guard *guard // nil for a command
	lines *lines // of a command
	// program is the command; nil if there is none.
	program *process
	kill    func() // breaks off whatever is under way
	began   time.Time
	calls   sync.WaitGroup

	once sync.Once
	over chan struct{} // closed when nothing can be asked any more
	err  error         // why
}

func (x *session) end(err error) {
	x.once.Do(func() {
		if x.err = err; err == nil {
			x.err = errors.New("it has ended the session")
		}
		close(x.over)
	})
}

func (x *session) ended() bool {
	select {
	case <-x.over:
		return true
	default:
		return false
	}
}

// deaf says that the session is not told of changes any more, as it was.
func (x *session) deaf() bool { return x.guard != nil && x.guard.deaf.Load() }

// alone says that nothing would tell of the server's end: it has no stream open, and
// is no command.
func (x *session) alone() bool { return x.guard != nil && x.guard.streams.Load() == 0 }

// stale says that the session should make room for another.
func (x *session) stale(settled time.Duration) bool {
	return x.deaf() && time.Since(x.began) >= settled || x.listed() > listedInSession
}

func (x *session) protocol() string {
	if r := x.cs.InitializeResult(); r != nil {
		return r.ProtocolVersion
	}
	return ""
}

// close says goodbye, after the session's calls if it has not broken.
func (x *session) close(patience time.Duration) {
	if !x.ended() {
		x.calls.Wait()
	}
	x.end(errStopped)
	if x.guard == nil { // a command has to be waited for: it is told in three ways
		patience = 3 * goodbye
	}
	late := time.AfterFunc(patience, x.kill)
	_ = x.cs.Close() // it may be gone already
	late.Stop()
	x.kill()
}

// call is CallTool, but that it returns when ctx ends even if a command does not read
// what it is told.
func (x *session) call(ctx context.Context, params *sdk.CallToolParams) (*sdk.CallToolResult, error) {
	if x.guard != nil {
		return x.cs.CallTool(ctx, params)
	}
	type answer struct {
		res *sdk.CallToolResult
		err error
	}
	answered := make(chan answer, 1)
	x.calls.Go(func() {
		res, err := x.cs.CallTool(ctx, params)
		answered <- answer{res, err}
	})
	select {
	case a := <-answered:
		return a.res, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect begins a session.
func (s *server) connect(ctx context.Context) (*session, error) {
	life, kill := s.begun()
	x := &session{kill: kill, began: time.Now(), over: make(chan struct{})}
	transport, err := s.transport(life, x)
	if err != nil {
		kill()
		return nil, err
	}
	client := sdk.NewClient(s.client, &sdk.ClientOptions{
		Capabilities:           &sdk.ClientCapabilities{}, // none: servers get nothing from here
		MultiRoundTrip:         &sdk.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { s.poke() },
	})
	client.AddReceivingMiddleware(refuse)
	client.AddSendingMiddleware(fresh)
	ctx, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	defer cancel()
	var options sdk.ClientSessionOptions
	if s.old {
		options.ProtocolVersion = legacy
	}
	if x.cs, err = client.Connect(ctx, transport, &options); err != nil {
		kill()
		// A server from before server/discover may not answer it at all.
		s.old = !s.old && errors.Is(err, context.DeadlineExceeded)
		return nil, x.program.blame(err)
	}
	s.tasks.Go(func() { x.end(x.program.blame(x.cs.Wait())) })
	return x, nil
}

// refuse answers what servers ask of clients.
func refuse(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		switch method {
		case "sampling/createMessage", "elicitation/create", "roots/list":
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "not offered here"}
		}
		return next(ctx, method, req)
	}
}

// ttlKey is where fresh puts the server's word on how long a page holds, in milliseconds.
const ttlKey = "keybridge/ttl"

// fresh keeps the SDK from answering for the server as long as a page holds by its own
// word: who asks again has a reason.
func fresh(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		res, err := next(ctx, method, req)
		if page, ok := res.(*sdk.ListToolsResult); ok && err == nil {
			page.Meta, page.TTLMs = sdk.Meta{ttlKey: page.TTLMs}, 0
		}
		return res, err
	}
}

func (s *server) transport(life context.Context, x *session) (sdk.Transport, error) {
	if s.o.URL == "" {
		return s.spawn(life, x)
	}
	x.guard = s.newGuard(life)
	return x.guard.transport(s.o.URL), nil
}

// catalogue is what tools a server has, those that may be offered. It is immutable.
type catalogue struct {
	tools []tool
	ttl   time.Duration // the server's word on how long it holds; 0: none
}

type tool struct {
	name        string
	description string
	schema      []byte
}

func (c *catalogue) equal(d *catalogue) bool {
	return slices.EqualFunc(c.tools, d.tools, func(a, b tool) bool {
		return a.name == b.name && a.description == b.description && bytes.Equal(a.schema, b.schema)
	})
}

// list asks for the catalogue, all its pages.
func (s *server) list(ctx context.Context, x *session) (*catalogue, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var l listing
	began := x.listed()
	for pages := 1; ; pages++ {
		page, err := x.cs.ListTools(ctx, &sdk.ListToolsParams{Cursor: l.cursor})
		if err != nil {
			return nil, fmt.Errorf("listing its tools: %w", err)
		}
		for _, t := range page.Tools {
			s.consider(t, &l)
		}
		ms, _ := page.Meta[ttlKey].(int)
		if ttl := time.Duration(ms) * time.Millisecond; pages == 1 || ttl < l.ttl {
			l.ttl = ttl
		}
		if page.NextCursor == "" {
			break
		}
		if page.NextCursor == l.cursor || pages == mostPages || len(l.tools) >= mostTools || x.listed()-began > mostListed {
			l.leave("there are more tools or pages than are read")
			break
		}
		l.cursor = page.NextCursor
	}
	slices.SortStableFunc(l.tools, func(a, b tool) int { return strings.Compare(a.name, b.name) })
	l.fit()
	c := &catalogue{tools: l.tools, ttl: l.ttl}
	if before := s.catalogue.Load(); len(l.left) > 0 && (before == nil || !before.equal(c)) {
		s.log.Warn("tools of an MCP server are left out", slog.Int("left_out", len(l.left)), slog.Any("why", l.left[:min(len(l.left), 5)]))
	}
	return c, nil
}

func (x *session) listed() int64 {
	if x.guard == nil {
		return 0
	}
	return x.guard.listed.Load()
}

// listing is a catalogue in the making.
type listing struct {
	tools  []tool
	names  map[string]bool
	left   []string
	cursor string
	ttl    time.Duration
}

func (l *listing) leave(why string) { l.left = append(l.left, why) }

// fit leaves out what would make every prompt too large.
func (l *listing) fit() {
	size := 0
	l.tools = slices.DeleteFunc(l.tools, func(t tool) bool {
		more := len(t.description) + len(t.schema)
		if size+more > mostOffered {
			l.leave(fmt.Sprintf("%s: all tools of a server may have %d bytes of descriptions and schemas together", cut(t.name, 64), mostOffered))
			return true
		}
		size += more
		return false
	})
}

// consider takes a tool into the catalogue, if it may be offered.
func (s *server) consider(t *sdk.Tool, l *listing) {
	if !s.o.offers(t.Name) {
		return
	}
	shown := cut(s.secrets.Replace(t.Name), 64)
	schema := []byte(s.secrets.Replace(encode(t.InputSchema)))
	switch {
	case t.Name == "":
		l.leave("a tool without a name")
		return
	case s.secrets.Replace(t.Name) != t.Name:
		l.leave(shown + ": its name repeats a credential")
		return
	case l.names[t.Name]:
		l.leave(shown + ": there are two of that name")
		return
	case len(l.tools) >= mostTools:
		l.leave(fmt.Sprintf("%s: a server may have %d tools", shown, mostTools))
		return
	case len(schema) > longestSchema:
		l.leave(fmt.Sprintf("%s: its schema has %d bytes, %d are the most", shown, len(schema), longestSchema))
		return
	case !json.Valid(schema):
		schema = []byte("{}")
	}
	if l.names == nil {
		l.names = map[string]bool{}
	}
	l.names[t.Name] = true
	description := t.Description
	if description == "" {
		description = t.Title
	}
	l.tools = append(l.tools, tool{name: t.Name, description: cut(s.secrets.Replace(description), longestText), schema: schema})
}
