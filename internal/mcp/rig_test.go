package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// quick are the times of tests over real sockets.
var quick = pace{retry: 20 * time.Millisecond, settled: 50 * time.Millisecond, gap: 5 * time.Millisecond, refresh: time.Hour, closing: 500 * time.Millisecond}

// eras are the kinds of server there are, as the SDK's own server plays them.
var eras = []struct {
	name, protocol string
	options        sdk.StreamableHTTPOptions
}{
	{"2026-07-28", "2026-07-28", sdk.StreamableHTTPOptions{Stateless: true}},
	{"2025-11-25", legacy, sdk.StreamableHTTPOptions{}},
	{"2025-11-25 JSON", legacy, sdk.StreamableHTTPOptions{JSONResponse: true}},
}

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newServer(tools ...string) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "test"}, &sdk.ServerOptions{PageSize: 2})
	for _, name := range tools {
		addTool(s, name, func(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return say("called with " + string(req.Params.Arguments)), nil
		})
	}
	return s
}

func addTool(s *sdk.Server, name string, f sdk.ToolHandler) {
	s.AddTool(&sdk.Tool{Name: name, Description: "does " + name, InputSchema: json.RawMessage(`{"type":"object"}`)}, f)
}

func say(text string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}
}

// host serves an MCP server over loopback.
func host(t *testing.T, s *sdk.Server, o sdk.StreamableHTTPOptions) *httptest.Server {
	t.Helper()
	return serve(t, sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &o))
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

func newRoom(t *testing.T, servers ...Server) (*Room, *logs) {
	t.Helper()
	l := &logs{}
	return roomAfter(t, nil, l, servers...), l
}

func roomAfter(t *testing.T, before *Room, l *logs, servers ...Server) *Room {
	t.Helper()
	r := New(Options{Servers: servers, Logger: slog.New(slog.NewTextHandler(l, nil)), Version: "1", pace: quick}, before)
	t.Cleanup(func() { r.Close(over()) })
	return r
}

// over is a context that has ended.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// until waits for something that goroutines and sockets bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

func waitUp(t *testing.T, r *Room, names ...string) {
	t.Helper()
	for _, name := range names {
		until(t, name+" is up", func() bool { return r.Up()[name] })
	}
}

func waitDown(t *testing.T, r *Room, name string, reasons ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%s is down for %q", name, reasons), func() bool {
		for _, s := range r.Status() {
			if s.Name != name || s.Up {
				continue
			}
			for _, reason := range reasons {
				if !strings.Contains(s.Reason, reason) {
					return false
				}
			}
			return true
		}
		return false
	})
}

func names(defs []llm.ToolDef) string {
	var out []string
	for _, d := range defs {
		out = append(out, d.Name)
	}
	return strings.Join(out, " ")
}

func offered(r *Room) string { return names(r.Of(ledger.Principal{})) }

func call(t *testing.T, r *Room, name, args string) (llm.ToolResult, ledger.ToolUse) {
	t.Helper()
	return r.Call(t.Context(), ledger.Principal{Name: "dev", Secret: "caller-secret"}, llm.ToolCall{ID: "c1", Name: name, Arguments: []byte(args)})
}

func text(r llm.ToolResult) string {
	var b strings.Builder
	for _, p := range r.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// wants holds a call's end against what is expected of it.
func wants(t *testing.T, r *Room, tool string, outcome ledger.ToolOutcome, says string) {
	t.Helper()
	res, use := call(t, r, tool, `{"a":1}`)
	if use.Outcome != outcome || res.IsError != (outcome != ledger.ToolOK) || !strings.Contains(text(res), says) || res.CallID != "c1" {
		t.Errorf("%s: %s (%v), says %.300q, want %s and %q", tool, use.Outcome, use.Err, text(res), outcome, says)
	}
	if (use.Err != nil) != res.IsError || use.Start.IsZero() {
		t.Errorf("%s: use is %+v", tool, use)
	}
	for _, leak := range []string{"127.0.0.1", "http", "caller-secret", "server-secret"} {
		if strings.Contains(text(res), leak) {
			t.Errorf("%s: what the model reads has %q in it: %.300s", tool, leak, text(res))
		}
	}
}
