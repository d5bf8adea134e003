package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// Large bodies and streams, with an upstream that takes them, and with one that
// answers without reading.
func TestLargeBodies(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 400<<10)
	huge := bytes.Repeat(big, 8) // more than sockets take in
	requests := map[string]func(addr string, big []byte) *Request{
		"body": post,
		"length": func(a string, b []byte) *Request {
			r := post(a, nil)
			r.Stream, r.Length = bytes.NewReader(b), int64(len(b))
			return r
		},
		"chunked": func(a string, b []byte) *Request {
			r := post(a, nil)
			r.Stream, r.Length = bytes.NewReader(b), -1
			return r
		},
	}
	for name, r := range requests {
		t.Run(name+" taken", func(t *testing.T) {
			s := answering(t, func(_ *http.Request, body []byte) string {
				if !bytes.Equal(body, big) {
					return "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"
				}
				return okAnswer
			})
			c := newClient(t, dialTCP)
			for range 5 {
				must(t, c, r(s.addr, big))
				waitFor(t, func() bool { return idleCount(c) == 1 })
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
		for _, end := range []string{"and waits", "and closes"} {
			t.Run(name+" refused "+end, func(t *testing.T) {
				s := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
					http.ReadRequest(br)
					io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
					if end == "and closes" {
						c.CloseWrite()
						return
					}
					<-t.Context().Done()
				})
				c := newClient(t, dialTCP)
				got, err := do(t.Context(), c, r(s.addr, huge))
				if end == "and closes" && err != nil {
					return // a reset can overtake the answer
				}
				if got != "413 no" || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
				if n := idleCount(c); n != 0 {
					t.Error("a connection is kept that waits for the rest of a request")
				}
			})
		}
	}
}

type countingOwner struct{ holds, releases atomic.Int64 }

func (o *countingOwner) Hold()    { o.holds.Add(1) }
func (o *countingOwner) Release() { o.releases.Add(1) }

func TestOwnerIsReleased(t *testing.T) {
	s := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		http.ReadRequest(br)
		c.SetLinger(0)
	})
	o := &countingOwner{}
	r := post(s.addr, make([]byte, 8<<20))
	r.Owner = o
	if _, err := do(t.Context(), newClient(t, dialTCP), r); err == nil {
		t.Error("no error from a connection that was reset")
	}
	waitFor(t, func() bool { return o.holds.Load() == 1 && o.releases.Load() == 1 })
}

// A stream that breaks is the error, and what its length does not fit is no request.
func TestStreamErrors(t *testing.T) {
	broken := errors.New("the client went away")
	for _, tt := range []struct {
		name   string
		stream io.Reader
		length int64
		want   error
	}{
		{"broken", io.MultiReader(strings.NewReader("12"), failing{broken}), 10, broken},
		{"broken chunks", failing{broken}, -1, broken},
		{"too short", strings.NewReader("12"), 3, errShort},
		{"too long", strings.NewReader("12"), 1, errLong},
		{"stuck", stuck{}, 1, io.ErrNoProgress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := answering(t, func(*http.Request, []byte) string { return okAnswer })
			r := post(s.addr, nil)
			r.Stream, r.Length = tt.stream, tt.length
			_, sent, err := newClient(t, dialTCP).Do(t.Context(), r)
			if !errors.Is(err, tt.want) || !sent {
				t.Errorf("err = %v, sent %v, want %v", err, sent, tt.want)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }
