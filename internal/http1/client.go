// Package http1 is a client for plain HTTP/1.1: one goroutine writes a request and
// reads its answer, with no other between, and a connection that serves nobody, or
// whose answer is silent, holds no buffers. Nothing is ever sent twice.
package http1

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options are what a Client is made of.
type Options struct {
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	IdleTimeout time.Duration // after which an unused connection is closed
	IdlePerHost int           // more than that are not kept
	MaxHead     int64         // bytes of an answer's head, 1xx heads before it included
}

// Client holds connections. It is safe for concurrent use.
type Client struct {
	o     Options
	hosts sync.Map // of *host, by address
}

// NewClient makes a Client.
func NewClient(o Options) *Client { return &Client{o: o} }

// CloseIdle closes the connections that serve nobody, and those that serve somebody
// as soon as they do not, until the next request.
func (c *Client) CloseIdle() {
	c.hosts.Range(func(_, h any) bool {
		h.(*host).closeAll() //nolint:forcetypeassert // nothing else is stored
		return true
	})
}

const (
	// smallBody certainly fits into a socket's buffer: to write it waits for nobody.
	smallBody  = 16 << 10
	readBuffer = 16 << 10
	headRoom   = 4 << 10
)

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }} //nolint:gochecknoglobals // a pool
	writers = sync.Pool{New: func() any { b := make([]byte, 0, headRoom); return &b }}   //nolint:gochecknoglobals // a pool
)

// Do sends r and returns the head of the answer, which is never a 1xx but 101. The
// caller closes its body; ctx ends both, and its cause is the error then. An answer
// has no Request and no Trailer.
//
// A request that no byte of was taken by a connection used before goes once to
// a new one. sent says that the upstream may have received it, the error
// notwithstanding.
func (c *Client) Do(ctx context.Context, r *Request) (resp *http.Response, sent bool, err error) {
	if err = r.check(); err != nil {
		return nil, false, err
	}
	h := c.host(r.Addr)
	cn := h.take()
	for {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if cn == nil {
			cn, err = h.dial(ctx, r.Addr)
		}
		if err != nil {
			h.put(cn)
			return nil, false, err
		}
		x := &exchange{cn: cn, ctx: ctx, stop: afterFunc(ctx, cn.abort)}
		if sent, err = x.write(r); err == nil {
			resp, err = x.answer(r)
		}
		switch {
		case err == nil && ctx.Err() == nil:
			return resp, true, nil
		case err == nil: // what came may be the peer's answer to our closing
			_ = x.Close()
			return nil, true, context.Cause(ctx)
		case sent, !cn.used, ctx.Err() != nil:
			err = x.reason(err)
			x.fail()
			return nil, sent, err
		}
		x.fail()
		cn, err = nil, nil
	}
}

// afterFunc is context.AfterFunc, which has a context make a channel before it asks
// whether it can do this itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface {
		AfterFunc(f func()) (stop func() bool)
	}); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

var (
	errBigHead = errors.New("the answer's head is too long")
	errStatus  = errors.New("the answer's status is none")
)

// answer reads the head.
func (x *exchange) answer(r *Request) (*http.Response, error) {
	cn := x.cn
	br := readers.Get().(*bufio.Reader) //nolint:forcetypeassert // nothing else is put in
	cn.left = cn.home.o.MaxHead
	br.Reset(&cn.head)
	for {
		resp, err := x.readHead(br, r.Method)
		switch {
		case err != nil && cn.left <= 0: // whatever it looks like, cut there
			recycle(br)
			return nil, errBigHead
		case err != nil:
			recycle(br)
			return nil, err
		case resp.StatusCode < 100: // nobody could pass it on
			recycle(br)
			return nil, errStatus
		case resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue
		}
		cn.answered()
		x.open(resp, br)
		return resp, nil
	}
}

func recycle(br *bufio.Reader) {
	br.Reset(nil)
	readers.Put(br)
}

// headReader reads from a connection what Options.MaxHead allows.
type headReader struct {
	cn *conn
}

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (int, error) {
	cn := h.cn
	if cn.left <= 0 {
		return 0, errBigHead
	}
	n, err := cn.Read(p[:min(int64(len(p)), cn.left)])
	cn.left -= int64(n)
	return n, err
}
