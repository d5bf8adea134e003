package gateway_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/ledger"
)

// An upstream's error is shown as it came, but for the pool's secrets.
func TestErrorsAreMasked(t *testing.T) {
	quoted := func(s string) string { return `{"error":{"message":"no: ` + s + `","type":"invalid_request_error"}}` }
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(quoted(key(1))))
	z.Close()
	tests := []struct {
		name, body, want string
		encoding         string
	}{
		{"plain", quoted(key(0)), quoted("***"), ""},
		{"another key of the pool", quoted(key(1)), quoted("***"), ""},
		{"JSON escapes", quoted(strings.ReplaceAll(key(0), "-", `\u002d`)), quoted("***"), ""},
		{"URL escapes", quoted(strings.ReplaceAll(key(0), "-", "%2D")), quoted("***"), ""},
		{"base64", quoted(base64.StdEncoding.EncodeToString([]byte("user:" + key(0)))), "", ""},
		{"no JSON", "<p>" + key(0), "<p>***", ""},
		{"beyond what is judged", quoted(strings.Repeat("x", 100<<10) + key(0)), quoted(strings.Repeat("x", 100<<10) + "***"), ""},
		{"across what is judged", quoted(strings.Repeat("x", 64<<10-40) + key(0)), quoted(strings.Repeat("x", 64<<10-40) + "***"), ""},
		{"encoded", zipped.String(), quoted("***"), "gzip"},
		{"none", quoted("nothing"), quoted("nothing"), ""},
		{"none, long", quoted(strings.Repeat("y", 1<<20)), quoted(strings.Repeat("y", 1<<20)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				w.Header().Set("X-Echo", "your key "+key(0)+" is bad")
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				jsonAnswer(w, 400, tt.body)
			}})
			got := r.post("/v1/chat/completions", chatRequest)
			diff(t, "status", 400, got.Status)
			diff(t, "header", "your key *** is bad", got.Header.Get("X-Echo"))
			if tt.want != "" {
				diff(t, "body", tt.want, got.Body)
			}
			for i := range 2 {
				for _, form := range []string{key(i), url.QueryEscape(key(i)), key(i)[:12], key(i)[len(key(i))-12:], base64.StdEncoding.EncodeToString([]byte("user:" + key(i)))[:30]} {
					if strings.Contains(got.Body, form) {
						t.Errorf("the answer holds %q", form)
					}
				}
			}
			e := r.ended()
			diff(t, "status", ledger.Failed, e.Status)
			if strings.Contains(e.Err.Error()+r.logs.String(), key(0)[:12]) {
				t.Errorf("the log holds a key: %v", e.Err)
			}
		})
	}
}

// The same holds for an error inside a 200: what was held and the error, as they
// came.
func TestErrorsInsideAreMasked(t *testing.T) {
	bad := `{"error":{"message":"no: KEY","type":"invalid_request_error","param":null,"code":"bad"}}`
	tests := []struct {
		name, path, request, media, body string
	}{
		{"chat", "/v1/chat/completions", chatRequest, "text/event-stream", roleChunk + "data: " + bad + "\n\ndata: [DONE]\n\n"},
		{"responses", "/v1/responses", responsesRequest, "text/event-stream", created + "event: response.failed\n" + `data: {"type":"response.failed","response":{"status":"failed","error":{"code":"invalid_prompt","message":"KEY"}}}` + "\n\n"},
		{"messages", "/v1/messages", messagesRequest, "text/event-stream", messageStart + "event: error\n" + `data: {"type":"error","error":{"type":"invalid_request_error","message":"KEY"}}` + "\n\n"},
		{"blocking", "/v1/chat/completions", chatBlocking, "application/json", bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				w.Header().Set("Content-Type", tt.media)
				send(w, strings.Replace(tt.body, "KEY", key(1), 1))
			}})
			got := r.post(tt.path, tt.request)
			diff(t, "status", 200, got.Status)
			diff(t, "media type", tt.media, got.Header.Get("Content-Type"))
			diff(t, "body", strings.Replace(tt.body, "KEY", "***", 1), got.Body)
			diff(t, "keys", []string{"k0"}, r.asked())
			diff(t, "status", ledger.Failed, r.ended().Status)
		})
	}
}

// An error whose body does not come is judged by its status, and soon.
func TestStalledErrorBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, key string, _ int) {
			if key == "k0" {
				w.WriteHeader(http.StatusTooManyRequests)
				send(w, `{"error":`)
				<-req.Context().Done()
				return
			}
			jsonAnswer(w, 200, completion)
		}})
		diff(t, "body", completion, r.post("/v1/chat/completions", chatBlocking).Body)
		e := r.ended()
		diff(t, "time", 2*time.Second, e.End.Sub(e.Start))
		r.states(1, 1)
	})
}

// An error that has to be shown but does not come whole is told of, not shown as
// if that were all.
func TestBrokenErrorBodies(t *testing.T) {
	long := strings.Repeat("z", 70<<10)
	for name, tt := range map[string]struct {
		sent string
		end  func(w http.ResponseWriter, req *http.Request)
		took time.Duration
	}{
		"cut":             {"{", func(w http.ResponseWriter, _ *http.Request) { cut(w) }, 0},
		"stalled":         {"{", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, 2 * time.Second},
		"long, cut":       {long, func(w http.ResponseWriter, _ *http.Request) { cut(w) }, 0},
		"long, stalled":   {long, func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, 30 * time.Second},
		"beyond all size": {strings.Repeat("z", 9<<20), func(http.ResponseWriter, *http.Request) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
					w.WriteHeader(http.StatusBadRequest)
					send(w, tt.sent)
					tt.end(w, req)
				}})
				got := r.post("/v1/messages", messagesRequest)
				diff(t, "status", http.StatusBadGateway, got.Status)
				if said := gjson.Get(got.Body, "error.message").Str; !strings.Contains(said, "400 Bad Request") {
					t.Errorf("it says %q", got.Body)
				}
				diff(t, "keys", []string{"k0"}, r.asked())
				e := r.ended()
				diff(t, "time", tt.took, e.End.Sub(e.Start))
			})
		})
	}
}

// What an answer of the gateway says of exhaustion, by who asks.
func TestExhaustion(t *testing.T) {
	tests := []struct {
		name, path, request string
		status              int
		wait, body          string
		want                int
		retryAfter, retry   string
		kind, says          string
	}{
		{"limited", "/v1/chat/completions", chatRequest, 429, "1.2", rateLimited, 429, "2", "", "rate_limit_error", "rate_limited: All configured keys of the provider openai are rate-limited for this request. Retry after 2 s."},
		{"limited for long", "/v1/messages", messagesRequest, 429, "61", `{"type":"error","error":{"type":"rate_limit_error","message":"m"}}`, 429, "61", "false", "rate_limit_error", "rate_limited: All configured keys of the provider anthropic are rate-limited for this request. Retry after 61 s."},
		{"rejected", "/v1/chat/completions", chatBlocking, 401, "", `{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}`, 502, "", "false", "api_error", "auth_failed: All configured keys of the provider openai failed authentication. Contact your administrator."},
		{"out of credit", "/v1/chat/completions", chatBlocking, 429, "", `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`, 502, "", "false", "api_error", "quota_exhausted: All configured keys of the provider openai are out of credit or refused. Contact your administrator."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					if tt.wait != "" {
						w.Header().Set("Retry-After", tt.wait)
					}
					jsonAnswer(w, tt.status, tt.body)
				}})
				got := r.post(tt.path, tt.request)
				diff(t, "status", tt.want, got.Status)
				diff(t, "Retry-After", tt.retryAfter, got.Header.Get("Retry-After"))
				diff(t, "X-Should-Retry", tt.retry, got.Header.Get("X-Should-Retry"))
				diff(t, "type", tt.kind, gjson.Get(got.Body, "error.type").Str)
				diff(t, "keys", []string{"k0", "k1"}, r.asked())
				e := r.ended()
				diff(t, "record", tt.says, e.Err.Error())
				if strings.HasSuffix(tt.path, "messages") {
					diff(t, "request id", e.ID, gjson.Get(got.Body, "request_id").Str)
				}
				diff(t, "request id", e.ID, got.Header.Get("X-Request-Id"))
			})
		})
	}
}
