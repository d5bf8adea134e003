// Package upstream sends a request to a provider with one key and gives back the
// answer as it came: connections, header hygiene in both directions, auth styles,
// bounded error bodies, and the masking of secrets an upstream echoes. It knows no
// API and never tries twice: what a failure means is the failover loop's to say.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/internal/http1"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// Target is where requests of one provider go.
type Target struct {
	Name string // the provider's name, for errors
	Kind verdict.Family
	Base *url.URL // scheme, host and path prefix; nothing in a request can change the host
	Pool *keypool.Pool
}

// Options adjust a Client. The zero value is right for production.
type Options struct {
	// DialContext replaces the TCP dialer, which gives up after ten seconds.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS replaces the default TLS configuration (system roots).
	TLS *tls.Config
}

// Client holds the connections to all providers. It outlives reloads, and is safe
// for concurrent use.
type Client struct {
	plain     *http1.Client   // http without a proxy, which costs much less by itself
	transport *http.Transport // TLS, HTTP/2 and proxies
	direct    sync.Map        // whether a plain host is reached without a proxy
	// http1 holds the hosts whose connections were seen to speak HTTP/1; see noBody.
	http1 sync.Map
}

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	idlePerHost      = 4096
	maxHeadBytes     = 1 << 20
	readBuffer       = 16 << 10
)

// NewClient makes a Client. Loopback targets never go through the environment's
// proxy; the others do if one is set.
func NewClient(o Options) *Client {
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &Client{
		plain: http1.NewClient(http1.Options{Dial: dial, IdleTimeout: idleTimeout, IdlePerHost: idlePerHost, MaxHead: maxHeadBytes}),
		transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			TLSClientConfig:        o.TLS,
			TLSHandshakeTimeout:    handshakeTimeout,
			ForceAttemptHTTP2:      true, // lost otherwise, because DialContext is set
			DisableCompression:     true, // else a gzip answer would reach the client re-coded
			MaxIdleConnsPerHost:    idlePerHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeadBytes,
			ReadBufferSize:         readBuffer,
		},
	}
}

// CloseIdle closes the connections that serve nobody.
func (c *Client) CloseIdle() {
	c.plain.CloseIdle()
	c.transport.CloseIdleConnections()
}

// SendError says that the upstream gave no answer. Its text never holds the
// secret or the query, so it may be logged; it names addresses, so it is not for
// callers.
type SendError struct {
	Target string
	// Written says that the upstream may have received the request. While it is
	// false, sending again can do nothing twice.
	Written bool
	Err     error
}

// Error implements error.
func (e *SendError) Error() string { return fmt.Sprintf("send to %s: %v", e.Target, e.Err) }

// Unwrap returns the cause: of a canceled context its cancel cause, of a Stream
// that failed to read that very error.
func (e *SendError) Unwrap() error { return e.Err }

// Send sends one request once and returns the head of the answer, whatever its
// status: a redirect is an answer, too. The caller closes the body; ctx ends both.
// Every error is a *SendError.
//
// An upstream can process what one Send sends at most once. net/http, which speaks
// TLS, on its own would send again on a dead kept-alive connection: GET and HEAD,
// and everything that bears an Idempotency-Key. That is shut off. What is left is a
// request that a connection provably did not take in (nothing written, or refused by
// HTTP/2 before processing): it moves to another connection, a Body at most once.
func (c *Client) Send(ctx context.Context, t *Target, r *Request) (*http.Response, error) {
	if c.isDirect(t.Base) {
		return c.sendPlain(ctx, t, r)
	}
	f := &flight{}
	f.written.Store(r.Repeatable)
	req, err := c.build(ctx, t, r, f)
	if err != nil {
		return nil, sendError(t, r, f.written.Load(), err)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = context.Cause(ctx) // HTTP/2 leaves the cause out
		}
		return nil, sendError(t, r, f.written.Load(), err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // relayed, it would take the client's connection over
		_ = resp.Body.Close()
		return nil, sendError(t, r, f.written.Load(), errSwitched)
	}
	c.learn(t.Base.Host, resp)
	resp.Body = &discreet{resp.Body}
	return resp, nil
}

// flight watches one Send.
type flight struct {
	written atomic.Bool
	moved   atomic.Bool
}

// trace fires before the first byte of the head is flushed, so written errs on
// the side of true.
func (f *flight) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { f.written.Store(true) }})
}

// learn remembers what a host's connections speak. A connection is used again only
// after an answer on it.
func (c *Client) learn(host string, resp *http.Response) {
	_, known := c.http1.Load(host)
	switch is := resp.ProtoMajor == 1; {
	case is && !known:
		c.http1.Store(host, struct{}{})
	case !is && known:
		c.http1.Delete(host)
	}
}

var errSwitched = errors.New("the upstream switched protocols unasked")

func sendError(t *Target, r *Request, written bool, err error) error {
	err = unquoted(err)
	text := err.Error()
	masked := string(NewMasker([]string{r.Secret, r.RawQuery}).Mask([]byte(text)))
	if masked != text {
		err = &maskedError{text: masked, cause: err}
	}
	return &SendError{Target: t.Name, Written: written, Err: err}
}

var quotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(malformed MIME header[^:]*: )[^"].*`)

// unquoted leaves out what net/http quotes of a malformed answer. That can repeat a
// request, and not only this one: bytes that an upstream sends too many are taken
// for the answer to what its connection carries next.
func unquoted(err error) error {
	text := err.Error()
	if short := quotes.ReplaceAllString(text, "$1***"); short != text {
		return &maskedError{text: short, cause: err}
	}
	return err
}

// discreet is an answer's body whose errors, as those of its trailer, quote nothing.
type discreet struct{ io.ReadCloser }

// Read implements io.Reader.
func (d *discreet) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the very value, which quotes nothing
		err = unquoted(err)
	}
	return n, err
}

type maskedError struct {
	text  string
	cause error
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.cause }
