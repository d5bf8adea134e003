package upstream_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"keybridge/internal/upstream"
	"keybridge/keypool/verdict"
)

func TestClientHeader(t *testing.T) {
	from := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"5"}, "Content-Encoding": {"gzip"}, "Date": {"d"}, "Server": {"s"},
		"X-Request-Id": {"req_1"}, "Request-Id": {"req_2"}, "Openai-Processing-Ms": {"9"}, "Openai-Version": {"2020-10-01"},
		"X-Should-Retry": {"false"}, "Retry-After": {"3"}, "Retry-After-Ms": {"3000"}, "X-Unknown": {"a", "b"},
		"Openai-Organization": {"o"}, "Openai-Project": {"p"}, "Anthropic-Organization-Id": {"o"}, "Anthropic-Workspace-Id": {"w"}, "Set-Cookie": {"c=1"},
		"X-Ratelimit-Remaining-Requests": {"1"}, "X-Ratelimit-Limit-Project-Tokens": {"1"}, "Anthropic-Ratelimit-Unified-5h-Status": {"allowed"},
		"Anthropic-Priority-Input-Tokens-Limit": {"1"}, "Anthropic-Fast-Output-Tokens-Reset": {"1"}, "X-Codex-Primary-Used-Percent": {"1"},
		"Alt-Svc": {"h3"}, "Strict-Transport-Security": {"max-age=1"},
		"Connection": {"close, x-hop"}, "X-Hop": {"1"}, "Keep-Alive": {"1"}, "Te": {"1"}, "Trailer": {"X-Sum"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"},
		"Proxy-Authenticate": {"Basic"},
	}
	public := []string{
		"Content-Type", "Content-Encoding", "Date", "Server", "X-Request-Id", "Request-Id", "Openai-Processing-Ms", "Openai-Version",
		"X-Should-Retry", "Retry-After", "Retry-After-Ms", "X-Unknown",
	}
	private := []string{
		"Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Anthropic-Workspace-Id", "Set-Cookie",
		"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Limit-Project-Tokens", "Anthropic-Ratelimit-Unified-5h-Status",
		"Anthropic-Priority-Input-Tokens-Limit", "Anthropic-Fast-Output-Tokens-Reset", "X-Codex-Primary-Used-Percent",
	}
	tests := []struct {
		name   string
		status int
		w      upstream.Rewrite
		want   []string
	}{
		{"pooled", 200, upstream.Rewrite{Pooled: true}, append([]string{"Content-Length"}, public...)},
		{"pooled, edited", 200, upstream.Rewrite{Pooled: true, Edited: true}, public},
		{"the caller's key", 429, upstream.Rewrite{}, append(append([]string{"Content-Length"}, public...), private...)},
		{"the caller's key, edited", 429, upstream.Rewrite{Edited: true}, append(append([]string(nil), public...), private...)},
		{"no content", 204, upstream.Rewrite{Pooled: true}, public},
		{"not modified", 304, upstream.Rewrite{Pooled: true}, append([]string{"Content-Length"}, public...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := http.Header{}
			for _, k := range tt.want {
				want[k] = from[k]
			}
			before := from.Clone()
			got := http.Header{}
			upstream.ClientHeader(got, &http.Response{StatusCode: tt.status, Header: from}, tt.w)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, from); diff != "" {
				t.Error("the answer's header was changed:", diff)
			}
		})
	}
}

func packed(t *testing.T, encoding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, _ = flate.NewWriter(&b, 6)
	case "zstd":
		w, _ = zstd.NewWriter(&b)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadError(t *testing.T) {
	const text = `{"error":{"message":"no"}}`
	long := strings.Repeat("x", 64<<10)
	many := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	gz := packed(t, "gzip", text)
	length := func(s string) string { return "Content-Length: " + strconv.Itoa(len(s)) + "\r\n" }
	tests := []struct {
		name, header, body string
		want               upstream.ErrorBody // Raw is the body if nil
	}{
		{"plain", length(text), text, upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"empty", "Content-Length: 0\r\n", "", upstream.ErrorBody{Raw: []byte{}, Text: []byte{}, Whole: true}},
		{"to the close", "Connection: close\r\n", text, upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"cut", "Content-Length: 99\r\n", text, upstream.ErrorBody{Text: []byte(text), Err: io.ErrUnexpectedEOF}},
		{"at the limit", length(long), long, upstream.ErrorBody{Text: []byte(long), Whole: true}},
		{"over the limit", length(long + "yz"), long + "yz", upstream.ErrorBody{Raw: []byte(long + "y"), Text: []byte(long + "y")}},
		{"gzip", "Content-Encoding: GZIP\r\n" + length(gz), gz, upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"gzip, cut", "Content-Encoding: gzip\r\nContent-Length: 99\r\n", gz[:len(gz)-8], upstream.ErrorBody{Text: []byte(text), Err: io.ErrUnexpectedEOF}},
		{"no gzip at all", "Content-Encoding: gzip\r\n" + length(text), text, upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"deflate", "Content-Encoding: deflate\r\n", packed(t, "zlib", text), upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"deflate without its frame", "Content-Encoding: deflate\r\n", packed(t, "flate", text), upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"zstd", "Content-Encoding: zstd\r\n", packed(t, "zstd", text), upstream.ErrorBody{Text: []byte(text), Whole: true}},
		{"unknown", "Content-Encoding: br\r\n", gz, upstream.ErrorBody{Text: []byte(gz), Whole: true}},
		{"bomb", "Content-Encoding: gzip\r\n", packed(t, "gzip", many), upstream.ErrorBody{Text: []byte(many[:64<<10]), Whole: true}},
		{"zstd bomb", "Content-Encoding: zstd\r\n", packed(t, "zstd", many), upstream.ErrorBody{Text: []byte(many[:64<<10]), Whole: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Raw == nil {
				tt.want.Raw = []byte(tt.body)
			}
			if !strings.Contains(tt.header, "Content-Length") {
				tt.header += "Connection: close\r\n"
			}
			c, s := net.Pipe()
			go func() {
				http.ReadRequest(bufio.NewReader(s))
				io.WriteString(s, "HTTP/1.1 400 Bad Request\r\n"+tt.header+"\r\n"+tt.body)
				s.Close()
			}()
			cl := client(t, upstream.Options{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }})
			resp, err := cl.Send(t.Context(), target(t, verdict.OpenAI, "http://x"), &upstream.Request{Method: "GET"})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := upstream.ReadError(resp)
			text := cmp.Transformer("text", func(b []byte) string { return string(b) })
			if diff := cmp.Diff(tt.want, got, text, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
			if got.Err == nil && !got.Whole {
				rest, err := io.ReadAll(resp.Body)
				if string(got.Raw)+string(rest) != tt.body || err != nil {
					t.Errorf("the rest is not there: %d bytes, %v", len(rest), err)
				}
			}
		})
	}
}

func TestReadErrorStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.CopyN(io.Discard, s, 1)
			go func() {
				io.WriteString(s, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 99\r\n\r\n{\"error\"")
			}()
			io.Copy(io.Discard, s) // ends when the client closes
			s.Close()
		}()
		cl := upstream.NewClient(upstream.Options{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }})
		defer cl.CloseIdle()
		resp, err := cl.Send(t.Context(), target(t, verdict.OpenAI, "http://x"), &upstream.Request{Method: "GET"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		got := upstream.ReadError(resp)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("it took %v, want 2s", d)
		}
		if string(got.Raw) != `{"error"` || got.Whole || !errors.Is(got.Err, upstream.ErrStalled) {
			t.Errorf("got %q, whole %v, %v", got.Raw, got.Whole, got.Err)
		}
		resp.Body.Close()
		<-done
	})
}

func TestMasked(t *testing.T) {
	m := upstream.NewMasker([]string{openaiKey})
	gz := packed(t, "gzip", "bad key "+openaiKey)
	tests := []struct {
		name string
		body upstream.ErrorBody
		want string
		h    http.Header
	}{
		{"clean", upstream.ErrorBody{Raw: []byte("gz"), Text: []byte("no")}, "gz", http.Header{"Content-Encoding": {"gzip"}, "Content-Length": {"2"}, "X": {"1"}}},
		{"a secret inside", upstream.ErrorBody{Raw: []byte(gz), Text: []byte("bad key " + openaiKey)}, "bad key ***", http.Header{"X": {"1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Content-Encoding": {"gzip"}, "Content-Length": {"2"}, "X": {"1"}}
			if diff := cmp.Diff(tt.want, string(tt.body.Masked(m, h))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.h, h); diff != "" {
				t.Error(diff)
			}
		})
	}
}
