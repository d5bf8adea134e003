package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// kit is an MCP server with tools for tests.
type kit struct {
	url string

	mu      sync.Mutex
	ran     []string // the tools, as they were called
	between func()   // runs in the tool trouble
	waiting chan struct{}
	heard   chan struct{} // ends the tool wait
}

// noted are the tools that were called since the last time.
func (k *kit) noted() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	ran := k.ran
	k.ran = nil
	return ran
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{waiting: make(chan struct{}), heard: make(chan struct{})}
	s := mcp.NewServer(&mcp.Implementation{Name: "kit", Version: "1"}, nil)
	add := func(name string, run func(ctx context.Context) *mcp.CallToolResult) {
		mcp.AddTool(s, &mcp.Tool{Name: name, Description: "Does " + name + "."}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			k.mu.Lock()
			k.ran = append(k.ran, name)
			k.mu.Unlock()
			return run(ctx), nil, nil
		})
	}
	says := func(text string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}
	}
	type said struct {
		Text string `json:"text"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "echo", Description: "Repeats a text."}, func(_ context.Context, _ *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
		k.mu.Lock()
		k.ran = append(k.ran, "echo")
		k.mu.Unlock()
		return says("echo: <" + in.Text + ">"), nil, nil
	})
	add("look", func(context.Context) *mcp.CallToolResult { return says("all is well") })
	add("fail", func(context.Context) *mcp.CallToolResult {
		r := says("it is broken")
		r.IsError = true
		return r
	})
	add("draw", func(context.Context) *mcp.CallToolResult {
		r := says("here:")
		r.Content = append(r.Content, &mcp.ImageContent{MIMEType: "image/png", Data: []byte("\x89PNG\r\n\x1a\n")})
		return r
	})
	// meet ends when it is called twice at once.
	add("meet", func(ctx context.Context) *mcp.CallToolResult {
		select {
		case k.waiting <- struct{}{}:
		case <-k.waiting:
		case <-ctx.Done():
			return says("nobody came")
		case <-time.After(10 * time.Second):
			return says("nobody came")
		}
		return says("met")
	})
	add("wait", func(ctx context.Context) *mcp.CallToolResult {
		select {
		case <-k.heard:
			return says("heard")
		case <-ctx.Done():
		case <-time.After(5 * time.Second): // before a ping takes along what is to be sent
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ran = append(k.ran, "in vain")
		return says("not heard")
	})
	add("trouble", func(context.Context) *mcp.CallToolResult {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.between()
		return says("done")
	})
	srv := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, nil))
	k.url = srv.URL
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return k
}

// stage is a gateway with central tools between SDKs and a simulator.
type stage struct {
	simulation
	kit     *kit
	metrics string
	file    string // the gateway's configuration
}

var simulatorGreeting = regexp.MustCompile(`The simulator answers on (http://\S+)\n`)

// looping starts a simulator with two keys for each provider, a gateway in front of
// it, and the kit.
func looping(t *testing.T) *stage {
	t.Helper()
	k := newKit(t)
	sim := launch(t, simulatorGreeting, "simulate", "--listen", "127.0.0.1:0", "--keys", "2")[1]
	var config strings.Builder
	fmt.Fprintf(&config, "tokens: [%q]\nproviders:\n", "literal:"+token)
	for kind, base := range map[string]string{"openai": "/openai/v1", "anthropic": "/anthropic"} {
		fmt.Fprintf(&config, "  - name: %[1]s\n    kind: %[1]s\n    base_url: %[2]s\n    probe: off\n    keys:\n", kind, sim+base)
		for i := range 2 {
			fmt.Fprintf(&config, "      - {id: k%d, secret: 'literal:sk-simulated-%s-key-%d'}\n", i, kind, i)
		}
	}
	fmt.Fprintf(&config, "mcp:\n  servers:\n    - {name: kit, url: %q}\n", k.url)
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stage{simulation: simulation{admin: sim + "/simulator/"}, kit: k, file: file}
	s.gateway, s.metrics = s.start(t)
	return s
}

// again starts another gateway, which knows nothing of the first.
func (s *stage) again(t *testing.T) (gateway string) {
	t.Helper()
	gateway, _ = s.start(t)
	return gateway
}

// start returns when the gateway has the kit's tools.
func (s *stage) start(t *testing.T) (gateway, metrics string) {
	t.Helper()
	gateway, admin := serve(t, "--config", s.file)
	metrics = admin + "/metrics"
	for end := time.Now().Add(20 * time.Second); metric(t, metrics, `keybridge_mcp_server_up{server="kit"}`) != "1"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the gateway does not reach the MCP server")
		}
	}
	return gateway, metrics
}

// metric is the value of a series at the URL, "" if there is none.
func metric(t *testing.T, url, series string) string {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// served is what the simulator has counted for all keys.
type served struct {
	Requests int64
	In, Out  int64
}

func (s *stage) served(t *testing.T) (all served) {
	t.Helper()
	var keys []struct {
		Requests int64
		In       int64 `json:"input_tokens"`
		Out      int64 `json:"output_tokens"`
	}
	if err := json.Unmarshal(s.do(t, http.MethodGet, "keys", ""), &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		all.Requests += k.Requests
		all.In += k.In
		all.Out += k.Out
	}
	return all
}
