package http1

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// slowWrite is how long the rest of a request may take when its answer is over.
	slowWrite = 50 * time.Millisecond
	// lastWords is how long a peer that takes no more of a request may take to say why.
	lastWords = time.Second
)

// conn is a connection. One exchange at a time owns it.
type conn struct {
	net.Conn
	home  *host
	used  bool      // has served before
	since time.Time // idle since

	head headReader
	left int64 // bytes that the head may still have

	abort func()
	probe probe
	quiet *vigil // while idle, where probe is of no use

	mu      sync.Mutex
	sending bool        // a goroutine still writes the request
	over    *time.Timer // the answer is over, and the goroutine has so long to end
	failed  error       // why it did not write all
	heard   bool        // the answer's head is here
}

func newConn(nc net.Conn, home *host) *conn {
	cn := &conn{Conn: nc, home: home}
	cn.head.cn = cn
	cn.abort = func() { _ = nc.Close() }
	cn.probe.init(nc)
	return cn
}

// reset prepares for a request.
func (cn *conn) reset() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.sending, cn.over, cn.failed, cn.heard = false, nil, nil, false
}

// answered says that the head is here.
func (cn *conn) answered() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.heard = true
	if cn.failed != nil {
		_ = cn.SetReadDeadline(time.Time{})
	}
}

// wrote is called by the goroutine that has written a body, or not all of it.
func (cn *conn) wrote(err error) {
	cn.mu.Lock()
	cn.sending, cn.failed = false, err
	over := cn.over
	if err != nil && over == nil && !cn.heard {
		// The answer may be on its way already: why the body is not wanted.
		_ = cn.SetReadDeadline(time.Now().Add(lastWords))
	}
	cn.mu.Unlock()
	_, ours := errors.AsType[*streamError](err)
	switch {
	case ours, over != nil && err != nil:
		_ = cn.Close() // the peer waits for the rest in vain
	case over != nil && over.Stop():
		cn.home.put(cn)
	}
}

// release is called when the answer is over; whole says that the connection can
// serve another request.
func (cn *conn) release(whole bool) {
	cn.mu.Lock()
	whole = whole && cn.failed == nil
	wait := whole && cn.sending
	if wait {
		cn.over = time.AfterFunc(slowWrite, cn.abort)
	}
	cn.mu.Unlock()
	switch {
	case !whole:
		_ = cn.Close()
	case !wait:
		cn.home.put(cn)
	}
}

func (cn *conn) writeError() error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.failed
}

// fit says that an idle connection, taken to be used, has neither been closed by its
// peer nor been sent anything.
func (cn *conn) fit() bool {
	cn.used = true
	if cn.quiet == nil {
		return cn.probe.silent()
	}
	ok := cn.quiet.end(cn)
	cn.quiet = nil
	return ok
}

// gone says the contrary of fit, of a connection that stays idle.
func (cn *conn) gone() bool {
	if cn.quiet == nil {
		return !cn.probe.silent()
	}
	select {
	case <-cn.quiet.done:
		return true
	default:
		return false
	}
}

// watch begins what fit asks.
func (cn *conn) watch() {
	if cn.probe.ready() {
		return
	}
	v := &vigil{done: make(chan struct{})}
	cn.quiet = v
	go func() {
		n, err := cn.Read(make([]byte, 1))
		v.silent = n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		close(v.done)
		if !v.silent {
			cn.home.remove(func(c *conn) bool { return c == cn })
		}
	}()
}

// vigil reads from an idle connection that cannot be asked whether there is
// something to read, to see that there is not.
type vigil struct {
	done   chan struct{}
	silent bool
}

func (v *vigil) end(cn *conn) bool {
	if cn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	<-v.done
	return v.silent && cn.SetReadDeadline(time.Time{}) == nil
}

// probe asks the system whether a connection has something to read.
type probe struct {
	raw  syscall.RawConn
	peek func(fd uintptr) bool
	ok   bool
}

func (p *probe) ready() bool { return p.raw != nil }
