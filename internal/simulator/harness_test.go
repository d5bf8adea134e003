package simulator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/simulator"
	"keybridge/internal/testkit"
)

var keys = []simulator.Key{
	{Provider: simulator.OpenAI, Name: "k0", Secret: "sk-proj-000000000000000000000000", Organization: "org-a", Project: "proj_a"},
	{Provider: simulator.OpenAI, Name: "k1", Secret: "sk-proj-111111111111111111111111"},
	{Provider: simulator.Anthropic, Name: "k0", Secret: "sk-ant-api03-0000000000000000000"},
	{Provider: simulator.Anthropic, Name: "k1", Secret: "sk-ant-api03-1111111111111111111"},
}

func options(fs ...simulator.Fault) simulator.Options {
	return simulator.Options{Keys: keys, Faults: fs, Deterministic: true}
}

// rig is a simulator behind a real server and a client of it.
type rig struct {
	*simulator.Simulator
	t      *testing.T
	client *http.Client
	base   string
}

// overTCP serves on loopback.
func overTCP(t *testing.T, o simulator.Options) *rig {
	sim := simulator.New(o)
	srv := httptest.NewServer(sim)
	tr := &http.Transport{DisableKeepAlives: true} // on a used connection net/http sends a GET again by itself
	t.Cleanup(func() {
		sim.Close()
		tr.CloseIdleConnections()
		srv.Close()
	})
	return &rig{Simulator: sim, t: t, client: &http.Client{Transport: tr}, base: srv.URL}
}

// inMemory serves over the listener of testkit, also in a bubble.
func inMemory(t *testing.T, o simulator.Options) *rig {
	sim := simulator.New(o)
	l := testkit.NewListener()
	srv := &http.Server{Handler: sim}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	tr := &http.Transport{DialContext: l.Dial, DisableKeepAlives: true}
	t.Cleanup(func() {
		sim.Close()
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-done
	})
	return &rig{Simulator: sim, t: t, client: &http.Client{Transport: tr}, base: "http://provider"}
}

// asking is one request; the path decides the provider.
type asking struct {
	method, path, body string
	key                int // k0 or k1
	header             http.Header
	patience           time.Duration // 0: any
}

func (g *rig) send(a asking) (*http.Response, error) {
	g.t.Helper()
	ctx := g.t.Context()
	if a.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.patience)
		g.t.Cleanup(cancel)
	}
	if a.method == "" {
		a.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, a.method, g.base+a.path, strings.NewReader(a.body))
	if err != nil {
		g.t.Fatal(err)
	}
	if a.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(a.path, "/anthropic") {
		req.Header.Set("X-Api-Key", keys[2+a.key].Secret)
		req.Header.Set("Anthropic-Version", "2023-06-01")
	} else {
		req.Header.Set("Authorization", "Bearer "+keys[a.key].Secret)
	}
	for k, v := range a.header {
		req.Header[k] = v
		if v == nil {
			delete(req.Header, k)
		}
	}
	return g.client.Do(req)
}

// got is an answer read to its end.
type got struct {
	status int
	header http.Header
	body   []byte
	err    error // of the body
}

func (g *rig) ask(a asking) got {
	g.t.Helper()
	resp, err := g.send(a)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, resp.Header, body, err}
}

// must is a good answer.
func (g *rig) must(a asking) got {
	g.t.Helper()
	r := g.ask(a)
	if r.status != http.StatusOK || r.err != nil {
		g.t.Fatalf("%s: %d %s %v", a.path, r.status, r.body, r.err)
	}
	return r
}

func (r got) get(path string) gjson.Result { return gjson.GetBytes(r.body, path) }

// broke names a transport error.
func broke(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "silence"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	return err.Error()
}

// event is a server-sent event.
type event struct {
	name string
	data gjson.Result
}

// events reads a stream strictly: one optional event line, one data line, a blank.
func events(t *testing.T, body []byte) (out []event) {
	t.Helper()
	if len(body) == 0 {
		return nil
	}
	text, whole := strings.CutSuffix(string(body), "\n\n")
	if !whole {
		t.Errorf("the last event has no blank line: %q", tail(body))
	}
	for f := range strings.SplitSeq(text, "\n\n") {
		name := ""
		lines := strings.Split(f, "\n")
		if n, ok := strings.CutPrefix(lines[0], "event: "); ok {
			name, lines = n, lines[1:]
		}
		data, ok := strings.CutPrefix(lines[0], "data: ")
		if !ok || len(lines) != 1 {
			t.Errorf("not an event: %q", f)
			continue
		}
		if data != "[DONE]" && !gjson.Valid(data) {
			t.Errorf("not JSON: %q", data)
		}
		out = append(out, event{name, gjson.Parse(data)})
	}
	return out
}

func tail(b []byte) []byte { return b[max(0, len(b)-200):] }

// api is how a test asks and reads one of the three.
type api struct {
	name, path, model string
	body              func(prompt, more string) string
	text              string // where a whole answer has its text
	check             func(t *testing.T, all []event) spoken
	content           func(event) bool
}

// spoken is what a stream said.
type spoken struct {
	text, args, thinking, stop, usage string
}

const tools = `{"type":"object","properties":{"q":{"type":"string"},"n":{"type":"integer"},"x":{"type":"string"}},"required":["q","n"]}`

var apis = []api{
	{
		name: "chat", path: "/openai/v1/chat/completions", model: "gpt-4o", text: "choices.0.message.content",
		body: func(prompt, more string) string {
			return `{"model":"gpt-4o","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"` + prompt + `"}],
				"tools":[{"type":"function","function":{"name":"look","parameters":` + tools + `}},{"type":"function","function":{"name":"find"}}]` + more + `}`
		},
		check: checkChat,
		content: func(e event) bool {
			d := e.data.Get("choices.0.delta")
			return d.Get("content").String() != "" || d.Get("tool_calls").Exists()
		},
	},
	{
		name: "responses", path: "/openai/v1/responses", model: "gpt-5.6", text: `output.#(type=="message").content.0.text`,
		body: func(prompt, more string) string {
			return `{"model":"gpt-5.6","instructions":"be kind","input":[{"role":"user","content":[{"type":"input_text","text":"` + prompt + `"}]}],
				"tools":[{"type":"function","name":"look","parameters":` + tools + `},{"type":"function","name":"find"}]` + more + `}`
		},
		check:   checkResponses,
		content: func(e event) bool { return strings.HasSuffix(e.name, ".delta") },
	},
	{
		name: "messages", path: "/anthropic/v1/messages", model: "claude-haiku-4-5", text: `content.#(type=="text").text`,
		body: func(prompt, more string) string {
			if !strings.Contains(more, "max_tokens") {
				more += `,"max_tokens":4096`
			}
			return `{"model":"claude-haiku-4-5","system":[{"type":"text","text":"be kind"}],"messages":[{"role":"user","content":[{"type":"text","text":"reminder"},{"type":"text","text":"` + prompt + `"}]}],
				"tools":[{"name":"look","input_schema":` + tools + `},{"name":"find","input_schema":{"type":"object"}}]` + more + `}`
		},
		check:   checkMessages,
		content: func(e event) bool { return e.name == "content_block_delta" },
	},
}

const streaming = `,"stream":true`

// isBytes compares two bodies.
func isBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}
