package compat_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// text is what every healthy answer says, in two deltas when it streams.
const text = "Hello from the pool."

// wire is what an API looks like. A streaming answer is preamble + content + rest.
type wire struct {
	blocking                string
	preamble, content, rest string
	streamError             string // the error event of the upstream, its number left open
	cold                    string // the 429 body
}

var wires = map[string]wire{
	"/v1/chat/completions": {
		blocking: `{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello from the pool.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`,
		preamble: chunk(`{"role":"assistant","content":"","refusal":null}`, "null"),
		content:  chunk(`{"content":"Hello from"}`, "null"),
		rest:     chunk(`{"content":" the pool."}`, "null") + chunk(`{}`, `"stop"`) + "data: [DONE]\n\n",
		streamError: `data: {"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":"server_error"}}` +
			"\n\n",
		cold: `{"error":{"message":"Rate limit reached for gpt-4o-mini. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
	},
	"/v1/responses": {
		blocking: response("completed", item("completed", `{"type":"output_text","annotations":[],"logprobs":[],"text":"Hello from the pool."}`)),
		preamble: event("response.created", `"sequence_number":0,"response":`+response("in_progress", "")) +
			event("response.in_progress", `"sequence_number":1,"response":`+response("in_progress", "")) +
			event("response.output_item.added", `"sequence_number":2,"output_index":0,"item":`+item("in_progress", "")) +
			event("response.content_part.added", `"sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}`),
		content: event("response.output_text.delta", `"sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hello from","logprobs":[]`),
		rest: event("response.output_text.delta", `"sequence_number":5,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" the pool.","logprobs":[]`) +
			event("response.completed", `"sequence_number":6,"response":`+response("completed", item("completed", `{"type":"output_text","annotations":[],"logprobs":[],"text":"Hello from the pool."}`))),
		streamError: event("error", `"sequence_number":SEQ,"code":"server_error","message":"The server had an error.","param":null`),
		cold:        `{"error":{"message":"Rate limit reached for gpt-4o-mini. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
	},
	"/v1/messages": {
		blocking: `{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"Hello from the pool."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":5}}`,
		preamble: event("message_start", `"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}`) +
			event("content_block_start", `"index":0,"content_block":{"type":"text","text":""}`) + event("ping", ""),
		content: event("content_block_delta", `"index":0,"delta":{"type":"text_delta","text":"Hello from"}`),
		rest: event("content_block_delta", `"index":0,"delta":{"type":"text_delta","text":" the pool."}`) + event("content_block_stop", `"index":0`) +
			event("message_delta", `"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}`) + event("message_stop", ""),
		streamError: event("error", `"error":{"type":"overloaded_error","message":"Overloaded"}`),
		cold:        `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit."},"request_id":"req_1"}`,
	},
}

func chunk(delta, finish string) string {
	return fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}`+"\n\n", delta, finish)
}

func event(name, members string) string {
	if members != "" {
		members = "," + members
	}
	return fmt.Sprintf("event: %s\ndata: {\"type\":%q%s}\n\n", name, name, members)
}

func response(status, output string) string {
	return fmt.Sprintf(`{"id":"resp_1","object":"response","created_at":1790000000,"status":%q,"error":null,"incomplete_details":null,"model":"gpt-4o-mini","output":[%s],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":14}}`, status, output)
}

func item(status, content string) string {
	return fmt.Sprintf(`{"id":"msg_1","type":"message","status":%q,"role":"assistant","content":[%s]}`, status, content)
}

// asked returns what the request's API looks like, and whether it streams.
func asked(r *http.Request) (wire, bool) {
	body, _ := io.ReadAll(r.Body)
	return wires[r.URL.Path], bytes.Contains(body, []byte(`"stream":true`))
}

// failAfter is the upstream's error event after n events of a stream.
func (a wire) failAfter(n string) string { return strings.Replace(a.streamError, "SEQ", n, 1) }

func send(w http.ResponseWriter, contentType string, parts ...string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Request-Id", "req_upstream")
	for _, p := range parts {
		io.WriteString(w, p)
		w.(http.Flusher).Flush()
	}
}

const (
	asJSON = "application/json"
	asSSE  = "text/event-stream; charset=utf-8"
)

// healthy answers well, on the list of models, too.
func healthy(w http.ResponseWriter, r *http.Request) {
	a, stream := asked(r)
	switch {
	case strings.HasSuffix(r.URL.Path, "/models") && r.Header.Get("Anthropic-Version") != "":
		send(w, asJSON, `{"data":[{"type":"model","id":"claude-haiku-4-5","display_name":"Claude Haiku 4.5","created_at":"2025-10-01T00:00:00Z"}],"has_more":false,"first_id":"claude-haiku-4-5","last_id":"claude-haiku-4-5"}`)
	case strings.HasSuffix(r.URL.Path, "/models"):
		send(w, asJSON, `{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1721172741,"owned_by":"system"}]}`)
	case a.blocking == "":
		http.NotFound(w, r)
	case stream:
		send(w, asSSE, a.preamble, a.content, a.rest)
	default:
		send(w, asJSON, a.blocking)
	}
}

// rateLimited is a 429 that asks for 20 seconds.
func rateLimited(w http.ResponseWriter, r *http.Request) {
	a, _ := asked(r)
	w.Header().Set("Content-Type", asJSON)
	w.Header().Set("Retry-After", "20")
	w.WriteHeader(http.StatusTooManyRequests)
	io.WriteString(w, a.cold)
}

// errorFirst is an error as the first event of a 200.
func errorFirst(w http.ResponseWriter, r *http.Request) {
	a, stream := asked(r)
	if stream {
		send(w, asSSE, a.failAfter("0"))
		return
	}
	rateLimited(w, r)
}

// errorAfterPreamble is an error before the first content.
func errorAfterPreamble(w http.ResponseWriter, r *http.Request) {
	a, stream := asked(r)
	if stream {
		send(w, asSSE, a.preamble, a.failAfter("4"))
		return
	}
	dies(w, r)
}

// dies breaks the connection off in the middle of the content.
func dies(w http.ResponseWriter, r *http.Request) {
	a, stream := asked(r)
	if stream {
		send(w, asSSE, a.preamble, a.content)
	} else {
		send(w, asJSON, a.blocking[:len(a.blocking)/2])
	}
	panic(http.ErrAbortHandler)
}

// ends stops in the middle of the content as if that were all.
func ends(w http.ResponseWriter, r *http.Request) {
	if a, stream := asked(r); stream {
		send(w, asSSE, a.preamble, a.content)
	} else {
		send(w, asJSON, a.blocking[:len(a.blocking)/2])
	}
}

// errorAfterContent is the upstream's own error after content.
func errorAfterContent(w http.ResponseWriter, r *http.Request) {
	if a, stream := asked(r); stream {
		send(w, asSSE, a.preamble, a.content, a.failAfter("5"))
		return
	}
	dies(w, r)
}
