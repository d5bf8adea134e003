package http1

import (
	"context"
	"sync"
	"time"
)

// sweepEvery is how soon a connection that its peer has closed is closed here, too,
// if nobody wants it.
const sweepEvery = 15 * time.Second

// host is the connections to one address.
type host struct {
	o *Options

	mu    sync.Mutex
	idle  []*conn // that was used last is at the end, and used next
	shut  bool    // since closeAll nobody has asked for a connection
	sweep *time.Timer
}

func (c *Client) host(addr string) *host {
	h, ok := c.hosts.Load(addr)
	if !ok {
		h, _ = c.hosts.LoadOrStore(addr, &host{o: &c.o})
	}
	return h.(*host) //nolint:forcetypeassert // nothing else is stored
}

func (h *host) dial(ctx context.Context, addr string) (*conn, error) {
	nc, err := h.o.Dial(ctx, "tcp", addr)
	switch {
	case err == nil:
		return newConn(nc, h), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// take returns an idle connection that is fit for a request, or nil.
func (h *host) take() *conn {
	for {
		h.mu.Lock()
		h.shut = false
		last := len(h.idle) - 1
		if last < 0 {
			h.mu.Unlock()
			return nil
		}
		cn := h.idle[last]
		h.idle[last] = nil
		h.idle = h.idle[:last]
		h.mu.Unlock()
		if time.Since(cn.since) < h.o.IdleTimeout && cn.fit() {
			return cn
		}
		_ = cn.Close()
	}
}

// put keeps a connection for the next request. A nil one is none.
func (h *host) put(cn *conn) {
	if cn == nil {
		return
	}
	cn.since = time.Now()
	cn.watch()
	h.mu.Lock()
	keep := len(h.idle) < h.o.IdlePerHost && !h.shut
	if keep {
		h.idle = append(h.idle, cn)
		if h.sweep == nil {
			h.sweep = time.AfterFunc(sweepEvery, h.clean)
		}
	}
	h.mu.Unlock()
	if !keep {
		_ = cn.Close()
	}
}

// clean closes the connections that are idle for too long, and those that are of no
// use any more.
func (h *host) clean() {
	h.remove(func(cn *conn) bool { return time.Since(cn.since) >= h.o.IdleTimeout || cn.gone() })
}

func (h *host) closeAll() {
	h.mu.Lock()
	h.shut = true
	h.mu.Unlock()
	h.remove(func(*conn) bool { return true })
}

func (h *host) remove(unfit func(*conn) bool) {
	var out []*conn
	h.mu.Lock()
	kept := h.idle[:0]
	for _, cn := range h.idle {
		if unfit(cn) {
			out = append(out, cn)
		} else {
			kept = append(kept, cn)
		}
	}
	clear(h.idle[len(kept):])
	h.idle = kept
	switch {
	case h.sweep == nil:
	case len(kept) > 0:
		h.sweep.Reset(sweepEvery)
	default:
		h.sweep.Stop()
		h.sweep = nil
	}
	h.mu.Unlock()
	for _, cn := range out {
		_ = cn.Close()
	}
}
