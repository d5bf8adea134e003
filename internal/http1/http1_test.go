package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// server is a TCP server whose connections each get a goroutine of handle.
type server struct {
	addr  string
	conns atomic.Int64
}

func serve(t testing.TB, handle func(c *net.TCPConn, br *bufio.Reader)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return s
}

// request reads a whole request.
func request(br *bufio.Reader) (*http.Request, []byte, error) {
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(req.Body)
	return req, body, err
}

// answering answers each request with what answer says; "" closes.
func answering(t testing.TB, answer func(req *http.Request, body []byte) string) *server {
	t.Helper()
	return serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			req, body, err := request(br)
			if err != nil {
				return
			}
			text := answer(req, body)
			if _, err = io.WriteString(c, text); err != nil || text == "" {
				return
			}
		}
	})
}

func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

type bare struct{ net.Conn } // hides the descriptor

func dialBare(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := dialTCP(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return bare{c}, nil
}

// dials are the two ways to see whether an idle connection is fit.
var dials = map[string]func(context.Context, string, string) (net.Conn, error){"descriptor": dialTCP, "reader": dialBare}

func newClient(t testing.TB, dial func(context.Context, string, string) (net.Conn, error)) *Client {
	t.Helper()
	c := NewClient(Options{Dial: dial, IdleTimeout: 90 * time.Second, IdlePerHost: 100, MaxHead: 1 << 20})
	t.Cleanup(c.CloseIdle)
	return c
}

func get(addr string) *Request {
	return &Request{Addr: addr, Host: addr, Method: "GET", Target: "/"}
}

func post(addr string, body []byte) *Request {
	return &Request{Addr: addr, Host: addr, Method: "POST", Target: "/", Body: body}
}

// do returns status and body of an answer that was read to its end.
func do(ctx context.Context, c *Client, r *Request) (string, error) {
	resp, _, err := c.Do(ctx, r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strconv.Itoa(resp.StatusCode) + " " + string(body), err
}

func must(t *testing.T, c *Client, r *Request) {
	t.Helper()
	if got, err := do(t.Context(), c, r); err != nil || got != "200 ok" {
		t.Fatalf("got %q, %v, want ok", got, err)
	}
}

// idleCount is how many connections wait to be used.
func idleCount(c *Client) (n int) {
	c.hosts.Range(func(_, v any) bool {
		h := v.(*host)
		h.mu.Lock()
		defer h.mu.Unlock()
		n += len(h.idle)
		return true
	})
	return n
}

func TestConnectionIsKeptOrNot(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	tests := []struct {
		name, method, answer, body string
		kept                       bool
	}{
		{"length", "GET", okAnswer, "ok", true},
		{"long", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 102400\r\n\r\n" + long, long, true},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", false},
		{"keep-alive", "GET", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		{"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false},
		{"1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", "ok", true},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nok", "ok", false},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", "ok", true},
		{"trailers", "GET", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", "ok", true},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", true},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "", true},
		{"head chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", true},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "", true},
		{"1xx", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okAnswer, "ok", true},
		{"more than the length", "GET", okAnswer + "!", "ok", false},
		{"more than the chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!", "ok", false},
		{"more than nothing", "GET", "HTTP/1.1 204 No Content\r\n\r\n!", "", false},
		{"more than a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\n\n!\r\n\r\n", "ok", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
				for {
					if _, _, err := request(br); err != nil {
						return
					}
					io.WriteString(c, tt.answer)
					if tt.name == "until close" {
						return
					}
				}
			})
			c := newClient(t, dialTCP)
			for range 3 {
				r := get(s.addr)
				r.Method = tt.method
				got, err := do(t.Context(), c, r)
				if err != nil || got[4:] != tt.body {
					t.Fatalf("got %.99q, %v", got, err)
				}
			}
			if n := s.conns.Load(); (n == 1) != tt.kept {
				t.Errorf("%d connections, kept: want %v", n, tt.kept)
			}
		})
	}
}

func TestBodyClosedEarly(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		kept         bool
	}{
		{"the rest is here", okAnswer, true},
		{"the rest is here, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
		{"it is not", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := answering(t, func(*http.Request, []byte) string { return tt.answer })
			c := newClient(t, dialTCP)
			for range 2 {
				resp, _, err := c.Do(t.Context(), get(s.addr))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if _, err = resp.Body.Read(make([]byte, 1)); err == nil {
					t.Error("a closed body can be read")
				}
			}
			if n := s.conns.Load(); (n == 1) != tt.kept {
				t.Errorf("%d connections, kept: want %v", n, tt.kept)
			}
		})
	}
}

// A connection that was closed, or sent something unasked, while it was idle is not
// used: its next answer would be another's.
func TestUnfitConnections(t *testing.T) {
	for way, dial := range dials {
		for _, what := range []string{"closed", "reset", "unsolicited"} {
			t.Run(what+" "+way, func(t *testing.T) {
				var seen atomic.Int32
				misbehave := make(chan struct{})
				s := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
					request(br)
					io.WriteString(c, okAnswer)
					if seen.Add(1) > 1 {
						request(br)
						return
					}
					<-misbehave
					switch what {
					case "reset":
						c.SetLinger(0)
					case "unsolicited":
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
						request(br)
					}
				})
				c := newClient(t, dial)
				must(t, c, get(s.addr))
				close(misbehave)
				waitFor(t, func() bool { // for what was sent to arrive
					h := c.host(s.addr)
					h.mu.Lock()
					defer h.mu.Unlock()
					return len(h.idle) == 0 || h.idle[0].gone()
				})
				must(t, c, post(s.addr, []byte("{}")))
				if n := s.conns.Load(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
			})
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it never came")
		}
	}
}

func TestHeadLimits(t *testing.T) {
	for name, answer := range map[string]string{
		"one field": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
		"fields":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: x\r\n", 400<<10) + "\r\n",
		"1xx":       strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100<<10),
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(*http.Request, []byte) string { return answer })
			_, sent, err := newClient(t, dialTCP).Do(t.Context(), get(s.addr))
			if !errors.Is(err, errBigHead) || !sent {
				t.Errorf("err = %v, sent %v", err, sent)
			}
		})
	}
}

func TestRequestsThatWouldBeOthers(t *testing.T) {
	c := newClient(t, func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled")
		return nil, io.EOF
	})
	for name, change := range map[string]func(*Request){
		"method": func(r *Request) { r.Method = "G T" }, "no method": func(r *Request) { r.Method = "" },
		"target": func(r *Request) { r.Target = "/ HTTP/1.1\r\n" }, "no target": func(r *Request) { r.Target = "" },
		"host":  func(r *Request) { r.Host = "a\r\nb" },
		"name":  func(r *Request) { r.Fields = []Field{{"a b", []string{"x"}}} },
		"value": func(r *Request) { r.Fields = []Field{{"A", []string{"x", "x\r\ny"}}} },
	} {
		r := get("x")
		change(r)
		if _, sent, err := c.Do(t.Context(), r); err == nil || sent {
			t.Errorf("%s: err = %v, sent %v", name, err, sent)
		}
	}
}

func TestCloseIdle(t *testing.T) {
	s := answering(t, func(*http.Request, []byte) string { return okAnswer })
	c := newClient(t, dialTCP)
	resp, _, err := c.Do(t.Context(), get(s.addr))
	if err != nil {
		t.Fatal(err)
	}
	c.CloseIdle()
	io.ReadAll(resp.Body)
	resp.Body.Close()
	if n := idleCount(c); n != 0 {
		t.Errorf("%d connections are idle after CloseIdle", n)
	}
	must(t, c, get(s.addr))
	if n := idleCount(c); n != 1 {
		t.Errorf("%d connections are idle, want 1", n)
	}
}

// What could not be written at all goes to a new connection, once.
func TestNothingWritten(t *testing.T) {
	s := answering(t, func(*http.Request, []byte) string { return okAnswer })
	var dead, always atomic.Bool
	var dials atomic.Int32
	c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dialTCP(ctx, network, addr)
		if dials.Add(1) == 1 || always.Load() {
			return deaf{nc, &dead}, err
		}
		return nc, err
	})
	must(t, c, get(s.addr))
	dead.Store(true)
	must(t, c, post(s.addr, []byte("{}")))
	if n := dials.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	c.CloseIdle()
	always.Store(true)
	if _, sent, err := c.Do(t.Context(), get(s.addr)); err == nil || sent || dials.Load() != 3 {
		t.Errorf("err = %v, sent %v after %d connections", err, sent, dials.Load())
	}
}

type deaf struct {
	net.Conn
	dead *atomic.Bool
}

func (d deaf) Write(p []byte) (int, error) {
	if d.dead.Load() {
		return 0, io.ErrClosedPipe
	}
	return d.Conn.Write(p)
}
