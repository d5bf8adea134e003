package gateway_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
)

// When the gateway stops before an answer has ended, its client is told, as its
// API tells errors; the client has not gone away, and no key is to blame.
func TestStopping(t *testing.T) {
	tests := []struct {
		name, path, request string
		begin               func(w http.ResponseWriter)
		status              int
		shown, event        string
		aborted             bool
	}{
		{"chat stream", "/v1/chat/completions", chatRequest, func(w http.ResponseWriter) { sse(w, roleChunk, textChunk) }, 200, roleChunk + textChunk, "data: ", false},
		{"messages stream", "/v1/messages", messagesRequest, func(w http.ResponseWriter) { sse(w, messageStart, textDelta) }, 200, messageStart + textDelta, "event: error\ndata: ", false},
		{"held", "/v1/messages", messagesRequest, func(w http.ResponseWriter) { sse(w, messageStart) }, 503, "", "", false},
		{"no head", "/v1/chat/completions", chatBlocking, func(http.ResponseWriter) {}, 503, "", "", false},
		{"between sends", "/v1/chat/completions", chatBlocking, func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 503, "", "", false},
		{"opaque", "/v1/embeddings", `{"model":"m"}`, func(w http.ResponseWriter) { send(w, "{") }, 200, "{", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(context.Background())
				r := newRig(t, setup{base: func(net.Listener) context.Context { return ctx }, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
					tt.begin(w)
					<-req.Context().Done()
				}})
				timer := time.AfterFunc(150*time.Millisecond, func() { stop(gateway.ErrStopping) })
				defer timer.Stop()
				got := r.post(tt.path, tt.request)
				diff(t, "status", tt.status, got.Status)
				diff(t, "aborted", tt.aborted, got.Err != nil)
				rest, ok := strings.CutPrefix(got.Body, tt.shown)
				data, named := strings.CutPrefix(rest, tt.event)
				if !ok || !named || !tt.aborted && !strings.Contains(gjson.Get(data, "error.message").Str, "stopping") {
					t.Errorf("got %q", got.Body)
				}
				e := r.ended()
				diff(t, "status", ledger.Failed, e.Status)
				diff(t, "time", 150*time.Millisecond, e.End.Sub(e.Start))
				r.states(2, 0)
				r.idle()
			})
		})
	}
}
