package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/ledger"
)

const (
	responsesRequest = `{"model":"gpt-5","stream":true,"input":"x"}`
	created          = "event: response.created\n" + `data: {"type":"response.created","sequence_number":0,"response":{"id":"r1","status":"in_progress"}}` + "\n\n"
	outputDelta      = "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","sequence_number":1,"delta":"Hi"}` + "\n\n"
	completed        = "event: response.completed\n" + `data: {"type":"response.completed","sequence_number":2,"response":{"id":"r1","status":"completed"}}` + "\n\n"
)

func TestPings(t *testing.T) {
	tests := []struct {
		name, path, request, ping string
		begin, end                string
	}{
		{"chat", "/v1/chat/completions", chatRequest, ": keybridge\n\n", roleChunk + textChunk, finishChunk + doneChunk},
		{"responses", "/v1/responses", responsesRequest, ": keybridge\n\n", created + outputDelta, completed},
		{"messages", "/v1/messages", messagesRequest, pingEvent, messageStart + textDelta, messageStop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				half := len(tt.end) / 2
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					w.Header().Set("Content-Length", "100000") // a stream that pings stand in has none
					sse(w, tt.begin)
					time.Sleep(15 * time.Second)
					send(w, tt.end[:half]) // an event broken in two by silence
					time.Sleep(14 * time.Second)
					send(w, tt.end[half:])
					cut(w) // which the length promised makes of it in any case
				}})
				got, resp, err := r.arrivals(tt.path, tt.request)
				diff(t, "arrivals", []arrival{
					{0, tt.begin},
					{10 * time.Second, tt.ping},
					{20 * time.Second, tt.ping},
					{29 * time.Second, tt.end},
				}, got)
				if err != nil || resp.ContentLength != -1 {
					t.Errorf("length %d, %v", resp.ContentLength, err)
				}
			})
		})
	}
}

// merged joins what came at one time.
func merged(pieces []arrival) (out []arrival) {
	for _, p := range pieces {
		if n := len(out); n > 0 && out[n-1].At == p.At {
			out[n-1].Text += p.Text
			continue
		}
		out = append(out, p)
	}
	return out
}

// Blocking and opaque answers are the upstream's bytes and nothing else.
func TestNoPings(t *testing.T) {
	tests := []struct {
		name, method, path, request, media string
		pieces                             []string
	}{
		{"blocking", "POST", "/v1/chat/completions", chatBlocking, "application/json", []string{completion[:30], completion[30:]}},
		{"blocking messages", "POST", "/v1/messages", `{"model":"c"}`, "application/json", []string{`{"type":"message",`, `"content":[]}`}},
		{"opaque", "GET", "/v1/files/f/content", "", "application/octet-stream", []string{"abc", "def"}},
		{"opaque stream", "POST", "/v1/audio/speech", `{"model":"m"}`, "text/event-stream", []string{"data: a\n\n", "data: b\n\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					w.Header().Set("Content-Type", tt.media)
					send(w, tt.pieces[0])
					time.Sleep(90 * time.Second) // longer than a write deadline, too
					send(w, tt.pieces[1])
					time.Sleep(90 * time.Second) // until the end, which must reach the client as well
				}})
				got := r.do(request(context.Background(), tt.method, tt.path, tt.request))
				if got.Err != nil || got.Body != strings.Join(tt.pieces, "") {
					t.Errorf("got %q, %v", got.Body, got.Err)
				}
				diff(t, "status", ledger.Completed, r.ended().Status)
			})
		})
	}
}

// Before the commit a silence is a cut: another key may serve.
func TestIdleBeforeCommit(t *testing.T) {
	for name, tt := range map[string]struct{ path, request, media, begin, want string }{
		"stream":   {"/v1/messages", messagesRequest, "text/event-stream", messageStart, messageStart + textDelta + messageStop},
		"blocking": {"/v1/chat/completions", chatBlocking, "application/json", completion[:40], completion},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := usual()
				s.IdleTimeout = 7 * time.Second
				r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, req *http.Request, key string, _ int) {
					w.Header().Set("Content-Type", tt.media)
					if key == "k0" {
						send(w, tt.begin)
						<-req.Context().Done()
						return
					}
					send(w, tt.want)
				}})
				got := r.post(tt.path, tt.request)
				diff(t, "body", tt.want, got.Body)
				diff(t, "keys", []string{"k0", "k1"}, r.asked())
				e := r.ended()
				diff(t, "time", 7*time.Second+200*time.Millisecond, e.End.Sub(e.Start))
				diff(t, "transitions", 0.0, r.sum("key_pool_state_transitions_total", "openai")+r.sum("key_pool_state_transitions_total", "anthropic"))
			})
		})
	}
}

// After the commit it is an error as the API shows errors.
func TestIdleAfterCommit(t *testing.T) {
	for name, tt := range map[string]struct{ path, request, begin, event, kind string }{
		"chat":      {"/v1/chat/completions", chatRequest, roleChunk + textChunk, "data: ", "error.type=api_error"},
		"responses": {"/v1/responses", responsesRequest, created + outputDelta, "event: error\ndata: ", "sequence_number=2"},
		"messages":  {"/v1/messages", messagesRequest, messageStart + textDelta, "event: error\ndata: ", "error.type=timeout_error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := usual()
				s.IdleTimeout = 7 * time.Second
				r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
					sse(w, tt.begin)
					<-req.Context().Done()
				}})
				got, _, err := r.arrivals(tt.path, tt.request)
				if err != nil || len(got) != 2 || got[1].At != 7*time.Second {
					t.Fatalf("got %v, %v", got, err)
				}
				data, ok := strings.CutPrefix(got[1].Text, tt.event)
				member, want, _ := strings.Cut(tt.kind, "=")
				if !ok || gjson.Get(data, member).String() != want {
					t.Errorf("the stream ends with %q", got[1].Text)
				}
				diff(t, "keys", []string{"k0"}, r.asked())
				diff(t, "status", ledger.Failed, r.ended().Status)
			})
		})
	}
}

// An upstream that is only as slow as the limit allows is never broken off.
func TestIdleClockStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual()
		s.IdleTimeout = 7 * time.Second
		r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, roleChunk)
			for range 20 {
				time.Sleep(6900 * time.Millisecond)
				send(w, textChunk)
			}
			send(w, finishChunk, doneChunk)
		}})
		got := r.post("/v1/chat/completions", chatRequest)
		diff(t, "body", roleChunk+strings.Repeat(textChunk, 20)+finishChunk+doneChunk, got.Body)
	})
}

// The idle clock stands still while the client is slow.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual()
		s.IdleTimeout = 5 * time.Second
		big := strings.Replace(textChunk, "Hi", strings.Repeat("x", 300<<10), 1)
		r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, big, big, finishChunk, doneChunk)
		}})
		resp, err := r.client.Do(request(context.Background(), http.MethodPost, "/v1/chat/completions", chatRequest))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got strings.Builder
		for range 12 { // the connection's window is emptied bit by bit
			time.Sleep(40 * time.Second)
			if _, err := io.CopyN(&got, resp.Body, 50<<10); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&got, resp.Body); err != nil {
			t.Fatal(err)
		}
		if text := strings.ReplaceAll(got.String(), ": keybridge\n\n", ""); text != big+big+finishChunk+doneChunk {
			t.Errorf("got %d bytes that differ from what was sent", len(text))
		}
		diff(t, "status", ledger.Completed, r.ended().Status)
	})
}

// A client that takes nothing any more is cut, and its upstream call with it.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conn net.Conn
		gone := make(chan struct{})
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "text/event-stream")
			for req.Context().Err() == nil {
				send(w, strings.Replace(textChunk, "Hi", strings.Repeat("x", 30<<10), 1))
			}
			close(gone)
		}})
		conn = r.dial()
		start := time.Now()
		io.WriteString(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 45\r\n\r\n"+chatRequest)
		<-gone
		diff(t, "cut after", time.Minute, time.Since(start))
		diff(t, "status", ledger.Cancelled, r.ended().Status)
		r.states(2, 0)
	})
}

func TestFirstEventTimeout(t *testing.T) {
	late := func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
	headOnly := func(w http.ResponseWriter, req *http.Request) { sse(w); <-req.Context().Done() }
	tests := []struct {
		name, path, request string
		first               func(w http.ResponseWriter, req *http.Request)
		all                 bool // each attempt is like the first
		status              int
		kind                string
	}{
		{"stream without a head", "/v1/messages", messagesRequest, late, false, 200, ""},
		{"stream without an event", "/v1/messages", messagesRequest, headOnly, false, 200, ""},
		{"all without a head", "/v1/messages", messagesRequest, late, true, 504, "timeout_error"},
		{"all without an event", "/v1/chat/completions", chatRequest, headOnly, true, 504, "api_error"},
		{"blocking without a head", "/v1/chat/completions", chatBlocking, late, true, 504, "api_error"},
		{"opaque", "/v1/embeddings", `{"model":"m"}`, late, true, 504, "api_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := usual()
				s.FirstEventTimeout = 5 * time.Second
				r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, req *http.Request, _ string, n int) {
					if n == 0 || tt.all {
						tt.first(w, req)
						return
					}
					sse(w, messageStart)
					time.Sleep(8 * time.Second) // the limit is for the first event only
					send(w, textDelta, messageStop)
				}})
				got := r.post(tt.path, tt.request)
				diff(t, "status", tt.status, got.Status)
				diff(t, "error", tt.kind, gjson.Get(got.Body, "error.type").Str)
				e := r.ended()
				took, keys := 5*time.Second+200*time.Millisecond+8*time.Second, []string{"k0", "k1"}
				if tt.all {
					took, keys = 3*5*time.Second+1200*time.Millisecond, []string{"k0", "k1", "k1"}
				}
				diff(t, "time", took, e.End.Sub(e.Start))
				diff(t, "keys", keys, r.asked())
				diff(t, "reason", "timeout", e.Attempts[0].Reason)
			})
		})
	}
}

// In a blocking answer the limit ends with the head.
func TestFirstEventTimeoutEndsWithTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual()
		s.FirstEventTimeout = 5 * time.Second
		r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "application/json")
			send(w, "")
			time.Sleep(20 * time.Second)
			send(w, completion)
		}})
		diff(t, "body", completion, r.post("/v1/chat/completions", chatBlocking).Body)
	})
}
