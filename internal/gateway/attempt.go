package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/upstream"
	"keybridge/internal/wire"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// flow is a committed answer on its way to the client.
type flow struct {
	resp     *http.Response
	lease    *keypool.Lease
	framing  wire.Framing
	reader   *wire.Reader
	observer dialect.Observer
	out      *out
	ended    bool // read to its proper end already
	cut      error
	cause    func() error // why its context ended
}

// Read is the reader's source: the client gets what there is before the upstream
// is waited for.
func (f *flow) Read(p []byte) (int, error) {
	f.out.pause()
	n, err := f.resp.Body.Read(p)
	f.out.resume()
	return n, err
}

// streamed says that the answer is cut into events, between which others fit.
func (f *flow) streamed() bool { return f.framing == wire.SSE }

// answer is an upstream's answer that was not committed: it stands for the
// attempt in the failover loop, which picks the one that the client is shown.
type answer struct {
	resp *http.Response
	body upstream.ErrorBody
	rest io.Reader // what follows an error body that was too long to judge whole
}

func (a *answer) Error() string { return "the upstream answered " + a.resp.Status }

// attempt sends the turn with one key and says what the answer means. It is all
// the failover loop sees of the wire.
func (x *exchange) attempt(ctx context.Context, l *keypool.Lease) (verdict.Verdict, error) {
	sent := time.Now()
	status, v, err := x.send(ctx, l)
	note := ledger.Attempt{
		Key: l.Key(), Hint: l.Hint(), Sent: sent, Duration: time.Since(sent),
		Status: status, Action: v.Action.String(), Reason: string(v.Reason),
	}
	x.record.Attempts = append(x.record.Attempts, note)
	x.g.o.Ledger.Attempted(x.record, &note)
	return v, err
}

func (x *exchange) send(ctx context.Context, l *keypool.Lease) (status int, v verdict.Verdict, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var late *time.Timer
	if d := x.s.Stream.FirstEventTimeout; d > 0 && !x.byok() {
		late = time.AfterFunc(d, func() { cancel(errLate) })
		defer late.Stop()
	}
	resp, err := x.g.o.Client.Send(ctx, &x.target.Target, x.request(l))
	if err != nil {
		v, err = x.unanswered(ctx, err)
		cancel(nil)
		return 0, v, err
	}
	x.undo = append(x.undo, func() { cancel(nil); _ = resp.Body.Close() })
	switch {
	case x.byok():
		x.commitOpaque(x.open(ctx, resp, l, cancel))
		return resp.StatusCode, verdict.Success(), nil
	case resp.StatusCode >= http.StatusBadRequest:
		v, err = x.rejected(l, resp)
	default:
		if late != nil && !x.record.Stream {
			late.Stop() // for a blocking answer the head is in time
		}
		v, err = x.gate(ctx, x.open(ctx, resp, l, cancel), late)
	}
	return resp.StatusCode, v, err
}

func (x *exchange) byok() bool { return x.record.Principal.Credential == ledger.BYOK }

func (x *exchange) request(l *keypool.Lease) *upstream.Request {
	r := &upstream.Request{
		Method: x.r.Method, Path: x.match.Path, RawQuery: x.r.URL.RawQuery, Header: x.r.Header,
		Body: x.body, Secret: l.Secret(), CallerHeader: x.record.Principal.Header,
	}
	if x.upload != nil {
		x.upload.used = true
		r.Stream, r.Length = x.upload.reader, x.upload.length
	}
	return r
}

// unanswered judges a send that brought no head.
func (x *exchange) unanswered(ctx context.Context, err error) (verdict.Verdict, error) {
	stop := verdict.Verdict{Action: verdict.Stop, Reason: verdict.UpstreamError}
	if f, ok := errors.AsType[*fault.Error](err); ok { // the client's body
		return stop, f
	}
	if x.r.Context().Err() != nil { // the client's own doing
		return verdict.Verdict{Action: verdict.Stop}, err
	}
	v, f := x.broken(ctx, err)
	sent, ok := errors.AsType[*upstream.SendError](err)
	ambiguous := !ok || sent.Written
	if x.upload != nil || (ambiguous && !x.match.Inference && !x.match.Idempotent) {
		v.Action = verdict.Stop
	}
	return v, f
}

// broken judges an upstream that gave no answer, or a part of one.
func (x *exchange) broken(ctx context.Context, err error) (verdict.Verdict, *fault.Error) {
	if errors.Is(context.Cause(ctx), errLate) {
		return verdict.Late(), fault.Wrap(fault.Timeout, err, "The upstream did not answer in time.")
	}
	return verdict.Broken(), fault.Wrap(fault.BadUpstream, err, "The upstream broke the connection or could not be reached.")
}

// rejected judges an error status.
func (x *exchange) rejected(l *keypool.Lease, resp *http.Response) (verdict.Verdict, error) {
	now := time.Now()
	body := upstream.ReadError(resp)
	v := verdict.Classify(x.target.Kind, verdict.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body.Text, Now: now})
	a := &answer{resp: resp, body: body}
	if !body.Whole && body.Err == nil {
		a.rest = resp.Body
	} else {
		_ = resp.Body.Close()
	}
	switch {
	case v.Action == verdict.Relay:
		v.Action = verdict.Stop
	case x.upload != nil: // it cannot be sent again
		l.Judge(v)
		v.Action = verdict.Stop
	}
	return v, a
}

// open prepares to read a good answer's body.
func (x *exchange) open(ctx context.Context, resp *http.Response, l *keypool.Lease, cancel context.CancelCauseFunc) *flow {
	cause := func() error { return context.Cause(ctx) }
	f := &flow{resp: resp, lease: l, out: x.out, observer: x.dialect.Observe(), cause: cause}
	encoded := resp.Header.Get("Content-Encoding")
	if x.match.Bridged() && resp.StatusCode < http.StatusBadRequest && (encoded == "" || encoded == "identity") {
		f.framing = wire.FramingOf(resp.Header.Get("Content-Type"))
	}
	if f.framing == wire.Opaque {
		f.observer = dialect.Opaque(x.dialect).Observe()
	}
	f.reader = wire.NewReader(f.framing, f)
	header := upstream.ClientHeader(resp, upstream.Rewrite{Pooled: !x.byok(), Edited: x.edits()})
	x.out.prepare(resp.StatusCode, header, f.streamed(), cancel)
	x.flow, x.held, x.heldBytes = f, nil, 0
	return f
}
