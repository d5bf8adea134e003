package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Request is what one Send sends.
type Request struct {
	Method   string
	Path     string // escaped; appended to the target's base as it is
	RawQuery string // sent as it is
	// Header is the caller's; it is only read.
	Header http.Header
	// Body is the whole body. Stream, if not nil, is sent instead, once, and not
	// closed; it may still be read after Send until the answer's body is closed.
	Body   []byte
	Owner  *Buffer // of Body, kept while that is under way; may be nil
	Stream io.Reader
	Length int64 // of Stream; negative: unknown
	Secret string
	// Repeatable says that to send the request twice does no harm, so that nobody
	// asks whether the upstream may have received it: SendError.Written is true.
	Repeatable bool
	// CallerHeader is empty for a pooled key. For a caller's own credential it is
	// the header that came in, and the one the secret goes out in.
	CallerHeader string
}

var errMovedTwice = errors.New("the connection was lost twice before anything was sent")

func (c *Client) build(ctx context.Context, t *Target, r *Request, f *flight) (*http.Request, error) {
	u, err := join(t.Base, r.Path, r.RawQuery)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method: r.Method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: requestHeader(t.Kind, r),
	}
	switch {
	case r.Stream != nil && r.Length != 0:
		req.Body, req.ContentLength = io.NopCloser(r.Stream), max(r.Length, -1)
	case r.Stream == nil && len(r.Body) > 0:
		req.Body, req.ContentLength = newBody(r.Body, r.Owner), int64(len(r.Body))
		// Called only where net/http knows that the upstream did not take the
		// request in. Once, because HTTP/2 would go on for a minute, unseen.
		req.GetBody = func() (io.ReadCloser, error) {
			f.written.Store(r.Repeatable)
			if f.moved.Swap(true) {
				return nil, errMovedTwice
			}
			return newBody(r.Body, r.Owner), nil
		}
	default:
		req.Body = c.noBody(r.Method, t.Base)
	}
	if !r.Repeatable {
		ctx = f.trace(ctx)
	}
	return req.WithContext(ctx), nil
}

// noBody returns the empty body of a request. On a kept-alive HTTP/1 connection
// net/http repeats a GET that has none at all (http.Request.isReplayable), though
// the upstream may have seen it; one that has a body, if an empty one, is sent in
// the same bytes and never repeated. HTTP/2 repeats nothing the upstream may have
// processed, and there an empty body would show on the wire.
func (c *Client) noBody(method string, base *url.URL) io.ReadCloser {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if _, ok := c.http1.Load(base.Host); ok || base.Scheme == "http" {
			return io.NopCloser(eof{})
		}
	}
	return http.NoBody
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// join appends an escaped path to the base without touching an escape: %2F in an
// id must not become a slash.
func join(base *url.URL, path, query string) (*url.URL, error) {
	raw := strings.TrimSuffix(base.EscapedPath(), "/")
	if path != "" && path[0] != '/' {
		raw += "/"
	}
	raw += path
	plain, err := url.PathUnescape(raw)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: base.Scheme, Host: base.Host, Path: plain, RawPath: raw, RawQuery: query}, nil
}
