package mcp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// ask is a request as a server of our own reads it.
type ask struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name   string `json:"name"`
		Cursor string `json:"cursor"`
	} `json:"params"`
}

// rpc is a server of our own, for what the SDK's would not do.
func rpc(f func(http.ResponseWriter, *http.Request, ask)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var a ask
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f(w, r, a)
	})
}

// rpcSeen shows each request to look before h serves it.
func rpcSeen(look func(ask), h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var a ask
		_ = json.Unmarshal(body, &a)
		look(a)
		h.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, a ask, result string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, a.ID, result)
}

// crooked is a server that is in order but for its tools.
func crooked(tools string, f func(http.ResponseWriter, *http.Request, ask)) http.Handler {
	return rpc(func(w http.ResponseWriter, r *http.Request, a ask) {
		switch a.Method {
		case "server/discover":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, a.ID)
		case "initialize":
			w.Header().Set("Mcp-Session-Id", "s1")
			answer(w, a, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"crooked","version":"1"}}`)
		case "tools/list":
			answer(w, a, `{"tools":[`+tools+`]}`)
		case "tools/call":
			f(w, r, a)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
}

func toolNamed(names ...string) string {
	for i, n := range names {
		names[i] = fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, n)
	}
	return strings.Join(names, ",")
}

func TestHostileAnswers(t *testing.T) {
	big := strings.Repeat("a", 10<<20)
	endless := func(w http.ResponseWriter, r *http.Request, piece string) {
		piece = strings.Repeat(piece, 1+(4<<10)/len(piece))
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
	events := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/event-stream") }
	tests := map[string]struct {
		f       func(http.ResponseWriter, *http.Request, ask)
		outcome ledger.ToolOutcome
		says    string
	}{
		"ten-mb": {func(w http.ResponseWriter, _ *http.Request, a ask) {
			answer(w, a, `{"content":[{"type":"text","text":"`+big+`"}]}`)
		}, ledger.ToolInvalid, "too large"},
		"ten-mb-event": {func(w http.ResponseWriter, _ *http.Request, a ask) {
			events(w)
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}}\n\n", a.ID, big)
		}, ledger.ToolInvalid, "too large"},
		"endless-events": {func(w http.ResponseWriter, r *http.Request, _ ask) {
			events(w)
			endless(w, r, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\""+strings.Repeat("x", 4<<10)+"\"}}\n\n")
		}, ledger.ToolInvalid, "too large"},
		"endless-line": {func(w http.ResponseWriter, r *http.Request, _ ask) {
			events(w)
			endless(w, r, "data: aaaaaaaaaaaaaaaaaa")
		}, ledger.ToolInvalid, "too large"},
		"endless-comments": {func(w http.ResponseWriter, r *http.Request, _ ask) { events(w); endless(w, r, ": still here\n\n") }, ledger.ToolInvalid, "too large"},
		"endless-json": {func(w http.ResponseWriter, r *http.Request, _ ask) {
			w.Header().Set("Content-Type", "application/json")
			endless(w, r, "[[[[[[[[")
		}, ledger.ToolInvalid, "too large"},
		"silent": {func(w http.ResponseWriter, r *http.Request, _ ask) {
			events(w)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, ledger.ToolTimeout, "did not answer within"},
		"mute": {func(_ http.ResponseWriter, r *http.Request, _ ask) { <-r.Context().Done() }, ledger.ToolTimeout, "did not answer within"},
		"redirect": {func(w http.ResponseWriter, r *http.Request, _ ask) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, ledger.ToolUnavailable, "redirect"},
		"401": {func(w http.ResponseWriter, _ *http.Request, _ ask) { w.WriteHeader(http.StatusUnauthorized) }, ledger.ToolUnavailable, "401"},
		"503": {func(w http.ResponseWriter, _ *http.Request, _ ask) { w.WriteHeader(http.StatusServiceUnavailable) }, ledger.ToolUnavailable, "503"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request, _ ask) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"jsonrpc":`)
		}, ledger.ToolInvalid, "cannot be read"},
		"not-rpc": {func(w http.ResponseWriter, _ *http.Request, _ ask) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `[1]`)
		}, ledger.ToolInvalid, "cannot be read"},
		"odd-type":   {func(w http.ResponseWriter, _ *http.Request, a ask) { answer(w, a, `{"content":[{"type":"hologram"}]}`) }, ledger.ToolInvalid, "cannot be read"},
		"odd-result": {func(w http.ResponseWriter, _ *http.Request, a ask) { answer(w, a, `"no"`) }, ledger.ToolInvalid, "cannot be read"},
		"deep": {func(w http.ResponseWriter, _ *http.Request, a ask) {
			answer(w, a, strings.Repeat("[", 1<<19)+strings.Repeat("]", 1<<19))
		}, ledger.ToolInvalid, "cannot be read"},
		"refuses": {func(w http.ResponseWriter, _ *http.Request, a ask) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool, server-secret"}}`, a.ID)
		}, ledger.ToolInvalid, "refused by the server: Unknown tool, ***"},
		"cut": {func(w http.ResponseWriter, _ *http.Request, _ ask) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"jsonrpc":"2.0",`)
			panic(http.ErrAbortHandler)
		}, ledger.ToolUnavailable, "broke the call off"},
		"cut-events": {func(w http.ResponseWriter, _ *http.Request, _ ask) {
			events(w)
			io.WriteString(w, ": working\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, ledger.ToolUnavailable, "broke the call off"},
		"ended-events": {func(w http.ResponseWriter, _ *http.Request, _ ask) { events(w); io.WriteString(w, ": bye\n\n") }, ledger.ToolUnavailable, "broke the call off"},
		"bomb": {func(w http.ResponseWriter, _ *http.Request, _ ask) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.(http.Flusher).Flush()
			z := gzip.NewWriter(w)
			io.Copy(z, io.LimitReader(zeros{}, 64<<20))
			z.Close()
		}, ledger.ToolInvalid, "cannot be read"},
		"fine": {func(w http.ResponseWriter, _ *http.Request, a ask) {
			answer(w, a, `{"content":[{"type":"text","text":"fine"}]}`)
		}, ledger.ToolOK, "fine"},
	}
	var list []string
	var elsewhere atomic.Int64
	for name := range tests {
		list = append(list, name)
	}
	tools := crooked(toolNamed(list...), func(w http.ResponseWriter, r *http.Request, a ask) { tests[a.Params.Name].f(w, r, a) })
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			elsewhere.Add(1)
		}
		tools.ServeHTTP(w, r)
	}))
	r, l := newRoom(t, Server{Name: "bad", URL: srv.URL, Timeout: 5 * time.Second, Headers: map[string]string{"Authorization": "Bearer server-secret"}})
	waitUp(t, r, "bad")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wants(t, r, "kb_bad_"+name, tt.outcome, tt.says) })
	}
	// None of it is more than the end of one call.
	if elsewhere.Load() > 0 {
		t.Error("a redirect was followed")
	}
	if strings.Contains(l.String(), "down") || strings.Contains(l.String(), "server-secret") {
		t.Errorf("logged is\n%s", l)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRefusedServers(t *testing.T) {
	t.Parallel()
	answers := func(f func(http.ResponseWriter)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { f(w) })
	}
	tests := map[string]struct {
		h    http.Handler
		says []string
	}{
		"401": {answers(func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }), []string{"401 Unauthorized"}},
		"redirect": {answers(func(w http.ResponseWriter) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusPermanentRedirect)
		}), []string{"redirect", "url"}},
		"web page": {answers(func(w http.ResponseWriter) { io.WriteString(w, "<html>") }), []string{"text/html"}},
		"garbage": {answers(func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, "{")
		}), []string{"not MCP"}},
		"no list": {rpcWithoutList(), []string{"listing its tools", "nobody ***"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, l := newRoom(t, Server{Name: "bad", URL: serve(t, tt.h).URL, Headers: map[string]string{"Authorization": "Bearer server-secret"}})
			waitDown(t, r, "bad", tt.says...)
			if strings.Contains(r.Status()[0].Reason+l.String(), "server-secret") {
				t.Errorf("a secret is told: %s", l)
			}
			if offered(r) != "" || r.Status()[0].Tools != 0 {
				t.Errorf("offers %s", offered(r))
			}
		})
	}
}

func rpcWithoutList() http.Handler {
	fine := crooked("", nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("tools/list")) {
			r.Body = io.NopCloser(bytes.NewReader(body))
			fine.ServeHTTP(w, r)
			return
		}
		var a ask
		_ = json.Unmarshal(body, &a)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"nobody server-secret"}}`, a.ID)
	})
}

func TestHostileCatalogues(t *testing.T) {
	many := make([]string, 600)
	for i := range many {
		many[i] = fmt.Sprintf("t%03d", i)
	}
	long := strings.Repeat("n", 100<<10)
	heavy := make([]string, 122)
	for i := range heavy {
		heavy[i] = fmt.Sprintf(`{"name":"t%03d","inputSchema":{"type":"object","title":%q}}`, len(heavy)-i, long[:30<<10])
	}
	tests := map[string]struct {
		tools string
		check func(*testing.T, *Room)
	}{
		"too many": {toolNamed(many...), func(t *testing.T, r *Room) {
			if n := len(r.All()); n != mostTools {
				t.Errorf("%d tools are offered, want %d", n, mostTools)
			}
		}},
		"too heavy": {strings.Join(heavy, ","), func(t *testing.T, r *Room) {
			size := 0
			for _, o := range r.All() {
				size += len(o.Schema)
			}
			if all := r.All(); size > mostOffered || size < mostOffered-31<<10 || all[0].Name != "kb_bad_t001" || len(all) != 17 {
				t.Errorf("%d tools of %d bytes are offered", len(all), size)
			}
		}},
		"prompt-sized": {
			fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{}},{"name":"fat","inputSchema":{"type":"object","title":%q}},{"name":"twin","inputSchema":{}},{"name":"twin","inputSchema":{}},{"name":"","inputSchema":{}}`, long, long, long),
			func(t *testing.T, r *Room) {
				all := r.All()
				if len(all) != 2 || len(all[0].Name) > longestName || len(all[0].Description) > longestText || all[1].Name != "kb_bad_twin" {
					t.Errorf("offers %d tools: %.500v", len(all), all)
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, l := newRoom(t, Server{Name: "bad", URL: serve(t, crooked(tt.tools, nil)).URL})
			waitUp(t, r, "bad")
			tt.check(t, r)
			if logged := l.String(); len(logged) > 4<<10 || !strings.Contains(logged, "left out") {
				t.Errorf("%d bytes are logged: %.2000s", len(logged), logged)
			}
		})
	}
}

// What a server repeats of what it was given reaches neither a model nor the log, if
// that is a credential.
func TestRepeatedCredentials(t *testing.T) {
	const secret = `server"secret\x`
	quoted, _ := json.Marshal("of production with " + secret)
	tools := fmt.Sprintf(`{"name":"x","description":%s,"inputSchema":{"type":"object","title":%s}},{"name":"server-secret-2","inputSchema":{}}`, quoted, quoted)
	srv := serve(t, crooked(tools, func(w http.ResponseWriter, _ *http.Request, a ask) {
		answer(w, a, fmt.Sprintf(`{"content":[{"type":"text","text":%s}],"isError":false}`, quoted))
	}))
	r, l := newRoom(t, Server{
		Name: "one", URL: srv.URL,
		Headers: map[string]string{"X-Key": secret, "Authorization": "Bearer server-secret-2", "X-Stage": "production"}, Public: []string{"X-Stage"},
	})
	waitUp(t, r, "one")
	all := r.All()
	if len(all) != 1 || all[0].Description != "of production with ***" || string(all[0].Schema) != `{"title":"of production with ***","type":"object"}` {
		t.Errorf("offers %v", all)
	}
	wants(t, r, "kb_one_x", ledger.ToolOK, "of production with ***")
	if strings.Contains(l.String(), "server-secret") || !strings.Contains(l.String(), "repeats a credential") {
		t.Errorf("logged is\n%s", l)
	}
	s := r.servers[0]
	if got := s.masked(errors.New(strings.Repeat("a", 90)+"server-secret-2"), 100); strings.Contains(got, "server") {
		t.Errorf("what is cut is not masked: %s", got)
	}
}

func TestEndlessPages(t *testing.T) {
	var pages atomic.Int64
	base := crooked("", nil)
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte("tools/list")) {
			base.ServeHTTP(w, r)
			return
		}
		var a ask
		_ = json.Unmarshal(body, &a)
		answer(w, a, fmt.Sprintf(`{"tools":[],"nextCursor":"p%d"}`, pages.Add(1)))
	}))
	r, _ := newRoom(t, Server{Name: "bad", URL: srv.URL})
	waitUp(t, r, "bad")
	if n := pages.Load(); n != mostPages {
		t.Errorf("%d pages are read, want %d", n, mostPages)
	}
}

func TestServerAsks(t *testing.T) {
	t.Parallel()
	// What servers ask of clients is refused, in both eras; the call goes on or ends.
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			s := newServer()
			addTool(s, "elicit", func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				_, err := req.Session.Elicit(ctx, &sdk.ElicitParams{Message: "your token?"})
				return say(fmt.Sprintf("refused: %t", err != nil)), nil
			})
			addTool(s, "roots", func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				_, err := req.Session.ListRoots(ctx, nil) //nolint:staticcheck // as long as servers may ask
				return say(fmt.Sprintf("refused: %t", err != nil)), nil
			})
			addTool(s, "input", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"q": &sdk.ElicitParams{Message: "your token?"}}}, nil
			})
			r, _ := newRoom(t, Server{Name: "one", URL: host(t, s, era.options).URL, Timeout: 5 * time.Second})
			waitUp(t, r, "one")
			wants(t, r, "kb_one_elicit", ledger.ToolOK, "refused: true")
			wants(t, r, "kb_one_roots", ledger.ToolOK, "refused: true")
			if era.options.Stateless {
				wants(t, r, "kb_one_input", ledger.ToolInvalid, "ask the user")
			} else {
				wants(t, r, "kb_one_input", ledger.ToolInvalid, "refused by the server")
			}
		})
	}
}

func TestArguments(t *testing.T) {
	r, _ := newRoom(t, Server{Name: "one", URL: host(t, newServer("echo"), sdk.StreamableHTTPOptions{Stateless: true}).URL})
	waitUp(t, r, "one")
	for args, want := range map[string]ledger.ToolOutcome{
		"": ledger.ToolOK, "null": ledger.ToolOK, `{"a":"<&>"}`: ledger.ToolOK,
		"[]": ledger.ToolRefused, `{"a":`: ledger.ToolRefused, `"x"`: ledger.ToolRefused, "{}{}": ledger.ToolRefused,
	} {
		res, use := call(t, r, "kb_one_echo", args)
		if use.Outcome != want || res.IsError != (want != ledger.ToolOK) || use.Server != "one" || use.Tool != "echo" {
			t.Errorf("%s: %+v %+v", args, use, res)
		}
		if want == ledger.ToolRefused && !strings.Contains(text(res), "JSON object") {
			t.Errorf("%s: the model is told %s", args, text(res))
		}
	}
}

func TestSlotsAndCancelling(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 2)
	s := newServer()
	addTool(s, "slow", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		entered <- struct{}{}
		<-hold
		return say("done"), nil
	})
	r, _ := newRoom(t, Server{Name: "one", URL: host(t, s, sdk.StreamableHTTPOptions{Stateless: true}).URL, MaxConcurrent: 1, Timeout: 300 * time.Millisecond})
	waitUp(t, r, "one")
	var under sync.WaitGroup
	under.Go(func() { wants(t, r, "kb_one_slow", ledger.ToolTimeout, "did not answer within") })
	<-entered
	under.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	under.Go(func() {
		<-entered
		cancel()
	})
	if _, use := r.Call(ctx, ledger.Principal{}, llm.ToolCall{Name: "kb_one_slow"}); use.Outcome != ledger.ToolCancelled {
		t.Errorf("the client has left: %+v", use)
	}
	under.Wait()
	// The only slot is taken.
	srv := r.servers[0]
	srv.slots <- struct{}{}
	wants(t, r, "kb_one_slow", ledger.ToolTimeout, "too many calls")
	<-srv.slots
	close(hold)
}

// What a server says of a refusal may quote the arguments, and is marked so that nobody
// keeps it by mistake.
func TestServersOwnWordsAreMarked(t *testing.T) {
	t.Parallel()
	s := newServer()
	addTool(s, "pay", func(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return nil, fmt.Errorf("no card in %s", req.Params.Arguments)
	})
	addTool(s, "large", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: strings.Repeat("x", 8<<20)}}}, nil
	})
	r, _ := newRoom(t, Server{Name: "one", URL: host(t, s, sdk.StreamableHTTPOptions{Stateless: true}).URL, Timeout: 5 * time.Second})
	waitUp(t, r, "one")
	for tool, quotes := range map[string]bool{"kb_one_pay": true, "kb_one_large": false} {
		_, use := call(t, r, tool, `{"card":"4111"}`)
		_, marked := errors.AsType[ledger.ToldError](use.Err)
		if use.Outcome != ledger.ToolInvalid || marked != quotes || strings.Contains(use.Err.Error(), "4111") != quotes {
			t.Errorf("%s: %s, marked %t: %v", tool, use.Outcome, marked, use.Err)
		}
	}
}
