package gateway_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"keybridge/internal/auth"
	"keybridge/internal/ledger"
)

const own = "sk-own-0123456789abcdef"

// families is all there is of the pools, as text, to see that nothing moved.
func (r *rig) families() string {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "key_pool_") {
			b.WriteString(f.String() + "\n")
		}
	}
	if b.Len() == 0 {
		r.t.Fatal("no key_pool_* families")
	}
	return b.String()
}

// carries fails the test if any header of a call, or its address, holds the text.
func carries(t testing.TB, c call, secret string) {
	t.Helper()
	for name, values := range c.Header {
		if strings.Contains(strings.Join(values, " "), secret) {
			t.Errorf("the upstream was sent %s in %s", secret, name)
		}
	}
	if strings.Contains(c.URI+c.Body, secret) {
		t.Errorf("the upstream was sent %s in %s", secret, c.URI)
	}
}

// A caller's own credential goes upstream in the header it came in; the gateway's
// token goes nowhere.
func TestCredentials(t *testing.T) {
	const token = "gateway-token-0123456789"
	tests := []struct {
		name   string
		tokens bool
		path   string
		header []string
		want   map[string]string // credentials as the upstream sees them
		status int
	}{
		{"pooled, open", false, "/v1/models", []string{"Authorization", "Bearer dummy"}, map[string]string{"Authorization": "Bearer " + key(0)}, 200},
		{"pooled, no credential", false, "/v1/models", nil, map[string]string{"Authorization": "Bearer " + key(0)}, 200},
		{"pooled, Anthropic", false, "/anthropic/v1/models", []string{"Authorization", "Bearer dummy"}, map[string]string{"X-Api-Key": key(0)}, 200},
		{"pooled, token as key", true, "/v1/models", []string{"Authorization", "Bearer " + token}, map[string]string{"Authorization": "Bearer " + key(0)}, 200},
		{"pooled, token in api-key", true, "/v1/models", []string{"api-key", token}, map[string]string{"Authorization": "Bearer " + key(0)}, 200},
		{"pooled, token twice", true, "/v1/models", []string{"X-Keybridge-Token", token, "x-api-key", token}, map[string]string{"Authorization": "Bearer " + key(0)}, 200},
		{"own, open", false, "/v1/models", []string{"X-Keybridge-Token", "any", "Authorization", "Bearer " + own}, map[string]string{"Authorization": "Bearer " + own}, 200},
		{"own, token", true, "/v1/models", []string{"X-Keybridge-Token", token, "Authorization", "Bearer " + own}, map[string]string{"Authorization": "Bearer " + own}, 200},
		{"own, x-api-key", true, "/anthropic/v1/models", []string{"X-Keybridge-Token", token, "x-api-key", own}, map[string]string{"X-Api-Key": own}, 200},
		{"own, Bearer to Anthropic", true, "/anthropic/v1/models", []string{"X-Keybridge-Token", token, "Authorization", "Bearer " + own}, map[string]string{"Authorization": "Bearer " + own}, 200},
		{"own, api-key", true, "/v1/models", []string{"X-Keybridge-Token", token, "api-key", own}, map[string]string{"Api-Key": own}, 200},
		{"own, beside the token as a key", true, "/v1/models", []string{"X-Keybridge-Token", token, "x-api-key", token, "Authorization", "Bearer " + own}, map[string]string{"Authorization": "Bearer " + own}, 200},
		{"keyless, own", false, "/keyless/v1/models", []string{"X-Keybridge-Token", "any", "Authorization", "Bearer " + own}, map[string]string{"Authorization": "Bearer " + own}, 200},
		{"keyless, none", false, "/keyless/v1/models", []string{"Authorization", "Bearer " + own}, nil, 401},
		{"no token", true, "/v1/models", nil, nil, 401},
		{"wrong token", true, "/v1/models", []string{"Authorization", "Bearer wrong"}, nil, 401},
		{"own without a token", true, "/v1/models", []string{"Authorization", "Bearer " + own}, nil, 401},
		{"own and a wrong token", true, "/v1/models", []string{"X-Keybridge-Token", "wrong", "Authorization", "Bearer " + own}, nil, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, 200, `{}`) }}
			if tt.tokens {
				s.tokens = []auth.Token{{Name: "someone", Secret: token}}
			}
			r := newRig(t, s)
			got := r.get(tt.path, tt.header...)
			diff(t, "status", tt.status, got.Status)
			r.ended()
			if tt.want == nil {
				diff(t, "calls", 0, len(r.seen()))
				if !gjson.Get(got.Body, "error.message").Exists() {
					t.Errorf("no error in %q", got.Body)
				}
				return
			}
			c := r.seen()[0]
			sent := map[string]string{}
			for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Keybridge-Token"} {
				if v := c.Header[name]; v != nil {
					sent[name] = strings.Join(v, "|")
				}
			}
			diff(t, "credentials upstream", tt.want, sent)
			carries(t, c, token)
			carries(t, c, "dummy")
		})
	}
}

// Whatever is answered to a caller's own key goes back as it came, after one
// attempt, and no pool knows of it.
func TestOwnKeyAnswers(t *testing.T) {
	limited := http.Header{
		"Retry-After": {"7"}, "X-Ratelimit-Remaining-Requests": {"0"}, "Anthropic-Ratelimit-Requests-Remaining": {"0"},
		"Openai-Organization": {"org-mine"}, "Anthropic-Organization-Id": {"org-mine"},
	}
	stream := roleChunk + "data: {\"error\":{\"message\":\"" + key(0) + "\"}}\n\n"
	tests := []struct {
		name, path, request string
		status              int
		media, body         string
	}{
		{"429", "/v1/chat/completions", chatRequest, 429, "application/json", rateLimited},
		{"401", "/v1/chat/completions", chatBlocking, 401, "application/json", `{"error":{"message":"bad key ` + own + `"}}`},
		{"500", "/v1/embeddings", `{"model":"m"}`, 500, "text/plain", "down"},
		{"empty 529", "/v1/messages", messagesRequest, 529, "application/json", ""},
		{"error in the stream", "/v1/chat/completions", chatRequest, 200, "text/event-stream", stream},
		{"error in the body", "/v1/chat/completions", chatBlocking, 200, "application/json", rateLimited},
		{"nothing wrong", "/v1/messages", messagesRequest, 200, "text/event-stream", messageStart + textDelta + messageStop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				maps.Copy(w.Header(), limited)
				w.Header().Set("Content-Type", tt.media)
				w.WriteHeader(tt.status)
				send(w, tt.body)
			}})
			before := r.families()
			got := r.post(tt.path, tt.request, "X-Keybridge-Token", "any", "Authorization", "Bearer "+own)
			diff(t, "status", tt.status, got.Status)
			diff(t, "body", tt.body, got.Body)
			for k, v := range limited {
				diff(t, k, v, got.Header[k])
			}
			diff(t, "keys", []string{own}, r.asked())
			e := r.ended()
			diff(t, "pools", before, r.families())
			if (e.Status == ledger.Completed) != (tt.name == "nothing wrong") {
				t.Errorf("status %s", e.Status)
			}
			diff(t, "attempts", 1, len(e.Attempts))
			if tt.status >= http.StatusBadRequest {
				diff(t, "turns", 0, len(e.Turns))
			}
		})
	}
}

func TestOwnKeyAndNoAnswer(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { cut(w) }})
	before := r.families()
	got := r.post("/v1/messages", messagesRequest, "X-Keybridge-Token", "any", "x-api-key", own)
	diff(t, "status", http.StatusBadGateway, got.Status)
	diff(t, "type", "api_error", gjson.Get(got.Body, "error.type").Str)
	diff(t, "keys", []string{own}, r.asked())
	diff(t, "pools", before, r.families())
	r.ended()
}
