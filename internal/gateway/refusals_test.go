package gateway_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/ledger"
	"keybridge/internal/wire"
)

// What is not for the gateway is refused in the dialect, and says what would be.
func TestRefusals(t *testing.T) {
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"}
	tests := []struct {
		name, method, path string
		header             []string
		host               string
		status             int
		anthropic          bool
		says               string
	}{
		{"WebSocket", "GET", "/v1/responses", upgrade, "", 426, false, "WebSocket"},
		{"disabled", "POST", "/off/v1/chat/completions", nil, "", 503, false, "switched off"},
		{"twice /v1", "POST", "/v1/v1/messages", nil, "", 404, true, "ANTHROPIC_BASE_URL to http://127.0.0.1"},
		{"administration", "GET", "/v1/organization/costs", nil, "", 404, false, "administration"},
		{"administration of Anthropic", "GET", "/anthropic/v1/organizations/api_keys", nil, "", 404, true, "administration"},
		{"unknown path", "GET", "/v1/nothing", nil, "", 404, false, "not served"},
		{"unknown method", "PUT", "/v1/chat/completions", nil, "", 404, false, "POST"},
		{"dot segments", "GET", "/v1/models/%2e%2e/organization", nil, "", 404, false, ""},
		{"foreign host", "POST", "/v1/messages", nil, "evil.test", 403, true, "loopback"},
		{"foreign origin", "POST", "/v1/chat/completions", []string{"Origin", "https://evil.test"}, "", 403, false, "web pages"},
		{"null origin", "POST", "/v1/chat/completions", []string{"Origin", "null"}, "", 403, false, "web pages"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(http.ResponseWriter, *http.Request, string, int) { t.Error("the upstream is asked") }})
			before := r.families()
			req := request(context.Background(), tt.method, tt.path, "", tt.header...)
			if tt.host != "" {
				req.Host = tt.host
			}
			got := r.do(req)
			diff(t, "status", tt.status, got.Status)
			diff(t, "media type", "application/json", got.Header.Get("Content-Type"))
			if said := gjson.Get(got.Body, "error.message").Str; said == "" || !strings.Contains(said, tt.says) {
				t.Errorf("it says %q", got.Body)
			}
			diff(t, "shape", tt.anthropic, gjson.Get(got.Body, "type").Str == "error")
			e := r.ended()
			diff(t, "status", ledger.Failed, e.Status)
			diff(t, "pools", before, r.families())
			if tt.status == 426 {
				diff(t, "upgrade", "HTTP/1.1", got.Header.Get("Upgrade"))
			}
		})
	}
}

// buggy is a dialect that panics on an event that says so.
type buggy struct{ dialect.Dialect }

func (b buggy) Observe() dialect.Observer { return buggyObserver{b.Dialect.Observe()} }

type buggyObserver struct{ dialect.Observer }

func (o buggyObserver) Event(e wire.Event) dialect.Kind {
	if bytes.Contains(e.Data, []byte("BUG")) {
		panic("a bug")
	}
	return o.Observer.Event(e)
}

// A bug costs one connection: it is told of, the key is given back, and the next
// request is served.
func TestPanic(t *testing.T) {
	bug := strings.Replace(textChunk, "Hi", "BUG", 1)
	for name, begin := range map[string][]string{"before the commit": {roleChunk, bug}, "after it": {roleChunk, textChunk, bug}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, chat: buggy{chat.New()}, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
				if n == 0 {
					sse(w, begin...)
				}
				sse(w, roleChunk, textChunk, finishChunk, doneChunk)
			}})
			got := r.post("/v1/chat/completions", chatRequest)
			if got.Err == nil {
				t.Errorf("got %+v", got)
			}
			e := r.ended()
			diff(t, "status", ledger.Failed, e.Status)
			if e.Err == nil || !strings.Contains(e.Err.Error(), "a bug") {
				t.Errorf("the ledger says %v", e.Err)
			}
			if log := r.logs.String(); !strings.Contains(log, "a bug") || !strings.Contains(log, e.ID) || !strings.Contains(log, "buggyObserver") {
				t.Errorf("the log says %q", log)
			}
			diff(t, "body", roleChunk+textChunk+finishChunk+doneChunk, r.post("/v1/chat/completions", chatRequest).Body)
			r.ended()
			r.pool("openai", "failover_attempts 2/2 call_attempts 2/2 failovers 0 transitions 0")
			r.idle()
		})
	}
}
