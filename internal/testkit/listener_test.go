package testkit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/testkit"
)

// dial returns both ends of one connection.
func dial(t *testing.T, l *testkit.Listener) (client, server *testkit.Conn) {
	t.Helper()
	c, err := l.Dial(t.Context(), "tcp", "upstream:80")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*testkit.Conn), s.(*testkit.Conn)
}

func TestConnEndsAsTCPDoes(t *testing.T) {
	for _, tc := range []struct {
		name        string
		end         func(*testkit.Conn) error
		read        string // what the peer still reads
		readErr     error
		writeErr    error // what the peer's next write gets
		ownWriteErr error
	}{
		{"close", (*testkit.Conn).Close, "tail", io.EOF, syscall.EPIPE, net.ErrClosed},
		{"close write", (*testkit.Conn).CloseWrite, "tail", io.EOF, nil, net.ErrClosed},
		{"reset", (*testkit.Conn).Reset, "", syscall.ECONNRESET, syscall.ECONNRESET, net.ErrClosed},
		{"linger 0", func(c *testkit.Conn) error { _ = c.SetLinger(0); return c.Close() }, "", syscall.ECONNRESET, syscall.ECONNRESET, net.ErrClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := dial(t, testkit.NewListener())
			if _, err := server.Write([]byte("tail")); err != nil {
				t.Fatal(err)
			}
			if err := tc.end(server); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 0, 8)
			var err error
			for err == nil {
				var n int
				p := make([]byte, 3)
				n, err = client.Read(p)
				got = append(got, p[:n]...)
			}
			if string(got) != tc.read || !errors.Is(err, tc.readErr) {
				t.Errorf("peer read %q, %v; want %q, %v", got, err, tc.read, tc.readErr)
			}
			if _, err = client.Write([]byte("x")); !errors.Is(err, tc.writeErr) {
				t.Errorf("peer's write: %v, want %v", err, tc.writeErr)
			}
			if _, err = server.Write([]byte("x")); !errors.Is(err, tc.ownWriteErr) {
				t.Errorf("own write: %v, want %v", err, tc.ownWriteErr)
			}
			_ = client.Close()
			if _, err = client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read after own close: %v", err)
			}
		})
	}
}

func TestDeadlinesAndBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := dial(t, testkit.NewListener())
		start := time.Now()
		_ = client.SetReadDeadline(start.Add(3 * time.Second))
		_, err := client.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is not a timeout", err)
		}
		_ = client.SetReadDeadline(time.Time{})

		_ = server.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := server.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 1<<20 {
			t.Errorf("a writer nobody reads: %d, %v", n, err)
		}
		_ = server.SetWriteDeadline(time.Time{})

		want := bytes.Repeat([]byte("0123456789"), 100_000)
		go func() {
			_, _ = server.Write(want)
			_ = server.Close()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got[n:], want) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, n+len(want))
		}
	})
}

func TestListenerRefusesAndCloses(t *testing.T) {
	l := testkit.NewListener()
	l.Refuse(true)
	if _, err := l.Dial(t.Context(), "tcp", "x:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refusing: %v", err)
	}
	l.Refuse(false)
	waiting, err := l.Dial(t.Context(), "tcp", "x:1")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	_ = l.Close()
	if _, err = waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("never accepted: %v", err)
	}
	if _, err = l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err = l.Dial(t.Context(), "tcp", "x:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	if conn, err := net.Dial("tcp", "127.0.0.1:1"); err == nil { // the same error as the kernel's
		_ = conn.Close()
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Skip("no loopback here")
	}
}

func TestCloseUnblocksAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testkit.NewListener()
		got := make(chan error, 1)
		go func() { _, err := l.Accept(); got <- err }()
		synctest.Wait()
		_ = l.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		full := testkit.NewListener()
		var err error
		for range 1000 {
			if _, err = full.Dial(ctx, "tcp", "x"); err != nil {
				break
			}
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("dial with a full backlog and a cancelled context: %v", err)
		}
	})
}

// TestHTTP drives a real server and client over the listener in a bubble: a body
// larger than the window, an answer before the body was read, an abort.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testkit.NewListener()
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/echo":
				_, _ = io.Copy(w, r.Body)
			case "/early":
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			case "/late":
				time.Sleep(time.Hour)
			case "/abort":
				_, _ = w.Write([]byte("begun"))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		tr := &http.Transport{DialContext: l.Dial}
		client := &http.Client{Transport: tr}
		big := strings.Repeat("body ", 100_000)

		resp, err := client.Post("http://up/echo", "text/plain", strings.NewReader(big))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != big {
			t.Errorf("echo: %d bytes, %v", len(got), err)
		}

		resp, err = client.Post("http://up/early", "text/plain", strings.NewReader(strings.Repeat(big, 4)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("early: %d", resp.StatusCode)
		}

		resp, err = client.Get("http://up/abort")
		if err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(got) != "begun" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("abort: %q, %v", got, err)
		}

		start := time.Now()
		resp, err = client.Get("http://up/late")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if took := time.Since(start); took != time.Hour {
			t.Errorf("late: %v", took)
		}
		tr.CloseIdleConnections()
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
