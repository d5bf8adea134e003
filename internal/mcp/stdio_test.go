package mcp

import (
	"context"
	"os"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
)

// TestMain makes the test binary an MCP server where a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("MCP_TEST_SERVER") == "" {
		os.Exit(m.Run())
	}
	s := newServer("echo")
	addTool(s, "env", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return say(strings.Join(os.Environ(), "\n")), nil
	})
	addTool(s, "die", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		os.Exit(1)
		return say("not reached"), nil
	})
	addTool(s, "big", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return say(strings.Repeat("a", 10<<20)), nil
	})
	addTool(s, "more", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		addTool(s, "late", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) { return say("late"), nil })
		return say("added"), nil
	})
	_ = s.Run(context.Background(), &sdk.StdioTransport{})
}

func TestCommand(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-the-gateways-own")
	r, l := newRoom(t, Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "1", "TOKEN": "server-secret"}})
	waitUp(t, r, "cmd")
	wants(t, r, "kb_cmd_echo", ledger.ToolOK, "called with")
	wants(t, r, "kb_cmd_more", ledger.ToolOK, "added")
	until(t, "the change of the list arrives", func() bool { return strings.Contains(offered(r), "kb_cmd_late") })
	res, _ := call(t, r, "kb_cmd_env", "")
	if env := text(res); strings.Contains(env, "sk-the-gateways-own") || !strings.Contains(env, "TOKEN=server-secret") || !strings.Contains(env, "PATH=") {
		t.Errorf("its environment is\n%s", env)
	}
	for tool, want := range map[string]ledger.ToolOutcome{"kb_cmd_die": ledger.ToolUnavailable, "kb_cmd_big": ledger.ToolInvalid} {
		before := r.servers[0].sessionNow()
		res, use := call(t, r, tool, "")
		if use.Outcome != want || !res.IsError {
			t.Errorf("%s: %s, %v, %s", tool, use.Outcome, use.Err, text(res))
		}
		until(t, "another process", func() bool { x := r.servers[0].sessionNow(); return x != nil && x != before })
		wants(t, r, "kb_cmd_echo", ledger.ToolOK, "called with")
	}
	if strings.Contains(l.String(), "server-secret") {
		t.Errorf("a secret is logged:\n%s", l)
	}
	r.Close(t.Context())
}

func TestNoSuchCommand(t *testing.T) {
	r, _ := newRoom(t, Server{Name: "cmd", Command: "/nowhere/to/be/found"})
	waitDown(t, r, "cmd", "starting its command", "no such file")
}

func (s *server) sessionNow() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}
