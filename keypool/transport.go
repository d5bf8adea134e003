package keypool

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
	"time"

	"keybridge/keypool/verdict"
)

// ErrorBodyLimit and ErrorBodyTime bound the reading of an error's body, so that
// a stalled one does not stall failover.
const (
	ErrorBodyLimit = 64 << 10
	ErrorBodyTime  = 2 * time.Second
)

// TransportOptions describe a Transport.
type TransportOptions struct {
	Pool *Pool
	// Base sends the requests. Nil: http.DefaultTransport. It must not follow
	// redirects, which no http.RoundTripper should.
	Base http.RoundTripper
	// MaxBody bounds the request bodies that are kept for another key. Zero: 32 MiB.
	MaxBody int64
}

// Transport is an http.RoundTripper over a key pool: it puts a key on each request
// and, when the answer speaks against the key, sends the request with another one.
// Whatever credential and Host the request bears are replaced, and it goes to the
// pool's host or nowhere. Errors inside a stream that has begun with a 200 are not
// looked into.
type Transport struct {
	pool    *Pool
	base    http.RoundTripper
	maxBody int64
}

// NewTransport makes a Transport.
func NewTransport(o TransportOptions) (*Transport, error) {
	if o.Pool == nil || o.Pool.borrowed {
		return nil, errors.New("keypool: TransportOptions.Pool must be a pool made with New")
	}
	if o.Base == nil {
		o.Base = http.DefaultTransport //nolint:forbidigo // the documented default
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 32 << 20
	}
	return &Transport{pool: o.Pool, base: o.Base, maxBody: o.MaxBody}, nil
}

// refusedError carries an answer that may be the one to return.
type refusedError struct{ resp *http.Response }

func (e *refusedError) Error() string { return "upstream answered " + e.resp.Status }

// RoundTrip implements http.RoundTripper. Its error is *ExhaustedError when no key
// can serve the request now, *ModelError when none ever will.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.bound(req); err != nil {
		closeBody(req)
		return nil, err
	}
	body, err := t.readBody(req)
	if err != nil {
		return nil, err
	}
	want := Want{Model: topLevelModel(body), Endpoint: req.URL.Path}
	var resp *http.Response
	var refusals []*refusedError
	err = t.pool.Do(req.Context(), want, func(ctx context.Context, l *Lease) (verdict.Verdict, error) {
		v, r, failed := t.send(ctx, req, body, l) //nolint:bodyclose // the caller's, or closed below
		if refused, ok := errors.AsType[*refusedError](failed); ok {
			refusals = append(refusals, refused)
		}
		resp = r
		return v, failed
	})
	refused, ok := errors.AsType[*refusedError](err)
	for _, r := range refusals {
		if r != refused {
			_ = r.resp.Body.Close()
		}
	}
	if ok {
		return refused.resp, nil
	}
	return resp, err
}

// bound refuses to carry a key to another host, or by a redirect out of TLS.
func (t *Transport) bound(req *http.Request) error {
	if req.URL.Host != t.pool.host {
		return fmt.Errorf("keypool: the keys of %s are for %s only, not for %s", t.pool.provider, t.pool.host, req.URL.Host)
	}
	if from := req.Response; from != nil && from.Request != nil && from.Request.URL.Scheme != req.URL.Scheme {
		return fmt.Errorf("keypool: a redirect must not carry the keys of %s from %s to %s", t.pool.provider, from.Request.URL.Scheme, req.URL.Scheme)
	}
	return nil
}

// send makes one attempt. The body of an answer that is no error releases the lease.
func (t *Transport) send(ctx context.Context, req *http.Request, body []byte, l *Lease) (verdict.Verdict, *http.Response, error) {
	out := req.Clone(ctx)
	out.GetBody = nil // the transport must not resend by itself
	out.Host = ""     // the URL's
	if body != nil {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	SetKey(out.Header, t.pool.opts.Family, l.Secret())
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		if !resendable(req) && !unsent(err) {
			return verdict.Verdict{Action: verdict.Stop, Reason: verdict.UpstreamError}, nil, err
		}
		return verdict.Broken(), nil, err
	}
	l.Observe(resp.Header)
	answer := verdict.Answer{Status: resp.StatusCode, Header: resp.Header, Now: time.Now()}
	if resp.StatusCode < http.StatusBadRequest {
		resp.Body = &leasedBody{ReadCloser: resp.Body, lease: l}
		return verdict.Classify(t.pool.opts.Family, answer), resp, nil
	}
	answer.Body, resp.Body = ReadErrorBody(resp.Body)
	return verdict.Classify(t.pool.opts.Family, answer), nil, &refusedError{resp}
}

// unsent says that no connection was made, so that nothing can have arrived.
func unsent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// resendable says that nothing is created twice when the fate of a request that
// got no answer is unknown: it reads, or asks a model for an answer.
func resendable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	case http.MethodPost:
		for _, route := range [...]string{"/completions", "/responses", "/messages", "/embeddings", "/moderations", "/count_tokens"} {
			if strings.HasSuffix(r.URL.Path, route) {
				return true
			}
		}
	}
	return false
}

func (t *Transport) readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer closeBody(req)
	body, err := io.ReadAll(io.LimitReader(req.Body, t.maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("keypool: reading the request's body: %w", err)
	}
	if int64(len(body)) > t.maxBody {
		return nil, fmt.Errorf("keypool: the request's body is over %d bytes", t.maxBody)
	}
	return body, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// SetKey replaces whatever credential the header holds by the secret, in the
// family's own form.
func SetKey(h http.Header, f verdict.Family, secret string) {
	for _, name := range [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		h.Del(name)
	}
	name := f.KeyHeader()
	if name == "Authorization" {
		secret = "Bearer " + secret
	}
	h.Set(name, secret)
}

// leasedBody releases the lease when the answer has been read or given up.
type leasedBody struct {
	io.ReadCloser
	lease *Lease
}

func (b *leasedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.lease.Release(Usage{})
	}
	return n, err
}

func (b *leasedBody) Close() error {
	b.lease.Release(Usage{})
	return b.ReadCloser.Close()
}

// ReadErrorBody reads what of an error's body arrives within ErrorBodyLimit and
// ErrorBodyTime. rest is the whole body again: what was read, then what follows;
// after a stall it ends where the reading stopped.
func ReadErrorBody(body io.ReadCloser) (data []byte, rest io.ReadCloser) {
	timer := time.AfterFunc(ErrorBodyTime, func() { _ = body.Close() })
	data, err := io.ReadAll(io.LimitReader(body, ErrorBodyLimit))
	inTime := timer.Stop()
	if err != nil || !inTime || len(data) < ErrorBodyLimit {
		_ = body.Close()
		return data, io.NopCloser(bytes.NewReader(data))
	}
	return data, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), body), body}
}

// topLevelModel is the model a JSON body asks for, "" if it names none.
func topLevelModel(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return ""
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return ""
		}
		if name == "model" {
			var model string
			if dec.Decode(&model) != nil {
				return ""
			}
			return model
		}
		var skipped json.RawMessage
		if dec.Decode(&skipped) != nil {
			return ""
		}
	}
	return ""
}
