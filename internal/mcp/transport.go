package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	mostOther     = 1 << 20 // bytes of an answer that is neither a result nor a page
	mostPage      = 4 << 20 // bytes of a page of the catalogue
	sessionHeader = "Mcp-Session-Id"

	protocolHeaders = "Mcp-"
)

var (
	errTooLarge = errors.New("its answer is too large")
	errGarbage  = errors.New("its answer is not MCP")
	errBroken   = errors.New("the connection broke off")
	errEncoded  = errors.New("its answer is compressed, which was not asked for")
	errRedirect = errors.New("it answers with a redirect, which is not followed: set its url to where it lives")
)

// statusError is an HTTP status that says it all.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("it answers %d %s", int(e), http.StatusText(int(e)))
}

// fate tells a call what became of its request, which the SDK does not.
type fate struct {
	sent atomic.Bool // perhaps
	lost atomic.Bool // the server did not know the session: the call was not made
	why  atomic.Pointer[error]
}

type fateKey struct{}

func fateOf(ctx context.Context) *fate {
	if f, ok := ctx.Value(fateKey{}).(*fate); ok {
		return f
	}
	return &fate{}
}

func (f *fate) fail(err error) { f.why.CompareAndSwap(nil, &err) }

func (f *fate) err() error {
	if p := f.why.Load(); p != nil {
		return *p
	}
	return nil
}

// guard stands between the SDK and a server. It bounds what the server sends, and
// turns what would break the session, but is the matter of one call, into the end
// of that call.
type guard struct {
	base     *http.Transport
	bind     func(context.Context) (context.Context, context.CancelFunc) // to the session's life
	headers  map[string]string
	agent    string
	most     int64         // bytes of a call's answer
	patience time.Duration // for the head of a stream
	lost     func()        // a stream on which the server tells of changes has ended

	asked  atomic.Bool  // for such a stream, with GET
	deaf   atomic.Bool  // such a stream has ended for good
	listed atomic.Int64 // bytes of the catalogue

	streams atomic.Int64 // on which the server tells of changes, open now
}

func (s *server) newGuard(life context.Context) *guard {
	base := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment, // never for loopback
		DialContext:            (&net.Dialer{Timeout: s.o.ConnectTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    s.o.ConnectTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    s.o.MaxConcurrent,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if s.dial != nil {
		base.DialContext = s.dial
	}
	context.AfterFunc(life, base.CloseIdleConnections)
	return &guard{
		base: base,
		bind: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			stop := context.AfterFunc(life, cancel)
			return ctx, func() { stop(); cancel() }
		},
		headers:  s.o.Headers,
		agent:    s.client.Name + "/" + s.client.Version,
		most:     4*int64(s.o.MaxResult) + mostOther, // JSON makes texts longer
		patience: s.o.ConnectTimeout / 2,             // connecting waits for it, and may go on without
		lost:     s.poke,
	}
}

func (g *guard) transport(url string) sdk.Transport {
	return &sdk.StreamableClientTransport{
		Endpoint: url,
		HTTPClient: &http.Client{
			Transport:     g,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries:   2,
		MaxEventSize: int(max(g.most, mostPage)),
	}
}

// asking is what the gateway needs to know of a request of the SDK's.
type asking struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
}

func read(req *http.Request) (a asking) {
	if req.GetBody == nil {
		return a
	}
	body, err := req.GetBody()
	if err != nil {
		return a
	}
	_ = json.NewDecoder(body).Decode(&a) // the SDK has written it
	_ = body.Close()
	return a
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	what, f := read(req), fateOf(req.Context())
	get := req.Method == http.MethodGet
	stream := get || what.Method == "subscriptions/listen"
	first := get && !g.asked.Swap(true)
	ctx, release := g.bind(req.Context())
	out := req.Clone(ctx)
	g.dress(out)
	f.sent.Store(true)
	var late *time.Timer
	if stream {
		late = time.AfterFunc(g.patience, release)
	}
	resp, err := g.base.RoundTrip(out)
	if stream {
		late.Stop()
	}
	if err == nil {
		if err = judge(out, resp, f); err != nil {
			_ = resp.Body.Close()
		}
	}
	if first && (err != nil || resp.StatusCode != http.StatusOK) {
		// The server need not have this stream, whatever it says to being asked for it.
		if err == nil {
			_ = resp.Body.Close()
		}
		release()
		return nothing(req, http.StatusMethodNotAllowed), nil
	}
	if err != nil {
		release()
		f.fail(err)
		return nil, err
	}
	resp.Body = g.wrap(resp, what, f, release, stream)
	return resp, nil
}

// dress gives a request the server's own headers. The protocol's are the SDK's.
func (g *guard) dress(req *http.Request) {
	req.Header.Set("User-Agent", g.agent)
	for k, v := range g.headers {
		switch {
		case strings.EqualFold(k, "Host"):
			req.Host = v
		case len(k) >= len(protocolHeaders) && strings.EqualFold(k[:len(protocolHeaders)], protocolHeaders):
		case req.Header.Get(k) == "" || strings.EqualFold(k, "User-Agent"):
			req.Header.Set(k, v)
		}
	}
}

// judge looks at the head of an answer.
func judge(req *http.Request, resp *http.Response, f *fate) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return errEncoded
	}
	switch code := resp.StatusCode; {
	case code >= 300 && code < 400:
		return errRedirect
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusTooManyRequests, code >= 500:
		return statusError(code)
	case req.Header.Get(sessionHeader) == "" || req.Method != http.MethodPost:
	case code == http.StatusNotFound, code == http.StatusBadRequest && aboutSession(resp):
		f.lost.Store(true)
		_ = resp.Body.Close()
		// With an error in it, the SDK would overlook what that means.
		resp.StatusCode, resp.Body = http.StatusNotFound, http.NoBody
	}
	return nil
}

// aboutSession says that a server refuses a session with the wrong status, as many do.
func aboutSession(resp *http.Response) bool {
	const most = 4 << 10
	head, _ := io.ReadAll(io.LimitReader(resp.Body, most)) // what can be read is all there is to judge
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return bytes.Contains(bytes.ToLower(head), []byte("session"))
}

// nothing is an answer without a body.
func nothing(req *http.Request, code int) *http.Response {
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: req,
	}
}

// wrap bounds an answer's body.
func (g *guard) wrap(resp *http.Response, what asking, f *fate, release func(), stream bool) io.ReadCloser {
	b := &body{src: resp.Body, release: release, id: what.ID, fate: f, left: mostOther}
	events := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	switch {
	case resp.StatusCode != http.StatusOK:
		b.id = nil
	case stream && events:
		b.id, b.left = nil, 0
		g.streams.Add(1)
		b.ended = func() { g.streams.Add(-1); g.deaf.Store(what.Method != ""); g.lost() }
	case what.Method == "tools/call":
		b.left = g.most
	case what.Method == "tools/list":
		b.left, b.count = mostPage, &g.listed
	}
	b.endless = b.ended != nil
	b.whole = !events && b.id != nil
	return b
}

// body is the body of a server's answer, within bounds.
type body struct {
	src     io.ReadCloser
	release func()
	id      json.RawMessage // of the call that it answers; nil: none
	fate    *fate
	left    int64 // bytes that may come
	endless bool  // as many as there are: the SDK bounds each event
	whole   bool  // one JSON document, and not events
	count   *atomic.Int64
	ended   func()
	once    sync.Once
	instead io.Reader // what the SDK reads in place of the rest
}

func (b *body) Read(p []byte) (int, error) {
	if b.whole && b.instead == nil {
		b.instead = bytes.NewReader(b.document())
	}
	if b.instead != nil {
		return b.instead.Read(p)
	}
	n, err := b.src.Read(p)
	if b.count != nil {
		b.count.Add(int64(n))
	}
	if b.left -= int64(n); b.left < 0 && !b.endless {
		if b.id == nil {
			return 0, errTooLarge
		}
		b.fate.fail(errTooLarge)
		// What was begun of an event is given a name that the SDK passes over.
		b.instead = io.MultiReader(strings.NewReader(":\nevent: cut\n\nevent: message\ndata: "), bytes.NewReader(b.failure(errTooLarge)), strings.NewReader("\n\n"))
		return b.instead.Read(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.fate.fail(errBroken)
	}
	if err != nil && b.ended != nil {
		b.once.Do(b.ended)
	}
	return n, err
}

// document reads a JSON document whole. The session would not survive one that is
// none, so that a failure of this one call stands in for it.
func (b *body) document() []byte {
	data, err := io.ReadAll(io.LimitReader(b.src, b.left+1))
	if b.count != nil {
		b.count.Add(int64(len(data)))
	}
	var answer struct {
		Version string `json:"jsonrpc"`
	}
	switch {
	case int64(len(data)) > b.left:
		err = errTooLarge
	case err != nil:
		err = errBroken
	case json.Unmarshal(data, &answer) != nil || answer.Version != "2.0":
		err = errGarbage
	default:
		return data
	}
	b.fate.fail(err)
	return b.failure(err)
}

func (b *body) failure(err error) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":%q}}`, b.id, err)
}

func (b *body) Close() error {
	err := b.src.Close()
	b.release()
	if b.ended != nil {
		b.once.Do(b.ended)
	}
	return err
}
