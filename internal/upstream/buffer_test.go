package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keybridge/internal/upstream"
	"keybridge/keypool/verdict"
)

func TestBufferSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 512, 513, 1 << 14, 1<<14 + 1, 500_000, 1 << 20, 1<<20 + 1} {
		for range 3 {
			b := upstream.NewBuffer(n)
			if len(b.Bytes) != n {
				t.Errorf("%d bytes, want %d", len(b.Bytes), n)
			}
			b.Release()
		}
	}
}

// An upstream can answer before it has read the request: the transport then still
// sends a body that its maker has given back.
func TestBufferIsNotReusedWhileSent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		base   string
		length int
	}{
		"plain":      {"http://x", 1 << 20},
		"TLS":        {"https://example.com", 1 << 20},
		"TLS, small": {"https://example.com", 1 << 14},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentWhileReused(t, tt.base, tt.length)
		})
	}
}

func sentWhileReused(t *testing.T, base string, length int) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	near, far := net.Pipe() // nothing is taken in unread, as sockets do
	defer far.Close()       // the pipe's, whatever is put over it
	c := upstream.NewClient(upstream.Options{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil },
		TLS:         certified.Client().Transport.(*http.Transport).TLSClientConfig,
	})
	if strings.HasPrefix(base, "https") {
		far = tls.Server(far, certified.TLS)
	}
	answered, reused, got := make(chan struct{}), make(chan struct{}), make(chan []byte, 1)
	go func() {
		req, err := http.ReadRequest(bufio.NewReader(far))
		if err == nil {
			_, err = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") // and then nothing
		}
		close(answered)
		<-reused
		body := make([]byte, length)
		if err == nil {
			_, err = io.ReadFull(req.Body, body)
		}
		if err != nil {
			t.Error(err)
		}
		got <- body
	}()
	b := upstream.NewBuffer(length)
	want := bytes.Repeat([]byte("a"), length)
	copy(b.Bytes, want)
	resp, err := c.Send(t.Context(), target(t, verdict.OpenAI, base), &upstream.Request{Method: "POST", Body: b.Bytes, Owner: b, Repeatable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-answered
	b.Release()
	for range 16 { // a pool may give back another first
		clear(upstream.NewBuffer(length).Bytes)
	}
	close(reused)
	if !bytes.Equal(<-got, want) {
		t.Error("the body was overwritten on its way")
	}
}
