// Package testkit holds what the tests of several rooms share: an in-memory
// network that behaves as TCP does and lives inside a synctest bubble.
package testkit

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	backlog    = 128      // connections that wait for Accept
	windowSize = 64 << 10 // bytes on their way in one direction before a writer blocks
)

// Listener is a net.Listener in memory. Make it inside the synctest bubble that
// uses it. Dial is what an http.Transport wants as its DialContext.
type Listener struct {
	queue   chan *Conn
	done    chan struct{}
	close   sync.Once
	refuse  atomic.Bool
	clients atomic.Int64
	addr    net.Addr
}

// NewListener returns a listener that accepts whatever Dial opens, whatever the
// address that was dialled.
func NewListener() *Listener {
	return &Listener{
		queue: make(chan *Conn, backlog), done: make(chan struct{}),
		addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
	}
}

// Refuse makes Dial fail as if nobody listened, until it is called with false.
func (l *Listener) Refuse(on bool) { l.refuse.Store(on) }

// Dial opens a connection; network and addr are not looked at. It fails with
// ECONNREFUSED when the listener is closed or refuses.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if l.refuse.Load() {
		return nil, refused
	}
	select {
	case <-l.done:
		return nil, refused
	default:
	}
	port := 40000 + int(l.clients.Add(1))%20000
	client, server := pair(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, l.addr)
	select {
	case l.queue <- server:
		return client, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: ctx.Err()}
	}
}

// Accept waits for the next connection; after Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial, now and later, and resets connections that were
// never accepted. Accepted connections live on.
func (l *Listener) Close() error {
	l.close.Do(func() {
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				_ = c.Reset()
			default:
				return
			}
		}
	})
	return nil
}

// Addr looks like a loopback TCP address.
func (l *Listener) Addr() net.Addr { return l.addr }

// Conn is one end of a connection of a Listener. It has the manners of a
// net.TCPConn: writes are buffered, a closed end leaves its peer what was already
// written and then io.EOF, and SetLinger(0) turns Close into a reset.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
	abort         atomic.Bool
}

func pair(client, server net.Addr) (c, s *Conn) {
	up, down := newStream(), newStream()
	return &Conn{in: down, out: up, local: client, remote: server}, &Conn{in: up, out: down, local: server, remote: client}
}

// Read reads what the peer has written.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write blocks only while the peer is behind by a whole window.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// Close closes both directions: the peer still reads what is on its way, then
// io.EOF, and its writes fail with EPIPE.
func (c *Conn) Close() error {
	if c.abort.Load() {
		return c.Reset()
	}
	c.out.endWrite()
	c.in.endRead()
	return nil
}

// CloseWrite closes one direction: the peer reads io.EOF and may still write.
func (c *Conn) CloseWrite() error {
	c.out.endWrite()
	return nil
}

// Reset closes both directions at once: the peer's reads and writes fail with
// ECONNRESET, and what was on its way is lost.
func (c *Conn) Reset() error {
	c.out.reset(false)
	c.in.reset(true)
	return nil
}

// SetLinger with 0 makes Close a Reset, as it does for a net.TCPConn; any other
// value takes that back.
func (c *Conn) SetLinger(seconds int) error {
	c.abort.Store(seconds == 0)
	return nil
}

// LocalAddr is this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.readLimit.set(c.in, t)
	c.out.writeLimit.set(c.out, t)
	return nil
}

// SetReadDeadline wakes a blocked Read when t comes; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.readLimit.set(c.in, t)
	return nil
}

// SetWriteDeadline wakes a blocked Write when t comes; the zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.writeLimit.set(c.out, t)
	return nil
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // an io.Reader returns io.EOF itself
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// stream is one direction of a connection.
type stream struct {
	mu                    sync.Mutex
	cond                  *sync.Cond
	buf                   []byte
	readErr, writeErr     error // what the ends get, set once
	drained               bool  // readErr waits until buf is empty
	readLimit, writeLimit limit
}

func newStream() *stream {
	s := &stream{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr != nil && !s.drained:
			return 0, s.readErr
		case s.readLimit.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.cond.Broadcast()
			return n, nil
		case s.readErr != nil:
			return 0, s.readErr
		}
		s.cond.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := 0
	for {
		switch {
		case s.writeErr != nil:
			return sent, s.writeErr
		case s.writeLimit.passed():
			return sent, os.ErrDeadlineExceeded
		case len(p) == 0:
			return sent, nil
		}
		if room := windowSize - len(s.buf); room > 0 {
			n := min(room, len(p))
			s.buf = append(s.buf, p[:n]...)
			p, sent = p[n:], sent+n
			s.cond.Broadcast()
			continue
		}
		s.cond.Wait()
	}
}

// endWrite is the writer's close.
func (s *stream) endWrite() {
	s.end(func() {
		if s.writeErr == nil {
			s.writeErr = net.ErrClosed
		}
		if s.readErr == nil {
			s.readErr, s.drained = io.EOF, true
		}
		s.writeLimit.stop()
	})
}

// endRead is the reader's close.
func (s *stream) endRead() {
	s.end(func() {
		s.readErr, s.drained, s.buf = net.ErrClosed, false, nil
		if s.writeErr == nil {
			s.writeErr = os.NewSyscallError("write", syscall.EPIPE)
		}
		s.readLimit.stop()
	})
}

// reset breaks the direction; byReader tells which end did it, which sees its own
// connection closed and not reset.
func (s *stream) reset(byReader bool) {
	s.end(func() {
		reader, writer := os.NewSyscallError("read", syscall.ECONNRESET), net.ErrClosed
		if byReader {
			reader, writer = net.ErrClosed, os.NewSyscallError("write", syscall.ECONNRESET)
		}
		if !errIsClosed(s.readErr) {
			s.readErr = reader
		}
		if !errIsClosed(s.writeErr) {
			s.writeErr = writer
		}
		s.drained, s.buf = false, nil
		s.readLimit.stop()
		s.writeLimit.stop()
	})
}

func (s *stream) end(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.cond.Broadcast()
}

func errIsClosed(err error) bool { return err == net.ErrClosed } //nolint:errorlint // our own value, never wrapped here

// limit is a deadline of one end; the mutex of its stream guards it.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func (l *limit) stop() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

func (l *limit) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.stop()
	l.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		l.timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cond.Broadcast()
		})
	}
	s.cond.Broadcast()
}
