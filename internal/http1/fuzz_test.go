package http1

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a connection that answers a request with a text in pieces.
type script struct {
	text  string
	sizes []byte // of the pieces
	next  int
	asked chan struct{}
	once  sync.Once
}

func newScript(text string, sizes []byte) *script {
	return &script{text: text, sizes: sizes, asked: make(chan struct{})}
}

func (s *script) Read(p []byte) (int, error) {
	<-s.asked
	if s.text == "" {
		return 0, io.EOF
	}
	n := len(s.text)
	if len(s.sizes) > 0 {
		n = 1 + int(s.sizes[s.next%len(s.sizes)])
		s.next++
	}
	n = copy(p, s.text[:min(n, len(s.text))])
	s.text = s.text[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.asked) })
	return len(p), nil
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.asked) })
	return nil
}

func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// outcome is what a caller sees of an answer.
type outcome struct {
	Failed bool // no head
	Status int
	Text   string
	Header http.Header
	Length int64
	Body   string
	Cut    bool // the body ended with an error
}

func outcomeOf(resp *http.Response, err error) outcome {
	if err != nil {
		return outcome{Failed: true}
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return outcome{false, resp.StatusCode, resp.Status, resp.Header, resp.ContentLength, string(body), err != nil}
}

// Whatever an upstream answers, and in whatever pieces it comes, it means what it
// means to net/http.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		okAnswer, okAnswer + "more",
		"HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3;a=b\r\nabc\r\n0 \r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000a \t\r\n0123456789\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
		"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 304 Not Modified\nContent-Length: 3\n\n",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nPragma: no-cache\r\n\r\n",
		"HTTP/1.1 200 O\x00K\r\nA: \x7f\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 000\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1  200 \r\n\r\n", "x",
	} {
		f.Add(s, []byte{}, false)
		f.Add(s, []byte{0}, false)
		f.Add(s, []byte{7, 2, 30}, true)
	}
	log.SetOutput(io.Discard) // net/http tells of what comes too many
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	f.Fuzz(func(t *testing.T, text string, sizes []byte, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		ours := NewClient(Options{
			Dial: func(context.Context, string, string) (net.Conn, error) { return newScript(text, sizes), nil },
			// nothing is kept: there would be nothing to read
			IdleTimeout: time.Second, MaxHead: 1 << 20,
		})
		r := get("x:80")
		r.Method = method
		resp, _, err := ours.Do(t.Context(), r)
		got := outcomeOf(resp, err)

		theirs := &http.Transport{
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return newScript(text, sizes), nil },
			DisableCompression: true, DisableKeepAlives: false, MaxResponseHeaderBytes: 1 << 20, ReadBufferSize: readBuffer,
		}
		defer theirs.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x:80/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err = theirs.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
			resp.Body.Close()
			resp.Body = http.NoBody // ours is not to be used
		}
		want := outcomeOf(resp, err)
		if !want.Failed && want.Status < 100 {
			want = outcome{Failed: true} // the one difference
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("differs from net/http (-want +got):\n%s", diff)
		}
	})
}
