package mcp

import (
	"context"
	"fmt"
	"io"
	"os"
	signals "os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// TestMain makes the test binary an MCP server where a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("MCP_TEST_SERVER") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("MCP_TEST_SERVER") == "stillborn" {
		fmt.Fprint(os.Stderr, strings.Repeat("noise", 1000), " cannot open\n\x1b[31mthe door with ", os.Getenv("TOKEN"), "\n")
		os.Exit(3)
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
	in := &ears{src: os.Stdin}
	addTool(s, "deafen", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		in.deaf.Store(true)
		return say("what?"), nil
	})
	asked := make(chan os.Signal, 1)
	note := os.Getenv("MCP_TEST_NOTE")
	if note != "" {
		signals.Notify(asked, syscall.SIGTERM)
	}
	_ = s.Run(context.Background(), &sdk.IOTransport{Reader: in, Writer: os.Stdout})
	if note != "" { // it ends when it is told to, not before
		<-asked
		_ = os.WriteFile(note, []byte("saved"), 0o600)
	}
}

// ears are a stdin that the program may cease to read.
type ears struct {
	src  io.ReadCloser
	deaf atomic.Bool
}

func (e *ears) Read(p []byte) (int, error) {
	if e.deaf.Load() {
		select {}
	}
	return e.src.Read(p)
}

func (e *ears) Close() error { return e.src.Close() }

// What is said to a program that does not read it ends when its time is over, for
// whatever reason, and so does the program.
func TestDeafCommand(t *testing.T) {
	t.Parallel()
	much := `{"a":"` + strings.Repeat("a", 1<<20) + `"}`
	program := Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "1"}}
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		o := program
		o.Timeout = 2 * time.Second
		r, _ := newRoom(t, o)
		waitUp(t, r, "cmd")
		before := r.servers[0].sessionNow()
		wants(t, r, "kb_cmd_deafen", ledger.ToolOK, "what?")
		if res, use := call(t, r, "kb_cmd_echo", much); use.Outcome != ledger.ToolTimeout || !strings.Contains(text(res), "did not answer within 2s") {
			t.Errorf("%s, %v, %.100s", use.Outcome, use.Err, text(res))
		}
		until(t, "another process", func() bool { x := r.servers[0].sessionNow(); return x != nil && x != before })
		wants(t, r, "kb_cmd_echo", ledger.ToolOK, "called with")
	})
	t.Run("client leaves, gateway stops", func(t *testing.T) {
		t.Parallel()
		o := program
		o.Timeout = time.Hour
		r, _ := newRoom(t, o)
		waitUp(t, r, "cmd")
		wants(t, r, "kb_cmd_deafen", ledger.ToolOK, "what?")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, use := r.Call(ctx, ledger.Principal{}, llm.ToolCall{Name: "kb_cmd_echo", Arguments: []byte(much)})
		if use.Outcome != ledger.ToolCancelled {
			t.Errorf("the client has left: %+v", use)
		}
		stop, enough := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer enough()
		r.Close(stop) // returns at all
	})
}

func TestCommandIsToldToEnd(t *testing.T) {
	t.Parallel()
	note := filepath.Join(t.TempDir(), "note")
	r, _ := newRoom(t, Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "1", "MCP_TEST_NOTE": note}})
	waitUp(t, r, "cmd")
	r.Close(t.Context())
	if _, err := os.Stat(note); err != nil {
		t.Errorf("it was killed without a word: %v", err)
	}
}

func TestCommand(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-the-gateways-own")
	r, l := newRoom(t, Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "1", "TOKEN": "server-secret", "STAGE": "production"}, Public: []string{"STAGE"}})
	waitUp(t, r, "cmd")
	wants(t, r, "kb_cmd_echo", ledger.ToolOK, "called with")
	wants(t, r, "kb_cmd_more", ledger.ToolOK, "added")
	until(t, "the change of the list arrives", func() bool { return strings.Contains(offered(r), "kb_cmd_late") })
	res, _ := call(t, r, "kb_cmd_env", "")
	if env := text(res); strings.Contains(env, "sk-the-gateways-own") || !strings.Contains(env, "TOKEN=***\n") || !strings.Contains(env, "STAGE=production") || !strings.Contains(env, "PATH=") {
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

// A program that ends by itself says why, as far as it does.
func TestCommandDies(t *testing.T) {
	t.Parallel()
	r, l := newRoom(t, Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "stillborn", "TOKEN": "server-secret"}})
	waitDown(t, r, "cmd", "its program has ended (exit status 3), and said: … cannot open [31mthe door with ***")
	if got := r.Status()[0].Reason + l.String(); strings.Contains(got, "noise") || strings.ContainsRune(got, 0x1b) || !strings.Contains(l.String(), "exit status 3") {
		t.Errorf("it is told\n%s", got)
	}
}

// A program that ends amid its work is started anew: its tools stay offered, calls wait
// for it, and the log says so once.
func TestCommandIsKilled(t *testing.T) {
	t.Parallel()
	r, l := newRoom(t, Server{Name: "cmd", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": "1"}})
	waitUp(t, r, "cmd")
	before := r.servers[0].sessionNow()
	if err := before.program.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "its end is seen", before.ended)
	if got := r.Status()[0]; !got.Up || got.Tools == 0 {
		t.Errorf("while it is started anew: %+v", got)
	}
	wants(t, r, "kb_cmd_echo", ledger.ToolOK, "called with")
	if got := l.String(); strings.Count(got, "its program is started anew") != 1 || !strings.Contains(got, "its program has ended (signal: killed)") || strings.Contains(got, "is down") {
		t.Errorf("the log says\n%s", got)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ said, want string }{
		{"", ""},
		{"one\n\ttwo\r\n", "one two"},
		{strings.Repeat("x", mostWords), strings.Repeat("x", mostWords)},
		{strings.Repeat("x", mostWords+1), "…"},
		{strings.Repeat("x", mostWords) + " end\xff", "… end\uFFFD"},
	} {
		var l tail
		for piece := range slices.Chunk([]byte(tt.said), 100) {
			_, _ = l.Write(piece)
		}
		if got := l.String(); got != tt.want {
			t.Errorf("of %.50q it keeps %q, want %q", tt.said, got, tt.want)
		}
	}
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
