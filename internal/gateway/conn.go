package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	writePatience = time.Minute      // for a stuck client to take a piece of what is written
	writeRenew    = 10 * time.Second // how stale the write deadline may get
	closePatience = time.Second      // for what is held when the connection is closed
	mostHeld      = 32 << 10
)

var holds = sync.Pool{New: func() any { return new([mostHeld]byte) }} //nolint:gochecknoglobals // a pool

type connKey struct{}

// Attach prepares a server for the gateway and returns the listener that it is to
// serve: an exchange needs to know its connection.
func (g *Gateway) Attach(srv *http.Server, ln net.Listener) net.Listener {
	srv.Handler = g
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	return listener{ln}
}

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a client's connection. While an exchange writes, it holds what net/http
// makes of that, which is three writes for a large chunk, and sends it in one. It
// keeps its own write deadline, and sets a read deadline only for a read.
type conn struct {
	net.Conn

	mu       sync.Mutex
	holding  bool      // what is written is held
	held     []byte    // in a buffer of the pool; nil: nothing is
	deadline time.Time // when the write deadline was last set
	failed   error     // after a write cut short nothing more must follow

	readMu  sync.Mutex
	reading bool
	until   time.Time // the read deadline as asked for
	set     time.Time // and as set
}

func connOf(ctx context.Context) *conn {
	return ctx.Value(connKey{}).(*conn) //nolint:forcetypeassert // Attach has put it there
}

// hold keeps what is written from now on.
func (c *conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
}

// send writes what is held, and nothing is held any more.
func (c *conn) send() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	return c.sendHeld()
}

// leave has what is held go out with the end of the answer, which net/http writes
// when the handler has returned. If there is none to write, net/http still clears
// the write deadline, or closes.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
}

func (c *conn) sendHeld() error {
	if len(c.held) > 0 {
		_, _ = c.write(nil) // the error is kept
	}
	return c.failed
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding && len(c.held) == 0 || len(c.held)+len(p) > mostHeld {
		return c.write(p)
	}
	if c.held == nil {
		c.held = holds.Get().(*[mostHeld]byte)[:0] //nolint:forcetypeassert // nothing else is put in
	}
	c.held = append(c.held, p...)
	if c.holding {
		return len(p), c.failed
	}
	return len(p), c.sendHeld()
}

// write sends what is held, and p.
func (c *conn) write(p []byte) (n int, err error) {
	if c.failed == nil {
		if now := time.Now(); now.Sub(c.deadline) > writeRenew {
			c.deadline = now
			_ = c.Conn.SetWriteDeadline(now.Add(writePatience)) // the write will say what is wrong
		}
		n, c.failed = c.both(p)
	}
	if c.held != nil {
		holds.Put((*[mostHeld]byte)(c.held[:mostHeld]))
		c.held = nil
	}
	return n, c.failed
}

func (c *conn) both(p []byte) (int, error) {
	switch {
	case len(c.held) == 0:
		return c.Conn.Write(p)
	case len(p) == 0:
		_, err := c.Conn.Write(c.held)
		return 0, err
	}
	all := net.Buffers{c.held, p}
	n, err := all.WriteTo(c.Conn)
	return max(0, int(n)-len(c.held)), err
}

// SetWriteDeadline implements net.Conn, but for the deadline, which is the
// connection's own: net/http clears it when it is through with an answer.
func (c *conn) SetWriteDeadline(time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sendHeld()
}

// SetReadDeadline implements net.Conn. Most deadlines are replaced before anything
// is waited for.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.until = t
	if !c.reading {
		return nil
	}
	return c.apply()
}

func (c *conn) apply() error {
	if c.until.Equal(c.set) {
		return nil
	}
	c.set = c.until
	return c.Conn.SetReadDeadline(c.until)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.read(true)
	n, err := c.Conn.Read(p)
	c.read(false)
	return n, err
}

func (c *conn) read(begins bool) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.reading = begins
	if begins {
		_ = c.apply() // the read will say what is wrong
	}
}

// Close implements net.Conn. What is held was written by a handler that then
// failed; whoever is writing is not waited for.
func (c *conn) Close() error {
	if c.mu.TryLock() {
		if len(c.held) > 0 {
			c.deadline = time.Now()
			_ = c.Conn.SetWriteDeadline(c.deadline.Add(closePatience))
			_ = c.sendHeld()
		}
		c.mu.Unlock()
	}
	return c.Conn.Close()
}

// CloseWrite has the client read the end while it may still be sending.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
