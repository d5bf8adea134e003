package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/upstream"
	"keybridge/keypool/verdict"
)

// rawServer answers with raw bytes on TCP, and keeps the raw bytes it was sent.
type rawServer struct {
	net.Listener
	mu       sync.Mutex
	requests []string
	roots    *x509.CertPool // nil: without TLS
}

// newRawServer asks answer for what to send to the nth request (from 1, over all
// connections). An empty answer resets the connection.
func newRawServer(t *testing.T, answer func(n int) string) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l}
	s.run(t, answer)
	return s
}

// newTLSServer is newRawServer behind TLS, which another client than the plain one
// speaks to.
func newTLSServer(t *testing.T, answer func(n int) string) *rawServer {
	t.Helper()
	lent := httptest.NewTLSServer(nil)
	t.Cleanup(lent.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: lent.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l, roots: x509.NewCertPool()}
	s.roots.AddCert(lent.Certificate())
	s.run(t, answer)
	return s
}

func (s *rawServer) run(t *testing.T, answer func(n int) string) {
	t.Helper()
	l := s.Listener
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { s.serve(c, answer) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
}

// client is one that trusts the server.
func (s *rawServer) client(t *testing.T) *upstream.Client {
	t.Helper()
	return client(t, upstream.Options{TLS: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}})
}

func (s *rawServer) serve(c net.Conn, answer func(n int) string) {
	defer c.Close()
	seen := &strings.Builder{}
	br := bufio.NewReader(io.TeeReader(c, seen))
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		s.mu.Lock()
		s.requests = append(s.requests, seen.String())
		n := len(s.requests)
		s.mu.Unlock()
		seen.Reset()
		text := answer(n)
		if text == "" {
			if tcp, ok := c.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			return
		}
		io.WriteString(c, text)
	}
}

func (s *rawServer) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

func (s *rawServer) target(t *testing.T, kind verdict.Family, path string) *upstream.Target {
	t.Helper()
	scheme := "http://"
	if s.roots != nil {
		scheme = "https://"
	}
	return target(t, kind, scheme+s.Addr().String()+path)
}

func target(t *testing.T, kind verdict.Family, base string) *upstream.Target {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return &upstream.Target{Name: "p", Kind: kind, Base: u}
}

func client(t *testing.T, o upstream.Options) *upstream.Client {
	t.Helper()
	c := upstream.NewClient(o)
	t.Cleanup(c.CloseIdle)
	return c
}

// do sends and reads the answer to its end, so that the connection is kept.
func do(t *testing.T, c *upstream.Client, tg *upstream.Target, r *upstream.Request) (string, error) {
	t.Helper()
	resp, err := c.Send(t.Context(), tg, r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), nil
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func ok(int) string { return okAnswer }

func TestSendBytes(t *testing.T) {
	everything := http.Header{
		"Authorization": {"Bearer caller-1", "Bearer caller-2"}, "X-Api-Key": {"caller-3"}, "Api-Key": {"caller-4"}, "X-Goog-Api-Key": {"caller-5"},
		"Openai-Organization": {"org-caller"}, "Openai-Project": {"proj-caller"}, "Anthropic-Workspace-Id": {"wrkspc_caller"}, "Chatgpt-Account-Id": {"acc"},
		"Cookie": {"a=b"}, "Forwarded": {"for=10.0.0.1"}, "X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"in"}, "X-Real-Ip": {"10.0.0.1"}, "Via": {"1.1 lan"},
		"X-Keybridge-Token": {"t"}, "X-Keybridge-Session": {"s"},
		"Connection": {"keep-alive, X-Hop", "x-hop-too"}, "X-Hop": {"1"}, "X-Hop-Too": {"1"}, "Keep-Alive": {"timeout=5"}, "Te": {"trailers"}, "Trailer": {"X-Sum"},
		"Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"}, "Expect": {"100-continue"}, "Proxy-Connection": {"keep-alive"}, "Proxy-Authorization": {"Basic x"},
		"Http2-Settings": {"AAA"}, "Host": {"evil"}, "Content-Length": {"99"}, "Accept-Encoding": {"gzip, br"},
		"Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a-1,b-2", "c-3"}, "Openai-Beta": {"x=1"}, "X-Unknown": {"kept"}, "Origin": {"http://localhost"},
		"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"claude-cli/2"}, "X-Stainless-Retry-Count": {"0"}, "Idempotency-Key": {"id-1"},
	}
	const kept = "Accept-Encoding: identity\r\nAnthropic-Beta: a-1,b-2\r\nAnthropic-Beta: c-3\r\nAnthropic-Version: 2023-06-01\r\n"
	const kept2 = "Content-Type: application/json; charset=utf-8\r\nOpenai-Beta: x=1\r\n"
	tests := []struct {
		name string
		kind verdict.Family
		base string
		req  upstream.Request
		want string
	}{
		{
			"openai, pooled", verdict.OpenAI, "/v1",
			upstream.Request{Method: "POST", Path: "/responses", RawQuery: "a=%2f&b", Header: everything, Body: []byte(`{"x":1}`)},
			"POST /v1/responses?a=%2f&b HTTP/1.1\r\nHost: H\r\nUser-Agent: claude-cli/2\r\nContent-Length: 7\r\n" + kept[:27] + kept[27:] +
				"Authorization: Bearer THE-KEY\r\n" + kept2 + "Origin: http://localhost\r\nX-Stainless-Retry-Count: 0\r\nX-Unknown: kept\r\nidempotency-key: id-1\r\n\r\n" + `{"x":1}`,
		},
		{
			"anthropic, pooled", verdict.Anthropic, "",
			upstream.Request{Method: "POST", Path: "/v1/messages", RawQuery: "beta=true", Header: everything, Body: []byte(`{}`)},
			"POST /v1/messages?beta=true HTTP/1.1\r\nHost: H\r\nUser-Agent: claude-cli/2\r\nContent-Length: 2\r\n" + kept + kept2 +
				"Origin: http://localhost\r\nX-Api-Key: THE-KEY\r\nX-Stainless-Retry-Count: 0\r\nX-Unknown: kept\r\nidempotency-key: id-1\r\n\r\n{}",
		},
		{
			"compatible, pooled, nothing but the method", verdict.Compatible, "/api/v1/",
			upstream.Request{Method: "GET", Path: "/models", Header: nil},
			"GET /api/v1/models HTTP/1.1\r\nHost: H\r\nAccept-Encoding: identity\r\nAuthorization: Bearer THE-KEY\r\n\r\n",
		},
		{
			"anthropic, the caller's bearer", verdict.Anthropic, "",
			upstream.Request{
				Method: "POST", Path: "/v1/messages", CallerHeader: "Authorization",
				Header: http.Header{"Authorization": {"Bearer x"}, "X-Api-Key": {"gateway-token"}, "Anthropic-Workspace-Id": {"wrkspc_1"}},
			},
			"POST /v1/messages HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\nAccept-Encoding: identity\r\nAnthropic-Workspace-Id: wrkspc_1\r\nAuthorization: Bearer THE-KEY\r\n\r\n",
		},
		{
			"anthropic, the caller's x-api-key", verdict.Anthropic, "",
			upstream.Request{Method: "DELETE", Path: "/v1/files/f", CallerHeader: "x-api-key", Header: http.Header{"Authorization": {"Bearer gateway-token"}}},
			"DELETE /v1/files/f HTTP/1.1\r\nHost: H\r\nAccept-Encoding: identity\r\nX-Api-Key: THE-KEY\r\n\r\n",
		},
		{
			"openai, the caller's api-key", verdict.OpenAI, "/v1",
			upstream.Request{
				Method: "GET", Path: "/files", CallerHeader: "Api-Key",
				Header: http.Header{"Openai-Organization": {"o"}, "Openai-Project": {"p"}, "Chatgpt-Account-Id": {"a"}},
			},
			"GET /v1/files HTTP/1.1\r\nHost: H\r\nAccept-Encoding: identity\r\nApi-Key: THE-KEY\r\nChatgpt-Account-Id: a\r\nOpenai-Organization: o\r\nOpenai-Project: p\r\n\r\n",
		},
		{
			"escapes stay", verdict.OpenAI, "/b%2Fase/v1",
			upstream.Request{Method: "GET", Path: "/files/a%2Fb%20c%7e%C3%A9+;=@:$,", Header: nil},
			"GET /b%2Fase/v1/files/a%2Fb%20c%7e%C3%A9+;=@:$, HTTP/1.1\r\nHost: H\r\nAccept-Encoding: identity\r\nAuthorization: Bearer THE-KEY\r\n\r\n",
		},
		{
			"stream of a known length", verdict.OpenAI, "/v1",
			upstream.Request{Method: "POST", Path: "/files", Stream: strings.NewReader("12345"), Length: 5},
			"POST /v1/files HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nAccept-Encoding: identity\r\nAuthorization: Bearer THE-KEY\r\n\r\n12345",
		},
		{
			"stream of an unknown length", verdict.OpenAI, "/v1",
			upstream.Request{Method: "POST", Path: "/files", Stream: strings.NewReader("12345"), Length: -1},
			"POST /v1/files HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nAccept-Encoding: identity\r\nAuthorization: Bearer THE-KEY\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
		},
		{
			"empty stream", verdict.OpenAI, "/v1",
			upstream.Request{Method: "POST", Path: "/batches/b/cancel", Stream: strings.NewReader(""), Length: 0},
			"POST /v1/batches/b/cancel HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\nAccept-Encoding: identity\r\nAuthorization: Bearer THE-KEY\r\n\r\n",
		},
	}
	both(t, func(t *testing.T, newServer server) {
		for _, tt := range tests {
			s := newServer(t, ok)
			before := tt.req.Header.Clone()
			tt.req.Secret = "THE-KEY"
			if rewind, ok := tt.req.Stream.(*strings.Reader); ok {
				rewind.Seek(0, io.SeekStart)
			}
			if _, err := do(t, s.client(t), s.target(t, tt.kind, tt.base), &tt.req); err != nil {
				t.Fatal(err)
			}
			want := []string{strings.Replace(tt.want, "Host: H\r\n", "Host: "+s.Addr().String()+"\r\n", 1)}
			if diff := cmp.Diff(want, s.seen()); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
			if diff := cmp.Diff(before, tt.req.Header); diff != "" {
				t.Error("the caller's header was changed:", diff)
			}
		}
	})
}

type server func(t *testing.T, answer func(n int) string) *rawServer

// both runs a test over plain connections and over TLS.
func both(t *testing.T, run func(t *testing.T, newServer server)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { run(t, newRawServer) })
	t.Run("tls", func(t *testing.T) { run(t, newTLSServer) })
}

// A connection that dies under a request is one request upstream, and one error.
func TestSendIsNeverRepeated(t *testing.T) {
	key := http.Header{"Idempotency-Key": {"1"}, "X-Idempotency-Key": {"1"}}
	tests := []struct {
		name string
		req  upstream.Request
	}{
		{"get", upstream.Request{Method: "GET"}},
		{"head", upstream.Request{Method: "HEAD"}},
		{"options", upstream.Request{Method: "OPTIONS"}},
		{"delete", upstream.Request{Method: "DELETE"}},
		{"post", upstream.Request{Method: "POST", Body: []byte("{}")}},
		{"post with a key", upstream.Request{Method: "POST", Body: []byte("{}"), Header: key}},
		{"empty post with a key", upstream.Request{Method: "POST", Header: key}},
		{"stream with a key", upstream.Request{Method: "POST", Header: key, Stream: strings.NewReader("12"), Length: 2}},
	}
	onlyFirst := func(n int) string {
		if n == 1 {
			return okAnswer
		}
		return ""
	}
	both(t, func(t *testing.T, newServer server) {
		for _, tt := range tests {
			s := newServer(t, onlyFirst)
			tg, c := s.target(t, verdict.OpenAI, ""), s.client(t)
			if rewind, ok := tt.req.Stream.(*strings.Reader); ok {
				rewind.Seek(0, io.SeekStart)
			}
			if _, err := do(t, c, tg, &upstream.Request{Method: "GET"}); err != nil {
				t.Fatal(err)
			}
			_, err := do(t, c, tg, &tt.req)
			var se *upstream.SendError
			if !errors.As(err, &se) || !se.Written {
				t.Errorf("%s: err = %v, want a *SendError that says written", tt.name, err)
			}
			if n := len(s.seen()); n != 2 {
				t.Errorf("%s: the upstream saw %d requests, want 2", tt.name, n)
			}
		}
	})
	t.Run("net/http repeats it if left alone", func(t *testing.T) {
		s := newRawServer(t, onlyFirst)
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		for range 2 {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String(), nil)
			if resp, err := tr.RoundTrip(req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		if n := len(s.seen()); n < 3 {
			t.Errorf("the upstream saw %d requests: this test proves nothing", n)
		}
	})
}

// deadConn fails to write once it is told to.
type deadConn struct {
	net.Conn
	dead *atomic.Bool
}

func (c deadConn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

func TestSendMovesWhatWasNeverWritten(t *testing.T) {
	for _, tt := range []struct {
		name string
		idle int // dead connections that wait to be used
	}{{"one dead connection", 1}, {"two", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			var busy sync.WaitGroup // so that each of the first requests has its own connection
			busy.Add(tt.idle)
			s := newRawServer(t, func(n int) string {
				if n <= tt.idle {
					busy.Done()
					busy.Wait()
				}
				return okAnswer
			})
			var dead atomic.Bool
			var dials atomic.Int32
			c := client(t, upstream.Options{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if int(dials.Add(1)) <= tt.idle && err == nil {
					conn = deadConn{conn, &dead}
				}
				return conn, err
			}})
			tg := s.target(t, verdict.OpenAI, "")
			var warm sync.WaitGroup
			for range tt.idle {
				warm.Go(func() { do(t, c, tg, &upstream.Request{Method: "GET"}) })
			}
			warm.Wait()
			dead.Store(true)

			body, err := do(t, c, tg, &upstream.Request{Method: "POST", Body: []byte("{}"), Header: http.Header{"Idempotency-Key": {"1"}}})
			if err != nil || body != "ok" || len(s.seen()) != tt.idle+1 {
				t.Errorf("got %q, %v after %d requests, want ok after %d", body, err, len(s.seen()), tt.idle+1)
			}
		})
	}
}
