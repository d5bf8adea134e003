package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/metrics/metricstest"
	"keybridge/internal/simulator"
)

// toolServer is an MCP server on a port of its own, with the tools search and close.
type toolServer struct {
	*httptest.Server
	mu      sync.Mutex
	methods map[string]int // of the requests it got
	headers []http.Header
}

func newToolServer(t *testing.T) *toolServer {
	t.Helper()
	room := sdk.NewServer(&sdk.Implementation{Name: "tickets", Version: "1"}, nil)
	type words struct {
		Words string `json:"words"`
	}
	for _, name := range []string{"search", "close"} {
		sdk.AddTool(room, &sdk.Tool{Name: name, Description: "Does a " + name + ".\nSecond line."},
			func(_ context.Context, _ *sdk.CallToolRequest, in words) (*sdk.CallToolResult, any, error) {
				return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "found-" + name + "-" + in.Words}}}, nil, nil
			})
	}
	mcp := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return room }, nil)
	s := &toolServer{methods: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var said struct{ Method string }
		_ = json.Unmarshal(body, &said)
		s.mu.Lock()
		s.methods[r.Method+" "+said.Method]++
		s.headers = append(s.headers, r.Header.Clone())
		s.mu.Unlock()
		mcp.ServeHTTP(w, r)
	}))
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	return s
}

// asked is how often a client has asked for this.
func (s *toolServer) asked(methods ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, method := range methods {
		n += s.methods["POST "+method]
	}
	return n
}

// got calls see with the header of each request so far.
func (s *toolServer) got(see func(http.Header)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.headers {
		see(h)
	}
}

// greeted is how often a session, or what stands for one, has begun.
func (s *toolServer) greeted() int { return s.asked("initialize", "server/discover") }

// eventually waits for something that happens on real sockets.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// offers says whether the gateway offers so many tools to bob.
func (r *running) offers(t *testing.T, n int) func() bool {
	return func() bool {
		code, body := r.do(t, "GET", "http://"+r.Address("admin")+"/tools?token=bob", "")
		var got struct{ Tools []struct{ Name string } }
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		return len(got.Tools) == n
	}
}

func (r *running) reload(t *testing.T) {
	t.Helper()
	if code, body := r.do(t, "POST", "http://"+r.Address("admin")+"/-/reload", ""); code != 200 {
		t.Fatalf("reload: %d %s", code, body)
	}
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const twoTokens = `
tokens: ["env:ALICE", "env:BOB"]
log: {level: debug}
providers:
  - {name: openai, kind: openai, base_url: "%s", keys: [env:A]}
mcp:
  servers:
    - {name: tickets, url: "%s", headers: {Authorization: Bearer env:TICKETS}, deny: ["no-*"]}
    - {name: deploy, url: "http://%s", tokens: [alice]}
`

var toolEnv = map[string]string{
	"A": "sk-key-number-a-000000", "ALICE": "token-of-alice", "BOB": "token-of-bob", "TICKETS": "secret-of-tickets", "OTHER": "secret-of-others",
}

// A gateway with one server that is up and one that is not.
func TestToolServers(t *testing.T) {
	tickets := newToolServer(t)
	path := write(t, "", fmt.Sprintf(twoTokens, "http://upstream.test/v1", tickets.URL, deadAddress(t)))
	r := start(t, path, toolEnv)

	eventually(t, "tickets is up", r.offers(t, 2))
	code, body := r.do(t, "GET", "http://"+r.Address("admin")+"/tools?token=alice", "")
	type server struct {
		Name    string
		Up      bool
		Tools   int
		Callers []string
	}
	var got struct {
		Caller  string
		Servers []server
		Tools   []map[string]string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	want := got
	want.Caller, want.Servers = "alice", []server{{Name: "tickets", Up: true, Tools: 2}, {Name: "deploy", Callers: []string{"alice"}}}
	want.Tools = []map[string]string{
		{"name": "kb_tickets_close", "server": "tickets", "tool": "close", "description": "Does a close."},
		{"name": "kb_tickets_search", "server": "tickets", "tool": "search", "description": "Does a search."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	if code, body := r.do(t, "GET", "http://"+r.Address("admin")+"/tools?token=carol", ""); code != 404 || !strings.Contains(body, "the tokens are alice, bob") {
		t.Errorf("an unknown caller: %d %s", code, body)
	}
	metricstest.Compare(t, r.Gatherer(), `
		# TYPE keybridge_mcp_server_up gauge
		keybridge_mcp_server_up{server="tickets"} 1
		keybridge_mcp_server_up{server="deploy"} 0
		# TYPE keybridge_mcp_server_tools gauge
		keybridge_mcp_server_tools{server="tickets"} 2
		keybridge_mcp_server_tools{server="deploy"} 0
		# TYPE keybridge_injected_tool_invocations_total counter
		`+uninvoked("tickets")+uninvoked("deploy"),
		"keybridge_mcp_server_up", "keybridge_mcp_server_tools", "keybridge_injected_tool_invocations_total")
	tickets.got(func(h http.Header) {
		if h.Get("Authorization") != "Bearer secret-of-tickets" {
			t.Errorf("the server got Authorization %q", h.Get("Authorization"))
		}
	})
	for name, secret := range toolEnv {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("%s is in the log:\n%s", name, r.log)
		}
	}
}

func uninvoked(server string) string {
	var b strings.Builder
	for _, outcome := range []string{"ok", "tool_error", "refused", "timeout", "unavailable", "invalid", "cancelled"} {
		fmt.Fprintf(&b, "keybridge_injected_tool_invocations_total{server=%q,outcome=%q} 0\n", server, outcome)
	}
	return b.String()
}

// What a reload leaves as it was goes on; the rest comes and goes.
func TestToolServersReload(t *testing.T) {
	tickets, gone := newToolServer(t), deadAddress(t)
	text := fmt.Sprintf(twoTokens, "http://upstream.test/v1", tickets.URL, gone)
	path := write(t, "", text)
	r := start(t, path, toolEnv)
	eventually(t, "tickets is up", r.offers(t, 2))

	greeted, listed := tickets.greeted(), tickets.asked("tools/list")
	write(t, path, strings.Replace(text, "level: debug", "level: info", 1))
	r.reload(t)
	if !r.offers(t, 2)() {
		t.Error("the tools of a kept server are gone after a reload")
	}
	eventually(t, "the catalogue is read again", func() bool { return tickets.asked("tools/list") > listed })
	if n := tickets.greeted(); n != greeted {
		t.Errorf("a reload began %d sessions with a server that stayed as it was", n-greeted)
	}

	write(t, path, strings.Replace(text, "TICKETS}", "OTHER}", 1))
	r.reload(t)
	if !r.offers(t, 2)() {
		t.Error("the tools of a changed server are gone until its new session is up")
	}
	eventually(t, "a new credential begins a session", func() bool { return tickets.greeted() > greeted })
	var last string
	tickets.got(func(h http.Header) {
		if h.Get("Authorization") != "Bearer secret-of-tickets" {
			last = h.Get("Authorization")
		}
	})
	if last != "Bearer secret-of-others" {
		t.Errorf("the new session's requests had Authorization %q", last)
	}

	without, _, _ := strings.Cut(text, "mcp:")
	write(t, path, without)
	r.reload(t)
	metricstest.Absent(t, r.Gatherer(), "keybridge_mcp_server_up", "keybridge_mcp_server_tools", "keybridge_injected_tool_invocations_total")
	if !r.offers(t, 0)() {
		t.Error("tools are offered that are not configured")
	}
}

// A conversation of five turns, in four of which the model calls a central tool, from
// the client to the server and back.
func TestToolLoop(t *testing.T) {
	tickets := newToolServer(t)
	sim := simulator.New(simulator.Options{Deterministic: true, Keys: []simulator.Key{{Provider: simulator.OpenAI, Name: "a", Secret: toolEnv["A"]}}})
	t.Cleanup(sim.Close)
	upstream := httptest.NewServer(sim)
	t.Cleanup(upstream.Close)
	r := start(t, write(t, "", fmt.Sprintf(twoTokens, upstream.URL+"/openai/v1", tickets.URL, deadAddress(t))), toolEnv)
	eventually(t, "tickets is up", r.offers(t, 2))

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Address("listen")+"/v1/chat/completions",
		strings.NewReader(`{"model":"gpt-5","messages":[{"role":"user","content":"simulate:tool=kb_tickets_search simulate:tool-turns=4"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+toolEnv["BOB"])
	a := send(t, http.DefaultClient, req)
	if a.Status != 200 || !strings.Contains(a.Body, "found-search-") || strings.Contains(a.Body, "tool_calls") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	tickets.got(func(h http.Header) {
		for _, values := range h {
			if strings.Contains(strings.Join(values, " "), toolEnv["BOB"]) || strings.Contains(strings.Join(values, " "), toolEnv["A"]) {
				t.Errorf("the server was sent what is not its own: %v", h)
			}
		}
	})
	pool := []float64{1, 2, 3, 4, 5, 10, 25}
	metricstest.Compare(t, r.Gatherer(), `
		# TYPE keybridge_injected_tool_invocations_total counter
		`+strings.Replace(uninvoked("tickets"), `outcome="ok"} 0`, `outcome="ok"} 4`, 1)+uninvoked("deploy")+`
		# TYPE keybridge_tool_loop_turns histogram
		`+samples("keybridge_tool_loop_turns", "", []float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 100}, 5)+`
		# TYPE keybridge_key_pool_failover_attempts histogram
		`+samples("keybridge_key_pool_failover_attempts", `provider="openai"`, pool, 5)+`
		# TYPE keybridge_key_pool_call_attempts histogram
		`+samples("keybridge_key_pool_call_attempts", `provider="openai"`, pool, 1, 1, 1, 1, 1),
		"keybridge_injected_tool_invocations_total", "keybridge_tool_loop_turns", "keybridge_key_pool_failover_attempts", "keybridge_key_pool_call_attempts")
	eventually(t, "the access log has the call", func() bool { return strings.Contains(r.log.String(), " tools=4 ") })
}

// samples writes a histogram of these observations.
func samples(name, label string, bounds []float64, values ...float64) string {
	var b strings.Builder
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	for _, bound := range append(bounds, math.Inf(1)) {
		n := 0
		for _, v := range values {
			if v <= bound {
				n++
			}
		}
		fmt.Fprintf(&b, "%s_bucket{%s,le=\"%v\"} %d\n", name, label, bound, n)
	}
	fmt.Fprintf(&b, "%s_sum{%s} %v\n%s_count{%s} %d\n", name, label, sum, name, label, len(values))
	return strings.NewReplacer("{,", "{", "{}", "").Replace(b.String())
}
