package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
)

// What cannot be served is refused before any key is used, in the dialect.
func TestRefusedBodies(t *testing.T) {
	small := gateway.Limits{MaxBody: 64, MaxUpload: 128}
	big := `{"model":"` + strings.Repeat("m", 64) + `"}`
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		says             string
	}{
		{"garbage", "/v1/chat/completions", "hello", nil, 400, "JSON"},
		{"garbage for Anthropic", "/v1/messages", "[]", nil, 400, "JSON"},
		{"cut short", "/v1/responses", `{"model":"m"`, nil, 400, "closed"},
		{"two models", "/v1/chat/completions", `{"model":"a","model":"b"}`, nil, 400, "twice"},
		{"two models, escaped", "/v1/messages", `{"model":"a","mod\u0065l":"b"}`, nil, 400, "twice"},
		{"two streams", "/v1/messages", `{"stream":true,"stream":false}`, nil, 400, "twice"},
		{"nothing", "/v1/messages", "", nil, 400, "empty"},
		{"compressed", "/v1/chat/completions", `{"model":"m"}`, []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding"},
		{"too large", "/v1/chat/completions", big, nil, 413, "64 bytes"},
		{"too large for an opaque route", "/v1/embeddings", big, nil, 413, "64 bytes"},
		{"too large an upload", "/v1/files", big + big, nil, 413, "128 bytes"},
	}
	for _, tt := range tests {
		for _, framing := range []string{"length", "chunked"} {
			if tt.body == "" && framing == "chunked" {
				continue
			}
			t.Run(tt.name+" "+framing, func(t *testing.T) {
				r := newRig(t, setup{tcp: true, limits: small, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					t.Error("the upstream answers")
					jsonAnswer(w, 200, `{}`)
				}})
				req := request(context.Background(), http.MethodPost, tt.path, tt.body, tt.header...)
				if framing == "chunked" {
					req.ContentLength = -1
				}
				got := r.do(req)
				diff(t, "status", tt.status, got.Status)
				diff(t, "media type", "application/json", got.Header.Get("Content-Type"))
				if said := gjson.Get(got.Body, "error.message").Str; !strings.Contains(said, tt.says) {
					t.Errorf("it says %q", got.Body)
				}
				diff(t, "shape", strings.HasSuffix(tt.path, "messages"), gjson.Get(got.Body, "type").Str == "error")
				e := r.ended()
				diff(t, "status", ledger.Failed, e.Status)
				diff(t, "status", tt.status, e.HTTPStatus)
			})
		}
	}
}

// A body is kept for the next key, however it came.
func TestBodiesAreSentAgain(t *testing.T) {
	prompt := `{"model":"gpt-5","input":"` + strings.Repeat("x", 32<<20-30) + `"}`
	for name, tt := range map[string]struct {
		path, body string
		length     int64
	}{
		"length":  {"/v1/embeddings", `{"model":"m"}`, 13},
		"chunked": {"/v1/chat/completions", chatBlocking, -1},
		"32 MiB":  {"/v1/responses", prompt, int64(len(prompt))},
		"limit":   {"/v1/responses", prompt + strings.Repeat(" ", 32<<20-len(prompt)), -1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
				if key == "k0" {
					jsonAnswer(w, 429, rateLimited)
					return
				}
				jsonAnswer(w, 200, completion)
			}})
			req := request(context.Background(), http.MethodPost, tt.path, tt.body)
			req.ContentLength = tt.length
			diff(t, "status", 200, r.do(req).Status)
			for i, c := range r.seen() {
				if c.Body != tt.body || c.Header.Get("Content-Length") != strconv.Itoa(len(tt.body)) {
					t.Errorf("call %d: %d bytes of %d, length %s", i, len(c.Body), len(tt.body), c.Header.Get("Content-Length"))
				}
			}
			diff(t, "keys", []string{"k0", "k1"}, r.asked())
		})
	}
}

// Compressed bodies go through where nothing needs to be read of them.
func TestCompressedOpaqueBody(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, 200, `{}`) }})
	r.post("/v1/embeddings", "\x1f\x8b", "Content-Encoding", "gzip")
	c := r.seen()[0]
	diff(t, "body", "\x1f\x8b", c.Body)
	diff(t, "encoding", "gzip", c.Header.Get("Content-Encoding"))
}

// A body over the limit goes upstream once, as it comes; what that tells of the
// key is remembered all the same.
func TestUploads(t *testing.T) {
	limits := gateway.Limits{MaxBody: 1 << 10, MaxUpload: 1 << 20}
	body := strings.Repeat("0123456789abcdef", 4<<10)
	for name, length := range map[string]int64{"length": int64(len(body)), "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, limits: limits, upstream: func(w http.ResponseWriter, req *http.Request, _ string, n int) {
				diff(t, "length", length, req.ContentLength)
				if n == 0 {
					w.Header().Set("Retry-After", "30")
					jsonAnswer(w, 429, rateLimited)
					return
				}
				jsonAnswer(w, 200, `{"id":"file-1"}`)
			}})
			upload := func() reply {
				req := request(context.Background(), http.MethodPost, "/v1/files", body)
				req.ContentLength = length
				return r.do(req)
			}
			first := upload()
			diff(t, "status", 429, first.Status)
			diff(t, "body", rateLimited, first.Body)
			r.ended()
			r.states(1, 1)
			diff(t, "status", 200, upload().Status)
			diff(t, "keys", []string{"k0", "k1"}, r.asked())
			for _, c := range r.seen() {
				if c.Body != body {
					t.Errorf("%d bytes of %d arrived", len(c.Body), len(body))
				}
			}
		})
	}
}

// An upload without a length that turns out too large is the client's fault.
func TestUploadBeyondItsLimit(t *testing.T) {
	r := newRig(t, setup{
		tcp: true, limits: gateway.Limits{MaxBody: 1 << 10, MaxUpload: 64 << 10},
		upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { t.Error("a whole body has come") },
	})
	req := request(context.Background(), http.MethodPost, "/v1/files", strings.Repeat("x", 64<<10+1))
	req.ContentLength = -1
	diff(t, "status", 413, r.do(req).Status)
	r.ended()
	r.pool("openai", "failover_attempts 1/1 call_attempts 1/1 failovers 0 transitions 0")
}

// An answer that begins while the upload goes on takes nothing of it away.
func TestAnswerDuringUpload(t *testing.T) {
	const size = 1 << 20
	begun := make(chan struct{})
	r := newRig(t, setup{
		tcp: true, early: true, limits: gateway.Limits{MaxBody: 1 << 10, MaxUpload: 2 * size},
		upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", "application/json")
			send(w, "{")
			<-begun
			n, err := io.Copy(io.Discard, req.Body)
			fmt.Fprintf(w, `"bytes":%d,"err":"%v"}`, n, err)
		},
	})
	body, pipe := io.Pipe()
	go func() {
		io.WriteString(pipe, strings.Repeat("x", size/2))
		<-begun
		io.WriteString(pipe, strings.Repeat("x", size/2))
		pipe.Close()
	}()
	req := request(context.Background(), http.MethodPost, "/v1/files", "")
	req.Body = body
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	close(begun) // the head has come
	got, err := io.ReadAll(resp.Body)
	diff(t, "body", fmt.Sprintf(`{"bytes":%d,"err":"<nil>"}`, size), string(got))
	if err != nil {
		t.Error(err)
	}
}

// slow sends a body in pieces.
type slow struct {
	pieces []string
	pause  time.Duration
	end    error
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, s.end
	}
	time.Sleep(s.pause)
	n := copy(p, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}

// A body may come slowly, but it has to come.
func TestSlowBodies(t *testing.T) {
	tests := []struct {
		name, path string
		pause      time.Duration
		status     int
		keys       int
	}{
		{"slow", "/v1/chat/completions", 29 * time.Second, 200, 1},
		{"stuck", "/v1/chat/completions", 31 * time.Second, 408, 0},
		{"slow upload", "/v1/files", 29 * time.Second, 200, 1},
		{"stuck upload", "/v1/files", 31 * time.Second, 408, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := gateway.Limits{MaxBody: 1 << 10, MaxUpload: 1 << 20}
				if tt.path == "/v1/files" {
					limits.MaxBody = 8
				}
				r := newRig(t, setup{limits: limits, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					time.Sleep(2 * time.Minute) // the body's limits end with it
					jsonAnswer(w, 200, completion)
				}})
				req := request(context.Background(), http.MethodPost, tt.path, "")
				req.Body = io.NopCloser(&slow{[]string{chatBlocking[:10], chatBlocking[10:20], chatBlocking[20:]}, tt.pause, io.EOF})
				req.ContentLength = int64(len(chatBlocking))
				got := r.do(req)
				diff(t, "status", tt.status, got.Status)
				e := r.ended()
				if tt.status == 408 {
					diff(t, "time", 30*time.Second, e.End.Sub(e.Start))
					diff(t, "status", ledger.Failed, e.Status)
					diff(t, "error", true, gjson.Get(got.Body, "error.message").Exists())
				}
				r.states(2, 0)
				diff(t, "answered calls", tt.keys, answered(e))
				time.Sleep(5 * time.Minute) // the client may not have noticed yet that nobody listens
			})
		})
	}
}

func answered(e *ledger.Exchange) (n int) {
	for _, a := range e.Attempts {
		if a.Status != 0 {
			n++
		}
	}
	return n
}

// A body that nobody wants is not waited for, and one that breaks off is the
// client's going away.
func TestUnwantedBodies(t *testing.T) {
	tests := []struct {
		name, head string
		status     string
		leaves     bool
		want       ledger.Status
		took       time.Duration
	}{
		{"of no route", "POST /v1/nothing", "404", false, ledger.Failed, time.Second},
		{"too large", "POST /v1/messages", "413", false, ledger.Failed, time.Second},
		{"too large an upload", "POST /v1/files", "413", false, ledger.Failed, time.Second},
		{"broken off", "POST /v1/messages", "", true, ledger.Cancelled, 3 * time.Second},
		{"broken off, upload", "POST /v1/files", "", true, ledger.Cancelled, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{
					limits:   gateway.Limits{MaxBody: 32, MaxUpload: 64},
					upstream: func(http.ResponseWriter, *http.Request, string, int) { t.Error("a whole body has come") },
				})
				length := 100
				if tt.leaves {
					length = 40
					if strings.HasSuffix(tt.head, "messages") {
						length = 30
					}
				}
				c := r.dial()
				fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n0123456789", tt.head, length)
				if tt.leaves {
					time.Sleep(3 * time.Second)
					c.Close()
				} else if resp, _ := head(t, c); !strings.HasPrefix(resp.Status, tt.status) {
					t.Errorf("status %s", resp.Status)
				}
				e := r.ended()
				diff(t, "status", tt.want, e.Status)
				diff(t, "time", tt.took, e.End.Sub(e.Start))
				r.states(2, 0)
			})
		})
	}
}

// A connection serves the next request after a body read in part only.
func TestNextRequestAfterAnUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{
			limits:   gateway.Limits{MaxBody: 8, MaxUpload: 1 << 20},
			upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, 200, `{}`) },
		})
		for range 3 {
			if got := r.post("/v1/files", strings.Repeat("x", 1<<10)); got.Status != 200 || got.Err != nil {
				t.Fatalf("got %+v", got)
			}
			time.Sleep(time.Minute)
			if got := r.get("/v1/models"); got.Status != 200 || got.Err != nil {
				t.Fatalf("got %+v", got)
			}
		}
	})
}
