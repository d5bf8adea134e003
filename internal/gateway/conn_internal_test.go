package gateway

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noted notes what is done to a connection.
type noted struct {
	net.Conn

	written   []string
	fail      error
	deadlines int // read deadlines set
	closed    bool
}

func (n *noted) Write(p []byte) (int, error) {
	if n.fail != nil {
		return len(p) / 2, n.fail
	}
	n.written = append(n.written, string(p))
	return len(p), nil
}
func (n *noted) Read([]byte) (int, error)         { return 0, os.ErrDeadlineExceeded }
func (n *noted) SetWriteDeadline(time.Time) error { return nil }
func (n *noted) SetReadDeadline(time.Time) error  { n.deadlines++; return nil }
func (n *noted) Close() error                     { n.closed = true; return nil }

func write(t *testing.T, c *conn, p string) {
	t.Helper()
	if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d bytes, %v", n, len(p), err)
	}
}

// What is held goes out once, in order, on every way out.
func TestHeld(t *testing.T) {
	large := strings.Repeat("x", mostHeld)
	tests := map[string]struct {
		do   func(t *testing.T, c *conn)
		want []string
	}{
		"sent":              {func(_ *testing.T, c *conn) { c.send() }, []string{"ab"}},
		"sent twice":        {func(_ *testing.T, c *conn) { c.send(); c.send() }, []string{"ab"}},
		"left for the end":  {func(t *testing.T, c *conn) { c.leave(); write(t, c, "end") }, []string{"abend"}},
		"left, a large end": {func(t *testing.T, c *conn) { c.leave(); write(t, c, large) }, []string{"ab", large}},
		"left without end":  {func(_ *testing.T, c *conn) { c.leave(); c.SetWriteDeadline(time.Time{}) }, []string{"ab"}},
		"left and closed":   {func(_ *testing.T, c *conn) { c.leave(); c.Close() }, []string{"ab"}},
		"closed":            {func(_ *testing.T, c *conn) { c.Close() }, []string{"ab"}},
		"hijacked":          {func(t *testing.T, c *conn) { c.leave(); c.SetDeadline(time.Time{}); write(t, c, "c") }, []string{"ab", "c"}},
		"too much":          {func(t *testing.T, c *conn) { write(t, c, large) }, []string{"ab", large}},
		"again":             {func(t *testing.T, c *conn) { c.send(); c.hold(); write(t, c, "c"); c.send(); write(t, c, "d") }, []string{"ab", "c", "d"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := &noted{}
			c := &conn{Conn: n}
			c.hold()
			write(t, c, "a")
			write(t, c, "b")
			if len(n.written) > 0 {
				t.Errorf("nothing was held: %q", n.written)
			}
			tt.do(t, c)
			if d := cmp.Diff(tt.want, n.written); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if c.held != nil {
				t.Error("keeps a buffer")
			}
		})
	}
}

// Nothing follows a write that was cut short.
func TestNothingAfterAGap(t *testing.T) {
	n := &noted{fail: errors.New("full")}
	c := &conn{Conn: n}
	c.hold()
	write(t, c, "lost")
	if err := c.send(); !errors.Is(err, n.fail) {
		t.Errorf("the error is %v", err)
	}
	n.fail = nil
	if _, err := c.Write([]byte("more")); err == nil || len(n.written) > 0 {
		t.Errorf("wrote %q, %v", n.written, err)
	}
}

// A client that takes nothing keeps nobody from closing its connection.
func TestCloseWhileAWriteIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &conn{Conn: near}
		wrote := make(chan error)
		go func() { _, err := c.Write([]byte("x")); wrote <- err }()
		synctest.Wait()
		c.Close()
		if err := <-wrote; err == nil {
			t.Error("the write has succeeded")
		}
		start := time.Now()
		near, far2 := net.Pipe()
		defer far2.Close()
		c = &conn{Conn: near}
		c.hold()
		write(t, c, "held")
		c.Close()
		if took := time.Since(start); took > closePatience {
			t.Errorf("closing took %v", took)
		}
	})
}

// A read deadline is set for a read only, at once for one that waits.
func TestReadDeadlines(t *testing.T) {
	n := &noted{}
	c := &conn{Conn: n}
	for range 3 {
		c.SetReadDeadline(time.Now())
		c.SetReadDeadline(time.Time{})
	}
	if _, err := c.Read(nil); n.deadlines != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d deadlines set without need; %v", n.deadlines, err)
	}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &conn{Conn: near}
		start := time.Now()
		c.SetReadDeadline(start.Add(time.Second))
		read := func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
		}
		read()
		if took := time.Since(start); took != time.Second {
			t.Errorf("a deadline set before took %v", took)
		}
		c.SetReadDeadline(time.Time{})
		done := make(chan struct{})
		go func() { defer close(done); read() }()
		time.Sleep(time.Minute)
		c.SetReadDeadline(time.Now())
		<-done
		if took := time.Since(start); took != time.Second+time.Minute {
			t.Errorf("a deadline set for a read that waits took %v", took)
		}
	})
}
