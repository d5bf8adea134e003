package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// What a client sends arrives as it was sent, but for what concerns keys, the
// connection and the gateway.
func TestRequestHeaders(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, 200, `{}`) }})
	_, err := r.raw("POST /anthropic/v1/messages/count_tokens?beta=true&x=%20y HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close, X-Hop\r\n" +
		"anthropic-version: 2026-10-21\r\nanthropic-beta: a-1,b-2\r\nanthropic-beta: c-3\r\nX-Hop: 1\r\nX-Unknown: yes\r\nCookie: c=1\r\nTE: trailers\r\n" +
		"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nVia: 1.1 me\r\nProxy-Authorization: x\r\nX-Keybridge-Other: 1\r\n" +
		"OpenAI-Organization: org-x\r\nAnthropic-Workspace-Id: w\r\nAccept-Encoding: gzip, br\r\nAccept: application/json\r\nX-Stainless-Retry-Count: 0\r\n" +
		"Idempotency-Key: one\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"mo\r\n9\r\ndel\":\"m\"}\r\n0\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r.ended()
	c := r.seen()[0]
	diff(t, "URI", "/v1/messages/count_tokens?beta=true&x=%20y", c.URI)
	diff(t, "body", `{"model":"m"}`, c.Body)
	diff(t, "headers", http.Header{
		"Anthropic-Version": {"2026-10-21"}, "Anthropic-Beta": {"a-1,b-2", "c-3"}, "X-Unknown": {"yes"}, "Accept": {"application/json"},
		"X-Stainless-Retry-Count": {"0"}, "Content-Type": {"application/json"}, "Idempotency-Key": {"one"},
		"Accept-Encoding": {"identity"}, "Content-Length": {"13"}, "X-Api-Key": {key(0)},
	}, c.Header)
}

func TestAnswerHeaders(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		w.WriteHeader(http.StatusEarlyHints) // not for the client
		h := w.Header()
		h.Set("Trailer", "X-Sum")
		for _, k := range []string{
			"Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Anthropic-Workspace-Id", "Set-Cookie",
			"X-Ratelimit-Remaining-Tokens", "Anthropic-Ratelimit-Tokens-Limit", "X-Codex-Primary", "Keep-Alive", "Proxy-Authenticate", "Alt-Svc",
		} {
			h.Set(k, "withheld")
		}
		h.Set("X-Request-Id", "req_1")
		h.Set("Openai-Processing-Ms", "12")
		h.Set("X-Should-Retry", "false")
		h.Add("X-Two", "a")
		h.Add("X-Two", "b")
		h.Set("Date", "Mon, 02 Nov 2026 10:00:00 GMT")
		h.Set("Content-Type", "application/json; charset=utf-8")
		w.Write([]byte(completion))
		h.Set("X-Sum", "1")
	}})
	got, err := r.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 31\r\n\r\n" + fmt.Sprintf("%-31s", chatBlocking))
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(got, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	diff(t, "status line", "HTTP/1.1 200 OK", lines[0])
	want := map[string]bool{}
	for _, l := range []string{
		"X-Request-Id: req_1", "Openai-Processing-Ms: 12", "X-Should-Retry: false", "X-Two: a", "X-Two: b", "Date: Mon, 02 Nov 2026 10:00:00 GMT",
		"Content-Type: application/json; charset=utf-8", "Connection: close",
	} {
		want[l] = true
	}
	sent := map[string]bool{}
	for _, l := range lines[1:] {
		sent[l] = true
	}
	delete(sent, "Transfer-Encoding: chunked") // as the upstream's is, because of its trailer
	diff(t, "head", want, sent)
	if strings.Contains(got, "X-Sum") {
		t.Error("a trailer went through")
	}
}

// An absent header stays absent, in both directions.
func TestAbsentHeaders(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		w.Header()["Content-Type"] = nil
		w.Write([]byte("<html>"))
	}})
	got, err := r.raw("GET /v1/files/f/content HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
	if err != nil || strings.Contains(got, "Content-Type") || !strings.HasSuffix(got, "\r\n\r\n<html>") || !strings.Contains(got, "Content-Length: 6\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
	diff(t, "headers", http.Header{"Accept-Encoding": {"identity"}, "Authorization": {"Bearer " + key(0)}}, r.seen()[0].Header)
}

func TestPathsSurvive(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/models/openai%2Fgpt-5":              "/v1/models/openai%2Fgpt-5",
		"/openai/v1/files/a%20b/content?x=%2F&y": "/v1/files/a%20b/content?x=%2F&y",
		"/anthropic/v1/models/a%2Fb?limit=1&":    "/v1/models/a%2Fb?limit=1&",
		"/v1/models?after=%E2%82%AC+;":           "/v1/models?after=%E2%82%AC+;",
	} {
		t.Run(path, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { w.WriteHeader(http.StatusNoContent) }})
			if _, err := r.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			diff(t, "URI", want, r.seen()[0].URI)
		})
	}
}

// Answers without a body, or that are no success and no error, go through.
func TestOtherAnswers(t *testing.T) {
	tests := []struct {
		name, method string
		answer       func(w http.ResponseWriter)
		want         []string // lines of the head
		without      string
		body         string
	}{
		{"HEAD", "HEAD", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1234")
		}, []string{"HTTP/1.1 200 OK", "Content-Length: 1234", "Content-Type: application/json"}, "Transfer-Encoding", ""},
		{"HEAD of an error", "HEAD", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(http.StatusNotFound)
		}, []string{"HTTP/1.1 404 Not Found", "Content-Length: 99"}, "Transfer-Encoding", ""},
		{"204", "DELETE", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, []string{"HTTP/1.1 204 No Content"}, "Content-Length", ""},
		{"304", "GET", func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		}, []string{"HTTP/1.1 304 Not Modified", `Etag: "x"`}, "Transfer-Encoding", ""},
		{"302", "GET", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://files.test/x")
			w.WriteHeader(http.StatusFound)
		}, []string{"HTTP/1.1 302 Found", "Location: https://files.test/x", "Content-Length: 0"}, "Transfer-Encoding", ""},
		{"a length", "GET", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "5")
			send(w, "he", "llo")
		}, []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, "Transfer-Encoding", "hello"},
		{"empty", "GET", func(http.ResponseWriter) {}, []string{"HTTP/1.1 200 OK", "Content-Length: 0"}, "Transfer-Encoding", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { tt.answer(w) }})
			got, err := r.raw(tt.method + " /v1/models/m HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			for _, line := range tt.want {
				if !strings.Contains(head+"\r\n", line+"\r\n") {
					t.Errorf("no %q in %q", line, head)
				}
			}
			if strings.Contains(head, tt.without) {
				t.Errorf("%s in %q", tt.without, head)
			}
			diff(t, "body", tt.body, body)
			diff(t, "calls", 1, len(r.seen()))
		})
	}
}

// An answer that is encoded although nobody asked for it is relayed as it is.
func TestEncodedAnswers(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(roleChunk + textChunk + finishChunk + doneChunk))
	z.Close()
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		sse(w, b.String())
	}})
	got := r.do(request(context.Background(), http.MethodPost, "/v1/chat/completions", chatRequest, "Accept-Encoding", "gzip"))
	diff(t, "encoding", "gzip", got.Header.Get("Content-Encoding"))
	diff(t, "length", strconv.Itoa(b.Len()), got.Header.Get("Content-Length"))
	diff(t, "body", b.String(), got.Body)
}
