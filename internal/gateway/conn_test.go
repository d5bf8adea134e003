package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
)

// counted counts what is written on the connections of a listener.
type counted struct {
	net.Listener

	writes *atomic.Int32
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

type countedConn struct {
	net.Conn

	writes *atomic.Int32
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

const terminator = "\r\n0\r\n\r\n"

// An answer costs as many writes as the upstream's pauses make necessary, and ends
// as its framing asks for.
func TestWrites(t *testing.T) {
	long := strings.Replace(textChunk, "Hi", strings.Repeat("x", 14<<10), 1)
	stream := func(pieces ...string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i, p := range pieces {
				if i > 0 {
					time.Sleep(time.Second)
				}
				send(w, p)
			}
		}
	}
	chunkedJSON := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		send(w, completion)
	}
	tests := []struct {
		name, method, path, body, proto string
		upstream                        func(w http.ResponseWriter)
		most                            int32 // writes
		end                             string
	}{
		{"stream in one piece", "POST", "/v1/chat/completions", chatRequest, "HTTP/1.1", stream(roleChunk + long + finishChunk + doneChunk), 2, doneChunk + terminator},
		{"stream in three", "POST", "/v1/chat/completions", chatRequest, "HTTP/1.1", stream(roleChunk+long, long, finishChunk+doneChunk), 4, doneChunk + terminator},
		{"HTTP/1.0", "POST", "/v1/chat/completions", chatRequest, "HTTP/1.0", stream(roleChunk+long, finishChunk+doneChunk), 2, doneChunk},
		{"known length", "POST", "/v1/chat/completions", chatBlocking, "HTTP/1.1", func(w http.ResponseWriter) { jsonAnswer(w, 200, completion) }, 1, completion},
		{"unknown length", "POST", "/v1/chat/completions", chatBlocking, "HTTP/1.1", chunkedJSON, 1, completion + terminator},
		{"unknown length, HTTP/1.0", "POST", "/v1/chat/completions", chatBlocking, "HTTP/1.0", chunkedJSON, 1, completion},
		{"HEAD", "HEAD", "/v1/models", "", "HTTP/1.1", func(http.ResponseWriter) {}, 1, "\r\n\r\n"},
		{"no content", "DELETE", "/v1/files/f", "", "HTTP/1.1", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, 1, "\r\n\r\n"},
		{"refused", "GET", "/nothing", "", "HTTP/1.1", nil, 1, "}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var writes atomic.Int32
				r := newRig(t, setup{writes: &writes, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { tt.upstream(w) }})
				got, err := r.raw(fmt.Sprintf("%s %s %s\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
					tt.method, tt.path, tt.proto, len(tt.body), tt.body))
				r.ended()
				if err != nil || !strings.HasSuffix(got, tt.end) || (strings.Contains(got, terminator) != strings.Contains(tt.end, terminator)) {
					t.Errorf("got %q, %v", got[max(0, len(got)-400):], err)
				}
				if n := writes.Load(); n > tt.most {
					t.Errorf("%d writes, at most %d are needed", n, tt.most)
				}
			})
		})
	}
}

// Requests that lie behind one another are answered one after the other, and a
// body that is asked for comes, however old the connection is.
func TestOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			sse(w, roleChunk, strings.Replace(textChunk, "Hi", fmt.Sprintf("answer %d", n), 1))
			time.Sleep(time.Second)
			send(w, finishChunk+doneChunk)
		}})
		c := r.dial()
		head := "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 45\r\n"
		io.WriteString(c, head+"\r\n"+chatRequest+head+"\r\n"+chatRequest)
		from := bufio.NewReader(c)
		answer := func(n int) {
			t.Helper()
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(body), fmt.Sprintf("answer %d", n)) {
				t.Errorf("got %q, %v", body, err)
			}
			diff(t, "status", ledger.Completed, r.ended().Status)
		}
		answer(0)
		answer(1)
		time.Sleep(10 * time.Minute)
		io.WriteString(c, head+"Expect: 100-continue\r\n\r\n")
		resp, err := http.ReadResponse(from, nil)
		if err != nil || resp.StatusCode != http.StatusContinue {
			t.Fatalf("got %v, %v", resp, err)
		}
		io.WriteString(c, chatRequest)
		answer(2)
	})
}
