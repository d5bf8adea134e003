package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"keybridge/internal/ledger"
)

// An upstream that dies after content shows as an error event of the API, the
// stream itself ends properly, and nothing is sent again.
func TestStreamDiesAfterContent(t *testing.T) {
	for name, tt := range map[string]struct{ path, request, begin, event, member string }{
		"chat":      {"/v1/chat/completions", chatRequest, roleChunk + textChunk, "data: ", "error.message"},
		"responses": {"/v1/responses", responsesRequest, created + outputDelta, "event: error\ndata: ", "message"},
		"messages":  {"/v1/messages", messagesRequest, messageStart + textDelta, "event: error\ndata: ", "error.message"},
	} {
		for how, end := range map[string]func(w http.ResponseWriter){
			"cut": cut, "proper end": func(http.ResponseWriter) {},
			"cut in an event": func(w http.ResponseWriter) { send(w, "data: {\"type\":"); cut(w) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
					sse(w, tt.begin)
					end(w)
				}})
				got := r.post(tt.path, tt.request)
				event, ok := strings.CutPrefix(got.Body, tt.begin)
				data, named := strings.CutPrefix(event, tt.event)
				if got.Err != nil || !ok || !named || gjson.Get(data, tt.member).Str == "" || !strings.HasSuffix(data, "\n\n") {
					t.Errorf("got %q, %v", got.Body, got.Err)
				}
				diff(t, "keys", []string{"k0"}, r.asked())
				e := r.ended()
				diff(t, "status", ledger.Failed, e.Status)
				if e.Err == nil {
					t.Error("the ledger does not say why")
				}
			})
		}
	}
}

// Where no event can say so, the chunked body of the answer has no end.
func TestNoTerminatorAfterACut(t *testing.T) {
	large := `{"id":"c1","choices":["` + strings.Repeat("x", 9<<20) // committed while it comes
	tests := []struct {
		name, method, path, body, media, sent string
		encoding                              string
	}{
		{"opaque", "GET", "/v1/files/f/content", "", "application/octet-stream", "half of it", ""},
		{"opaque JSON", "GET", "/v1/models", "", "application/json", `{"object":"list"`, ""},
		{"opaque stream", "POST", "/v1/audio/speech", `{"model":"m"}`, "text/event-stream", "data: a\n\n", ""},
		{"large blocking", "POST", "/v1/chat/completions", chatBlocking, "application/json", large, ""},
		{"encoded stream", "POST", "/v1/chat/completions", chatRequest, "text/event-stream", "\x1f\x8b\x08half", "gzip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				w.Header().Set("Content-Type", tt.media)
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				send(w, tt.sent)
				cut(w)
			}})
			got, _ := r.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s", tt.method, tt.path, len(tt.body), tt.body))
			if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "Transfer-Encoding: chunked\r\n") {
				t.Fatalf("the answer begins %q", got[:min(len(got), 300)])
			}
			if strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("the broken answer ends as if it were whole: %q", got[max(0, len(got)-40):])
			}
			if !strings.Contains(got, tt.sent[len(tt.sent)-4:]) {
				t.Error("what had come was not passed on")
			}
			diff(t, "status", ledger.Failed, r.ended().Status)
			diff(t, "keys", []string{"k0"}, r.asked())
		})
	}
}

// An answer that is shorter than it said cannot look whole, either.
func TestShortOfItsLength(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		w.Header().Set("Content-Length", "100")
		send(w, "only this")
		cut(w)
	}})
	got := r.get("/v1/files/f/content")
	if got.Err == nil || got.Body != "only this" || got.Header.Get("Content-Length") != "100" {
		t.Errorf("got %+v", got)
	}
}

// What has reached its end is whole, however the connection ends; what has not
// is not, however properly.
func TestWhatIsComplete(t *testing.T) {
	tests := []struct {
		name, path, request, sent string
		end                       func(http.ResponseWriter)
		want                      ledger.Status
	}{
		{"chat without [DONE]", "/v1/chat/completions", chatRequest, roleChunk + textChunk + finishChunk, func(http.ResponseWriter) {}, ledger.Completed},
		{"chat without [DONE], cut", "/v1/chat/completions", chatRequest, roleChunk + textChunk + finishChunk, cut, ledger.Failed},
		{"chat, cut after [DONE]", "/v1/chat/completions", chatRequest, roleChunk + textChunk + finishChunk + doneChunk, cut, ledger.Completed},
		{"chat of one [DONE]", "/v1/chat/completions", chatRequest, doneChunk, cut, ledger.Completed},
		{"responses, cut after the end", "/v1/responses", responsesRequest, created + outputDelta + completed, cut, ledger.Completed},
		{"messages, cut after the end", "/v1/messages", messagesRequest, messageStart + textDelta + messageStop, cut, ledger.Completed},
		{"messages, one event", "/v1/messages", messagesRequest, messageStop, cut, ledger.Completed},
		{"messages without message_stop", "/v1/messages", messagesRequest, messageStart + textDelta, func(http.ResponseWriter) {}, ledger.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				sse(w, tt.sent)
				tt.end(w)
			}})
			got := r.post(tt.path, tt.request)
			diff(t, "status", tt.want, r.ended().Status)
			if tt.want == ledger.Completed {
				diff(t, "body", tt.sent, got.Body)
			} else if !strings.Contains(got.Body, `"error"`) {
				t.Errorf("no error in %q", got.Body)
			}
			if got.Err != nil {
				t.Error(got.Err)
			}
		})
	}
}

// The upstream's own error after content is passed on, once, masked, and the
// exchange has failed; the break behind it adds nothing.
func TestErrorEventAfterContent(t *testing.T) {
	failure := "event: error\n" + `data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded %s"}}` + "\n\n"
	for how, end := range map[string]func(http.ResponseWriter){"proper end": func(http.ResponseWriter) {}, "cut": cut} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				sse(w, messageStart, textDelta, fmt.Sprintf(failure, key(1)))
				end(w)
			}})
			got := r.post("/v1/messages", messagesRequest)
			diff(t, "body", messageStart+textDelta+fmt.Sprintf(failure, "***"), got.Body)
			if got.Err != nil {
				t.Error(got.Err)
			}
			diff(t, "status", ledger.Failed, r.ended().Status)
			diff(t, "transitions", 0.0, r.sum("key_pool_state_transitions_total", "anthropic"))
		})
	}
}

// An answer that has begun to come in one event beyond all bounds cannot be told
// an error of: only its connection can.
func TestEventBeyondAllBounds(t *testing.T) {
	r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		sse(w, messageStart, textDelta, "data: ")
		io.WriteString(w, strings.Repeat("x", 33<<20))
		cut(w)
	}})
	got := r.post("/v1/messages", messagesRequest)
	if got.Err == nil || strings.Contains(got.Body, "event: error") {
		t.Errorf("got %d bytes that end %q, %v", len(got.Body), got.Body[len(got.Body)-100:], got.Err)
	}
	diff(t, "status", ledger.Failed, r.ended().Status)
}
