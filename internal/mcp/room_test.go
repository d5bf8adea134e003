package mcp

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

func TestEras(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			s := newServer("echo", "b", "c", "d", "e") // three pages
			r, l := newRoom(t, Server{Name: "one", URL: host(t, s, era.options).URL, Headers: map[string]string{"Authorization": "Bearer server-secret"}})
			waitUp(t, r, "one")
			if got, want := offered(r), "kb_one_b kb_one_c kb_one_d kb_one_e kb_one_echo"; got != want {
				t.Errorf("offers %s, want %s", got, want)
			}
			wants(t, r, "kb_one_echo", ledger.ToolOK, `called with {"a":1}`)
			addTool(s, "late", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) { return say("here"), nil })
			until(t, "the change of the list arrives", func() bool { return strings.Contains(offered(r), "kb_one_late") })
			wants(t, r, "kb_one_late", ledger.ToolOK, "here")
			s.RemoveTools("late")
			until(t, "the tool is withdrawn", func() bool { return !strings.Contains(offered(r), "kb_one_late") })
			wants(t, r, "kb_one_late", ledger.ToolRefused, "no tool")

			st := r.Status()[0]
			if !st.Up || st.Reason != "" || st.Tools != 5 || st.Protocol != era.protocol || st.Since.IsZero() {
				t.Errorf("status is %+v", st)
			}
			if strings.Count(l.String(), "\n") != 1 || !strings.Contains(l.String(), "MCP server is up") {
				t.Errorf("one line is due, logged is\n%s", l)
			}
		})
	}
}

func TestOldRevision(t *testing.T) {
	// A server that settles on 2025-06-18, and does not answer what it does not know.
	quiet := make(chan struct{})
	t.Cleanup(func() { close(quiet) })
	var versions sync.Map
	srv := serve(t, rpc(func(w http.ResponseWriter, r *http.Request, a ask) {
		switch a.Method {
		case "initialize":
			answer(w, a, `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"1"}}`)
		case "tools/list":
			versions.Store(r.Header.Get("Mcp-Protocol-Version"), true)
			answer(w, a, `{"tools":[{"name":"x","inputSchema":{"type":"object"}}]}`)
		case "server/discover":
			select {
			case <-quiet:
			case <-r.Context().Done():
			}
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	r, _ := newRoom(t, Server{Name: "old", URL: srv.URL, ConnectTimeout: 300 * time.Millisecond})
	waitUp(t, r, "old")
	if st := r.Status()[0]; st.Protocol != "2025-06-18" || st.Tools != 1 {
		t.Errorf("status is %+v", st)
	}
	if _, ok := versions.Load("2025-06-18"); !ok {
		t.Error("the revision agreed on is not sent")
	}
}

func TestDeadServerIsSkippedAndComesBack(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			s := newServer("echo")
			live := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &era.options)
			var broken atomic.Bool
			broken.Store(true)
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					panic(http.ErrAbortHandler)
				}
				live.ServeHTTP(w, r)
			}))
			r, l := newRoom(t, Server{Name: "bad", URL: srv.URL}, Server{Name: "good", URL: host(t, newServer("echo"), era.options).URL})
			waitUp(t, r, "good")
			waitDown(t, r, "bad", "EOF")
			if offered(r) != "kb_good_echo" {
				t.Errorf("offers %s", offered(r))
			}
			broken.Store(false)
			waitUp(t, r, "bad")
			if got := offered(r); got != "kb_bad_echo kb_good_echo" {
				t.Errorf("offers %s", got)
			}
			broken.Store(true)
			srv.CloseClientConnections()
			wants(t, r, "kb_bad_echo", ledger.ToolUnavailable, `The tool "echo" of the server "bad"`)
			waitDown(t, r, "bad", "EOF")
			if offered(r) != "kb_good_echo" {
				t.Errorf("offers what cannot be called: %s", offered(r))
			}
			wants(t, r, "kb_bad_echo", ledger.ToolUnavailable, "is down")
			broken.Store(false)
			waitUp(t, r, "bad")
			wants(t, r, "kb_bad_echo", ledger.ToolOK, "called")
			if diff := cmp.Diff([]int{2, 2}, []int{strings.Count(l.String(), "level=WARN"), strings.Count(l.String(), "server=bad") - 2}); diff != "" {
				t.Errorf("one line each time is due (-want +got)\n%s\n%s", diff, l)
			}
		})
	}
}

func TestForgottenSession(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusBadRequest} {
		s := newServer("echo")
		var begun, calls atomic.Int64
		addTool(s, "count", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			calls.Add(1)
			return say("counted"), nil
		})
		handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
		var forgotten sync.Map
		var last atomic.Value
		srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := r.Header.Get("Mcp-Session-Id")
			if _, gone := forgotten.Load(id); gone {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`))
				return
			}
			if id != "" && last.Swap(id) != id {
				begun.Add(1)
			}
			handler.ServeHTTP(w, r)
		}))
		r, l := newRoom(t, Server{Name: "one", URL: srv.URL})
		waitUp(t, r, "one")
		wants(t, r, "kb_one_count", ledger.ToolOK, "counted")
		forgotten.Store(last.Load(), true)
		wants(t, r, "kb_one_count", ledger.ToolOK, "counted")
		if begun.Load() != 2 || calls.Load() != 2 {
			t.Errorf("%d sessions and %d calls, want 2 and 2", begun.Load(), calls.Load())
		}
		if strings.Contains(l.String(), "down") {
			t.Errorf("a new session is no outage:\n%s", l)
		}
	}
}

func TestReloadKeepsSessions(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			var begun, lists atomic.Int64
			count := func(s *sdk.Server) http.Handler {
				h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &era.options)
				s.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
					return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
						res, err := next(ctx, method, req)
						switch {
						case method == "tools/list":
							lists.Add(1)
						case err == nil && (method == "initialize" || method == "server/discover"):
							begun.Add(1)
						}
						return res, err
					}
				})
				return h
			}
			hold := make(chan struct{})
			entered := make(chan struct{}, 1)
			s := newServer("echo")
			addTool(s, "slow", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				entered <- struct{}{}
				<-hold
				return say("done"), nil
			})
			one := Server{Name: "one", URL: serve(t, count(s)).URL, Timeout: 30 * time.Second}
			two := Server{Name: "two", URL: host(t, newServer("echo"), era.options).URL}
			r, l := newRoom(t, one, two)
			waitUp(t, r, "one", "two")
			sessions, listed := begun.Load(), lists.Load()

			var under sync.WaitGroup
			under.Go(func() { wants(t, r, "kb_one_slow", ledger.ToolOK, "done") })
			<-entered
			other := two
			other.Deny = []string{"echo"}
			next := roomAfter(t, r, l, other, one)
			waitUp(t, next, "one", "two")
			under.Go(func() { r.Close(t.Context()) })
			until(t, "the catalogue is asked for again", func() bool { return lists.Load() > listed })
			if begun.Load() != sessions {
				t.Errorf("%d sessions were begun, want the %d there were", begun.Load(), sessions)
			}
			if got := offered(next); got != "kb_one_echo kb_one_slow" {
				t.Errorf("offers %s", got)
			}
			close(hold)
			under.Wait()
			wants(t, next, "kb_one_echo", ledger.ToolOK, "called")
			wants(t, r, "kb_two_echo", ledger.ToolUnavailable, "not offered any more")
			wants(t, r, "kb_one_echo", ledger.ToolOK, "called") // an exchange keeps the room it began with
			next.Close(t.Context())
			wants(t, next, "kb_one_echo", ledger.ToolUnavailable, "not offered any more")
		})
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	entered := make(chan struct{})
	s := newServer()
	addTool(s, "slow", func(ctx context.Context, _ *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	r, _ := newRoom(t, Server{Name: "one", URL: host(t, s, sdk.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true}).URL, Timeout: time.Hour})
	waitUp(t, r, "one")
	var under sync.WaitGroup
	under.Go(func() { wants(t, r, "kb_one_slow", ledger.ToolUnavailable, "") })
	<-entered
	r.Close(over())
	under.Wait()
}

func TestWhoGetsWhat(t *testing.T) {
	modern := sdk.StreamableHTTPOptions{Stateless: true}
	r, _ := newRoom(
		t,
		Server{Name: "all", URL: host(t, newServer("get_a", "get_b", "set_a", "drop"), modern).URL, Allow: []string{"get_*", "drop"}, Deny: []string{"*_b"}},
		Server{Name: "ops", URL: host(t, newServer("deploy"), modern).URL, Tokens: []string{"root", "ci"}},
	)
	waitUp(t, r, "all", "ops")
	for who, want := range map[string]string{"": "kb_all_drop kb_all_get_a", "dev": "kb_all_drop kb_all_get_a", "ci": "kb_all_drop kb_all_get_a kb_ops_deploy"} {
		if got := names(r.Of(ledger.Principal{Name: who})); got != want {
			t.Errorf("%q is offered %s, want %s", who, got, want)
		}
	}
	if a, b := r.Of(ledger.Principal{})[0], r.Of(ledger.Principal{Name: "ci"})[0]; a.Forms == nil || a.Forms != b.Forms {
		t.Error("a definition is made anew for each request")
	}
	if got := len(r.All()); got != 3 {
		t.Errorf("all callers together are offered %d tools, want 3", got)
	}
	wants(t, r, "kb_ops_deploy", ledger.ToolRefused, "no tool") // who calls is "dev"
	wants(t, r, "kb_all_set_a", ledger.ToolRefused, "no tool")
	want := Offer{Server: "ops", Tool: "deploy"}
	want.Name, want.Description, want.Schema = "kb_ops_deploy", "does deploy", []byte(`{"type":"object"}`)
	if diff := cmp.Diff(want, r.Offers(ledger.Principal{Name: "root"})[2], cmpopts.IgnoreFields(llm.ToolDef{}, "Forms")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestOnlyItsOwnHeaders(t *testing.T) {
	s := newServer("echo")
	addTool(s, "leak", func(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return say("I was given " + req.Extra.Header.Get("Authorization")), nil
	})
	var seen sync.Map
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range r.Header {
			seen.Store(k, strings.Join(v, ", "))
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	r, l := newRoom(t, Server{Name: "one", URL: srv.URL, Headers: map[string]string{"Authorization": "Bearer server-secret", "X-Team": "platform", "Mcp-Session-Id": "mine"}})
	waitUp(t, r, "one")
	wants(t, r, "kb_one_leak", ledger.ToolOK, "I was given ***")
	want := map[string]string{
		"Authorization": "Bearer server-secret", "X-Team": "platform", "User-Agent": "keybridge/1", "Content-Type": "application/json",
	}
	known := map[string]bool{
		"Accept": true, "Accept-Encoding": true, "Content-Length": true, "Mcp-Protocol-Version": true, "Mcp-Session-Id": true, "Mcp-Method": true, "Mcp-Name": true,
	}
	seen.Range(func(k, v any) bool {
		if value, mine := want[k.(string)]; mine && v == value {
			delete(want, k.(string))
		} else if !known[k.(string)] {
			t.Errorf("sends %s: %s", k, v)
		}
		return true
	})
	if len(want) > 0 {
		t.Errorf("does not send %v", want)
	}
	if strings.Contains(l.String(), "server-secret") {
		t.Errorf("logs a secret:\n%s", l)
	}
}

// A session whose stream of changes has broken is replaced, without a word.
func TestDeafSession(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			s := newServer("echo")
			srv := host(t, s, era.options)
			r, l := newRoom(t, Server{Name: "one", URL: srv.URL})
			waitUp(t, r, "one")
			first := r.servers[0].sessionNow()
			srv.CloseClientConnections()
			if era.options.Stateless {
				until(t, "another session", func() bool { x := r.servers[0].sessionNow(); return x != nil && x != first })
			}
			addTool(s, "late", func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) { return say("here"), nil })
			until(t, "the change of the list arrives", func() bool { return strings.Contains(offered(r), "kb_one_late") })
			if strings.Contains(l.String(), "down") {
				t.Errorf("that is no outage:\n%s", l)
			}
		})
	}
}

// A server that ends each session is not tried without a rest.
func TestShortSessions(t *testing.T) {
	var begun atomic.Int64
	fine := crooked(toolNamed("x"), nil)
	srv := serve(t, rpcSeen(func(a ask) {
		if a.Method == "initialize" {
			begun.Add(1)
		}
	}, fine))
	l := &logs{}
	never := quick
	never.settled = time.Hour
	r := New(Options{Servers: []Server{{Name: "one", URL: srv.URL}}, Logger: slog.New(slog.NewTextHandler(l, nil)), pace: never}, nil)
	defer r.Close(over())
	s := r.servers[0]
	for range 3 {
		var x *session
		until(t, "a session", func() bool { x = s.sessionNow(); return x != nil })
		x.end(errBroken)
		until(t, "its end", func() bool { return s.sessionNow() != x })
	}
	until(t, "another", func() bool { return s.sessionNow() != nil })
	if n := begun.Load(); n != 4 {
		t.Errorf("%d sessions were begun", n)
	}
	// The first end is no news, the second and the third are.
	if n := strings.Count(l.String(), "MCP server is down"); n != 2 || !strings.Contains(l.String(), "broke off") {
		t.Errorf("down %d times, want 2:\n%s", n, l)
	}
}

func TestNextRefresh(t *testing.T) {
	p := pace{}.withDefaults()
	for ttl, want := range map[time.Duration]time.Duration{
		0: 10 * time.Minute, -1: 10 * time.Minute, time.Millisecond: 30 * time.Second, 2 * time.Minute: 2 * time.Minute, 48 * time.Hour: time.Hour,
	} {
		c := &catalogue{ttl: ttl}
		alone, told := &session{guard: &guard{}}, &session{guard: &guard{}}
		told.guard.streams.Add(1)
		for _, x := range []*session{told, {}} { // one with a stream, and a command
			if got := p.again(x, c); got != want {
				t.Errorf("ttl %s: again in %s, want %s", ttl, got, want)
			}
		}
		if got := p.again(alone, c); got != min(want, time.Minute) {
			t.Errorf("ttl %s: without a stream again in %s", ttl, got)
		}
	}
}

// A session knows whether its server would be heard to end.
func TestStreams(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			t.Parallel()
			r, _ := newRoom(t, Server{Name: "one", URL: host(t, newServer("echo"), era.options).URL})
			waitUp(t, r, "one")
			until(t, "its stream is open", func() bool { return !r.servers[0].sessionNow().alone() })
		})
	}
	srv := serve(t, crooked(toolNamed("x"), nil))
	r, _ := newRoom(t, Server{Name: "none", URL: srv.URL})
	waitUp(t, r, "none")
	if !r.servers[0].sessionNow().alone() {
		t.Error("a server that refuses the stream has one")
	}
	s := newServer("echo")
	r, _ = newRoom(t, Server{Name: "lost", URL: host(t, s, sdk.StreamableHTTPOptions{}).URL})
	waitUp(t, r, "lost")
	x := r.servers[0].sessionNow()
	x.kill()
	until(t, "its stream is closed", x.alone)
}

// What a server says of how long its list holds does not keep a reload from asking.
func TestReloadAsksInSpiteOfTTL(t *testing.T) {
	t.Parallel()
	s := newServer("a", "b", "c")
	var lists atomic.Int64
	s.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
			res, err := next(ctx, method, req)
			if page, ok := res.(*sdk.ListToolsResult); ok {
				lists.Add(1)
				page.TTLMs = int(time.Hour.Milliseconds())
			}
			return res, err
		}
	})
	one := Server{Name: "one", URL: host(t, s, sdk.StreamableHTTPOptions{Stateless: true}).URL}
	r, l := newRoom(t, one)
	waitUp(t, r, "one")
	if got := r.servers[0].catalogue.Load().ttl; got != time.Hour {
		t.Errorf("the list holds for %s", got)
	}
	before := lists.Load()
	roomAfter(t, r, l, one)
	until(t, "all pages are asked for again", func() bool { return lists.Load() == 2*before })
}

// A server whose settings change keeps its tools until its new session is up: what is
// offered does not change for a moment, and calls wait.
func TestChangedServerKeepsItsTools(t *testing.T) {
	t.Parallel()
	s := newServer("echo", "drop")
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
	hold := make(chan struct{})
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-New") != "" {
			<-hold
		}
		handler.ServeHTTP(w, r)
	}))
	old := Server{Name: "one", URL: srv.URL}
	r, l := newRoom(t, old)
	waitUp(t, r, "one")
	changed := Server{Name: "one", URL: srv.URL, Headers: map[string]string{"X-New": "1"}, Deny: []string{"drop"}}
	next := roomAfter(t, r, l, changed)
	if got := offered(next); got != "kb_one_echo" {
		t.Errorf("offers %q while the new session begins", got)
	}
	var under sync.WaitGroup
	under.Go(func() { wants(t, next, "kb_one_echo", ledger.ToolOK, "called with") })
	close(hold)
	under.Wait()
	moved := changed
	moved.URL = host(t, s, sdk.StreamableHTTPOptions{}).URL + "/elsewhere"
	if got := offered(roomAfter(t, next, l, moved)); got != "" {
		t.Errorf("offers %q of another place", got)
	}
	if strings.Contains(l.String(), "down") {
		t.Errorf("that is no outage:\n%s", l)
	}
}

// A changed server that cannot be reached with its new settings is down as any other.
func TestChangedServerFails(t *testing.T) {
	t.Parallel()
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return newServer("echo") }, &sdk.StreamableHTTPOptions{Stateless: true})
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-New") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	r, l := newRoom(t, Server{Name: "one", URL: srv.URL})
	waitUp(t, r, "one")
	next := roomAfter(t, r, l, Server{Name: "one", URL: srv.URL, Headers: map[string]string{"X-New": "1"}})
	waitDown(t, next, "one", "401")
	if offered(next) != "" {
		t.Errorf("offers %s", offered(next))
	}
}

// A server, or a proxy before it, that holds back the head of the stream on which it
// would tell of changes is one without such a stream.
func TestHeldStream(t *testing.T) {
	t.Parallel()
	fine := crooked(toolNamed("x"), func(w http.ResponseWriter, _ *http.Request, a ask) {
		answer(w, a, `{"content":[{"type":"text","text":"fine"}]}`)
	})
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			<-r.Context().Done()
			return
		}
		fine.ServeHTTP(w, r)
	}))
	r, l := newRoom(t, Server{Name: "one", URL: srv.URL, ConnectTimeout: 2 * time.Second})
	waitUp(t, r, "one")
	wants(t, r, "kb_one_x", ledger.ToolOK, "fine")
	if strings.Contains(l.String(), "down") {
		t.Errorf("that is no outage:\n%s", l)
	}
}
