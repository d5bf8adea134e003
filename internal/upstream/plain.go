package upstream

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"keybridge/internal/http1"
)

// isDirect says that requests to base go over plain connections of our own.
func (c *Client) isDirect(base *url.URL) bool {
	if base.Scheme != "http" {
		return false
	}
	if direct, ok := c.direct.Load(base.Host); ok {
		return direct.(bool) //nolint:forcetypeassert // nothing else is stored
	}
	direct := isPlainHost(base.Host)
	if direct {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
		direct = proxy == nil && err == nil
	}
	c.direct.Store(base.Host, direct)
	return direct
}

// isPlainHost says that a host needs no rewriting before it is dialled or named to
// the upstream: no zone, no letters beyond ASCII.
func isPlainHost(host string) bool {
	for i := range len(host) {
		if !isAlphanumeric(host[i]) && strings.IndexByte(".-_:[]", host[i]) < 0 {
			return false
		}
	}
	return host != ""
}

var outgoing = sync.Pool{New: func() any { return new(http1.Request) }} //nolint:gochecknoglobals // a pool

// sendPlain is Send over plain connections.
func (c *Client) sendPlain(ctx context.Context, t *Target, r *Request) (*http.Response, error) {
	path, err := requestTarget(t.Base, r.Path, r.RawQuery)
	if err != nil {
		return nil, sendError(t, r, r.Repeatable, err)
	}
	q := outgoing.Get().(*http1.Request) //nolint:forcetypeassert // nothing else is put in
	q.Addr, q.Host, q.Method, q.Target = address(t.Base), t.Base.Host, r.Method, path
	eachField(t.Kind, r, func(name string, values []string) {
		q.Fields = append(q.Fields, http1.Field{Name: name, Values: values})
	})
	switch {
	case r.Stream != nil && r.Length != 0:
		q.Stream, q.Length = r.Stream, r.Length
	case r.Stream == nil && len(r.Body) > 0:
		q.Body = r.Body
		if r.Owner != nil {
			q.Owner = r.Owner
		}
	}
	resp, sent, err := c.plain.Do(ctx, q)
	clear(q.Fields)
	*q = http1.Request{Fields: q.Fields[:0]}
	outgoing.Put(q)
	switch {
	case err != nil:
		return nil, sendError(t, r, sent || r.Repeatable, err)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		_ = resp.Body.Close()
		return nil, sendError(t, r, true, errSwitched)
	}
	return resp, nil
}

func address(base *url.URL) string {
	if port := base.Port(); port != "" && base.Host[len(base.Host)-len(port)-1] == ':' {
		return base.Host
	}
	return net.JoinHostPort(base.Hostname(), "80")
}

// requestTarget is the path and the query of what join returns, with less work for
// paths that are well formed.
func requestTarget(base *url.URL, path, query string) (string, error) {
	prefix := strings.TrimSuffix(base.EscapedPath(), "/")
	if !isEscaped(path) || prefix == "" && path == "" {
		u, err := join(base, path, query)
		if err != nil {
			return "", err
		}
		return u.RequestURI(), nil
	}
	if path != "" && path[0] != '/' {
		prefix += "/"
	}
	if query == "" {
		return prefix + path, nil
	}
	return prefix + path + "?" + query, nil
}

// isEscaped says that a path has no byte that must be escaped and is not, and no
// escape that is none.
func isEscaped(path string) bool {
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case isAlphanumeric(c), strings.IndexByte("/-_.~!$&'()*+,;=:@[]", c) >= 0:
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
