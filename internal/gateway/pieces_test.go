package gateway_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func diff(t testing.TB, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// Pieces of answers.
const (
	chatRequest     = `{"model":"gpt-5","stream":true,"messages":[]}`
	chatBlocking    = `{"model":"gpt-5","messages":[]}`
	messagesRequest = `{"model":"claude-opus-5","stream":true,"max_tokens":9,"messages":[]}`

	roleChunk   = `data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-5","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	textChunk   = `data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-5","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n"
	finishChunk = `data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-5","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	doneChunk   = "data: [DONE]\n\n"
	completion  = `{"id":"c1","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}`

	messageStart = "event: message_start\n" + `data: {"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"claude-opus-5","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}` + "\n\n"
	textDelta    = "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}` + "\n\n"
	messageStop  = "event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"
	pingEvent    = "event: ping\n" + `data: {"type": "ping"}` + "\n\n"

	rateLimited = `{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}`
)

// send writes and flushes pieces of an answer.
func send(w http.ResponseWriter, pieces ...string) {
	for _, p := range pieces {
		io.WriteString(w, p)
	}
	http.NewResponseController(w).Flush()
}

func sse(w http.ResponseWriter, pieces ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	send(w, pieces...)
}

func jsonAnswer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// cut breaks the connection after what was sent.
func cut(w http.ResponseWriter) {
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// arrival is a piece of an answer and when it came.
type arrival struct {
	At   time.Duration
	Text string
}

// watch reads an answer piece by piece, each with its time since start.
func watch(body io.Reader, start time.Time) (pieces []arrival, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			pieces = append(pieces, arrival{time.Since(start), string(buf[:n])})
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return pieces, err
		}
	}
}

// head reads the head of an answer from a raw connection.
func head(t testing.TB, c net.Conn) (*http.Response, *bufio.Reader) {
	t.Helper()
	b := bufio.NewReader(c)
	resp, err := http.ReadResponse(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}
