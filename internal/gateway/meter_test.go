package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"keybridge/internal/llm"
)

// With meter the provider is asked for the usage of a stream, and the client sees the
// bytes it would have seen without: also of what was held back.
func TestMeter(t *testing.T) {
	const usage = `data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-5","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}` + "\n\n"
	unused := func(chunk string) string {
		return strings.Replace(chunk, "\n\n", "", 1)[:len(chunk)-3] + `,"usage":null}` + "\n\n"
	}
	plain := roleChunk + textChunk + finishChunk + doneChunk
	for name, tt := range map[string]struct {
		meter   bool
		request string
		header  []string
		asked   bool
		want    string // by the client
	}{
		"asked by the gateway": {true, chatRequest, nil, true, plain},
		"asked by the client": {
			true, `{"model":"gpt-5","stream":true,"stream_options":{"include_usage":true},"messages":[]}`, nil, true,
			unused(roleChunk) + unused(textChunk) + unused(finishChunk) + usage + doneChunk,
		},
		"off":              {false, chatRequest, nil, false, plain},
		"with an own key":  {true, chatRequest, []string{"X-Keybridge-Token", "", "Authorization", "Bearer " + own}, false, plain},
		"of another model": {true, `{"model":"m","stream":true,"stream_options":{"x":1},"messages":[]}`, nil, true, plain},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, _ string, n int) {
				if n == 0 && tt.header == nil {
					jsonAnswer(w, http.StatusInternalServerError, "{}") // the next key is asked the same
					return
				}
				if tt.asked {
					sse(w, unused(roleChunk), unused(textChunk), unused(finishChunk), usage, doneChunk)
					return
				}
				sse(w, roleChunk, textChunk, finishChunk, doneChunk)
			}})
			for _, target := range r.snapshot.Targets {
				target.Meter = tt.meter
			}
			got := r.post("/v1/chat/completions", tt.request, tt.header...)
			diff(t, "body", tt.want, got.Body)
			calls := r.seen()
			diff(t, "asked", tt.asked, gjson.Get(calls[len(calls)-1].Body, "stream_options.include_usage").Bool())
			turn := r.ended().Turns[0]
			diff(t, "reported", tt.asked, turn.Reported)
			if tt.asked {
				diff(t, "usage", llm.Usage{Input: 7, Output: 5}, turn.Usage)
			}
		})
	}
}
