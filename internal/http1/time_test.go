package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/testkit"
)

// No answer is lost or given to another, whatever ends early.
func TestStorm(t *testing.T) {
	s := answering(t, func(req *http.Request, body []byte) string {
		text := req.URL.Path + string(body)
		if len(text)%2 == 0 {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
	})
	for way, dial := range dials {
		t.Run(way, func(t *testing.T) {
			c := newClient(t, dial)
			var all sync.WaitGroup
			for g := range 16 {
				all.Go(func() {
					for i := range 150 {
						body := strings.Repeat(strconv.Itoa(i), 1+i*g*4)
						r := post(s.addr, []byte(body))
						r.Target = "/" + strconv.Itoa(g) + "-" + strconv.Itoa(i)
						ctx, cancel := context.WithCancel(t.Context())
						switch i % 5 {
						case 0:
							go cancel() // at any stage
						case 1:
							time.AfterFunc(50*time.Microsecond, cancel)
						}
						got, err := do(ctx, c, r)
						cancel() // right after the end
						if want := "200 " + r.Target + body; err == nil && got != want {
							t.Errorf("got %.60q, want %.60q", got, want)
						} else if err != nil && (i%5 > 1 || !errors.Is(err, context.Canceled)) {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// What is idle for too long is closed, and what its peer has closed soon after.
func TestIdleConnectionsAreClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		closes bool
		want   time.Duration
	}{{"forgotten", false, 90 * time.Second}, {"closed by its peer", true, 5 * time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testkit.NewListener()
				done := make(chan struct{})
				go func() {
					defer close(done)
					s, err := l.Accept()
					if err != nil {
						t.Error(err)
						return
					}
					br := bufio.NewReader(s)
					request(br)
					io.WriteString(s, okAnswer)
					if tt.closes {
						time.Sleep(tt.want)
						s.Close()
						return
					}
					br.ReadByte()
				}()
				c := newClient(t, l.Dial)
				must(t, c, get("x:80"))
				start := time.Now()
				<-done
				synctest.Wait()
				if d := time.Since(start); d != tt.want || idleCount(c) != 0 {
					t.Errorf("closed after %v, %d left, want %v", d, idleCount(c), tt.want)
				}
			})
		})
	}
}

// The context ends each stage, with its cause.
func TestCancel(t *testing.T) {
	left := errors.New("left")
	stages := map[string]func(conn net.Conn, br *bufio.Reader){
		"dial":       nil,
		"small body": func(net.Conn, *bufio.Reader) {},
		"head":       func(_ net.Conn, br *bufio.Reader) { request(br) },
		"slow head": func(c net.Conn, br *bufio.Reader) {
			request(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
		},
		"body": func(c net.Conn, br *bufio.Reader) {
			request(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
		},
		"silent body": func(c net.Conn, br *bufio.Reader) {
			request(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		},
	}
	for stage, play := range stages {
		t.Run(stage, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testkit.NewListener()
				dial := l.Dial
				if play == nil {
					dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
				}
				closed := make(chan struct{})
				go func() {
					defer close(closed)
					if play == nil {
						return
					}
					s, err := l.Accept()
					if err != nil {
						t.Error(err)
						return
					}
					br := bufio.NewReader(s)
					play(s, br)
					io.Copy(io.Discard, br) // to the client's close
					s.Close()
				}()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(left) })
				start := time.Now()
				c := newClient(t, dial)
				resp, sent, err := c.Do(ctx, post("x:80", make([]byte, 100)))
				if err == nil {
					if stage != "body" && stage != "silent body" {
						t.Error("a head came from nowhere")
					}
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, left) || sent != (play != nil) || time.Since(start) != time.Second {
					t.Errorf("err = %v, sent %v, after %v", err, sent, time.Since(start))
				}
				<-closed
			})
		})
	}
}
