package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The first elements of the mock's paths, which are the names of the gateway's
// providers, too: each proxy is asked for the very same path.
const (
	blockingPath = "blocking"
	streamPath   = "events"
	pacedPath    = "paced"
	idlePath     = "idle"
	refusePath   = "refusing" // the first key is always refused
	soakPath     = "soak"
	countersPath = "counters"
	releasePath  = "release"

	burstEvents = 100
	pacedEvents = 50
)

// upstreamKeys are the gateway's keys at each provider.
var upstreamKeys = [...]string{"sk-bench-upstream-key-0", "sk-bench-upstream-key-1", "sk-bench-upstream-key-2"} //nolint:gochecknoglobals // a constant table

// answers are whole answers, head and all, as they go over the wire.
type answers struct {
	blocking, stream, idle, tooLarge []byte
	paced                            [][]byte // by write
	soak                             soakStreams
}

func newAnswers() answers {
	a := answers{
		blocking: head(200, "application/json", len(completion), completion),
		tooLarge: head(429, "application/json", len(refusal), refusal),
		soak:     newSoakStreams(),
	}
	begin := head(200, "text/event-stream; charset=utf-8", -1, "")
	a.stream = append(a.stream, begin...)
	for _, e := range events(burstEvents) {
		a.stream = append(a.stream, chunked(e)...)
	}
	a.stream = append(a.stream, lastChunk...)

	for i, e := range events(pacedEvents) {
		piece := chunked(e)
		if i == 0 {
			piece = append(append([]byte(nil), begin...), piece...)
		}
		a.paced = append(a.paced, piece)
	}
	a.paced[pacedEvents-1] = append(a.paced[pacedEvents-1], lastChunk...)

	a.idle = append(a.idle, begin...)
	for _, e := range events(burstEvents)[:2] {
		a.idle = append(a.idle, chunked(e)...)
	}
	return a
}

const lastChunk = "0\r\n\r\n"

func chunked(b []byte) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b) }

// head begins an answer with what providers send along; a negative length means
// that it comes in chunks.
func head(status int, contentType string, length int, body string) []byte {
	framing := "Transfer-Encoding: chunked"
	if length >= 0 {
		framing = "Content-Length: " + strconv.Itoa(length)
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n"+strings.Join([]string{
		"Date: Mon, 01 Jan 2024 00:00:00 GMT",
		"Content-Type: %s",
		"%s",
		"Openai-Organization: org-bench",
		"Openai-Processing-Ms: 412",
		"Openai-Version: 2020-10-01",
		"X-Ratelimit-Limit-Requests: 10000",
		"X-Ratelimit-Limit-Tokens: 30000000",
		"X-Ratelimit-Remaining-Requests: 9999",
		"X-Ratelimit-Remaining-Tokens: 29999000",
		"X-Ratelimit-Reset-Requests: 6ms",
		"X-Ratelimit-Reset-Tokens: 2ms",
		"X-Request-Id: req_0123456789abcdef0123456789abcdef",
		"Strict-Transport-Security: max-age=31536000; includeSubDomains; preload",
		"Cf-Cache-Status: DYNAMIC",
		"Server: cloudflare",
	}, "\r\n")+"\r\n\r\n%s", status, http.StatusText(status), contentType, framing, body)
}

func plain(status int, body string) []byte { return head(status, "text/plain", len(body), body) }

const refusal = `{"error":{"message":"Request too large for gpt-5-mini in organization org-bench on tokens per min (TPM): Limit 30000, Requested 31538. ` +
	`The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`

// completion is a whole answer of about 1 KB.
const completion = `{"id":"chatcmpl-BenchBenchBenchBenchBenchBench0","object":"chat.completion","created":1704067200,"model":"gpt-5-mini-2025-08-07",` +
	`"choices":[{"index":0,"message":{"role":"assistant","content":"A gateway keeps several keys for each provider. When one of them is rate-limited, ` +
	`revoked or out of credit, the same request goes on with another key before the client notices anything.\n\n` +
	"```go\\nfor _, key := range keys {\\n\\tif resp, err := send(key); err == nil {\\n\\t\\treturn resp\\n\\t}\\n}\\n```" +
	`","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":96,"total_tokens":308,` +
	`"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,` +
	`"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_0123456789"}`

// events is a chat stream of n events: the role, words, the finish, the usage and
// the end.
func events(n int) [][]byte {
	all := [][]byte{event(`[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}]`, "null")}
	for i := range n - 4 {
		all = append(all, event(fmt.Sprintf(`[{"index":0,"delta":{"content":" word%d,\n"},"finish_reason":null}]`, i), "null"))
	}
	return append(
		all,
		event(`[{"index":0,"delta":{},"finish_reason":"stop"}]`, "null"),
		event(`[]`, `{"prompt_tokens":212,"completion_tokens":96,"total_tokens":308,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},`+
			`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`),
		[]byte("data: [DONE]\n\n"),
	)
}

func event(choices, usage string) []byte {
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-BenchBenchBenchBenchBenchBench0","object":"chat.completion.chunk","created":1704067200,"model":"gpt-5-mini-2025-08-07",`+
		`"service_tier":"default","system_fingerprint":"fp_0123456789","choices":%s,"usage":%s,"obfuscation":"Xq3vT9"}`+"\n\n", choices, usage)
}

// bodyOf is what is left of a chunked answer when its framing is taken off.
func bodyOf(events [][]byte) []byte { return bytes.Join(events, nil) }
