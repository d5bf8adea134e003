package gateway

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
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
	done     bool            // the event that ends the answer has been seen
	unsent   int             // how many of the raw bytes read last are the client's, and not yet written
	lost     error           // why the client cannot be written to
	cut      error           // what the body has ended with already
	ctx      context.Context //nolint:containedctx // says why it ended
	cancel   context.CancelCauseFunc
	keeper   keeper
}

// Wait is called before Read: the client gets what there is before the upstream is
// waited for. What one read has brought is written at once.
func (f *flow) Wait() {
	f.lost = f.out.pause(f.before(0))
}

// before is what is yet to be written of what stands before the last n raw bytes
// that were read of a stream.
func (f *flow) before(n int) []byte {
	if f.unsent == 0 {
		return nil
	}
	b := f.reader.Last(f.unsent + n)[:f.unsent]
	f.unsent = 0
	return b
}

// Read is the reader's source.
func (f *flow) Read(p []byte) (int, error) {
	if f.lost != nil {
		return 0, f.lost
	}
	n, err := f.resp.Body.Read(p)
	f.out.resume()
	return n, err
}

// streamed says that the answer is cut into events, between which others fit.
func (f *flow) streamed() bool { return f.framing == wire.SSE }

// attempt sends the turn with one key and says what the answer means. It is all
// the failover loop sees of the wire.
func (x *exchange) attempt(ctx context.Context, l *keypool.Lease) (verdict.Verdict, error) {
	sent := time.Now()
	x.follow(l)
	if x.s.AttemptsHeader {
		x.out.count(len(x.record.Attempts)+1, x.record.ID)
	}
	status, v, err := x.send(ctx, l)
	done := time.Now()
	x.record.Attempts = append(x.record.Attempts, ledger.Attempt{
		Turn: len(x.record.Turns), Waited: sent.Sub(x.asked),
		Key: l.Key(), Hint: l.Hint(), Sent: sent, Duration: done.Sub(sent),
		Status: status, Action: v.Action.String(), Reason: string(v.Reason),
	})
	x.asked = done
	x.g.o.Ledger.Attempted(&x.record, &x.record.Attempts[len(x.record.Attempts)-1])
	return v, err
}

// follow takes the exchange over to the pool that has succeeded its own while it
// waited, if the lease is that one's: its secrets are to be masked, too.
func (x *exchange) follow(l *keypool.Lease) {
	p := l.Pool()
	if p == x.target.Pool || x.byok() {
		return
	}
	t := *x.target
	t.Masker = upstream.NewMasker(append(t.Pool.Secrets(), p.Secrets()...))
	t.Pool = p
	x.target = &t
}

func (x *exchange) send(ctx context.Context, l *keypool.Lease) (status int, v verdict.Verdict, err error) {
	x.unread = llm.Turn{} // of an attempt before
	b := &bounds{call: ctx}
	ctx = b
	cancel := b.end
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
	x.opened = append(x.opened, opened{cancel, resp.Body})
	l.Observe(resp.Header)
	if resp.StatusCode >= http.StatusBadRequest && (!x.byok() || x.flow != nil) {
		v, err = x.rejected(resp, cancel)
		return resp.StatusCode, v, err
	}
	if late != nil && !x.record.Stream {
		late.Stop() // for a blocking answer the head is in time
	}
	f := x.open(ctx, resp, l, cancel)
	switch {
	case x.flow != nil && x.flow.framing != f.framing: // it cannot go on with the answer that has begun
		x.out.retract()
		v, err = broken(ctx, errUnreadable)
	case x.byok():
		x.commitOpaque(f)
	default:
		v, err = x.gate(ctx, f, late)
	}
	if err == nil {
		x.turned(f)
		x.flow = f
		x.closeAttempts(len(x.opened) - 1)
	}
	return resp.StatusCode, v, err
}

func (x *exchange) byok() bool { return x.record.Principal.Credential == ledger.BYOK }

func (x *exchange) request(l *keypool.Lease) *upstream.Request {
	r := &upstream.Request{
		Method: x.r.Method, Path: x.match.Path, RawQuery: x.r.URL.RawQuery, Header: x.header(),
		Body: x.body, Owner: x.buffer, Secret: l.Secret(), CallerHeader: x.record.Principal.Header,
		Repeatable: x.match.Inference || x.match.Idempotent,
	}
	if x.upload != nil {
		r.Stream, r.Length = x.upload.reader, x.upload.length
	}
	return r
}

// header is the client's. Its idempotency key is for the body it has sent, and not for
// those of later turns.
func (x *exchange) header() http.Header {
	if x.loop == nil || len(x.loop.steps) == 0 {
		return x.r.Header
	}
	h := maps.Clone(x.r.Header)
	h.Del("Idempotency-Key")
	h.Del("X-Idempotency-Key")
	return h
}

// unanswered judges a send that brought no head.
func (x *exchange) unanswered(ctx context.Context, err error) (verdict.Verdict, error) {
	stop := verdict.Verdict{Action: verdict.Stop}
	if f, ok := errors.AsType[*fault.Error](err); ok { // the client's body
		return stop, f
	}
	if x.r.Context().Err() != nil { // the client's own doing
		return stop, err
	}
	v, f := broken(ctx, err)
	sent, ok := errors.AsType[*upstream.SendError](err)
	ambiguous := !ok || sent.Written
	if x.upload != nil || (ambiguous && !x.match.Inference && !x.match.Idempotent) {
		v.Action = verdict.Stop
	}
	return v, f
}

// broken judges an upstream that gave no answer, or a part of one.
func broken(ctx context.Context, err error) (verdict.Verdict, error) {
	if errors.Is(context.Cause(ctx), errLate) {
		return verdict.Late(), fault.Wrap(fault.Timeout, err, "The upstream did not answer in time.")
	}
	return verdict.Broken(), fault.Wrap(fault.BadUpstream, err, "The upstream broke the connection or could not be reached.")
}

// rejected judges an error status.
func (x *exchange) rejected(resp *http.Response, cancel context.CancelCauseFunc) (verdict.Verdict, error) {
	now := time.Now()
	body := upstream.ReadError(resp)
	v := verdict.Classify(x.target.Kind, verdict.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body.Text, Now: now})
	a := &answer{resp: resp, body: body, said: body.Text}
	if !body.Whole && body.Err == nil {
		a.rest, a.stop = resp.Body, func() { cancel(nil) }
	} else {
		_ = resp.Body.Close()
	}
	if v.Action == verdict.Relay || x.upload != nil { // an upload cannot be sent again
		v.Action = verdict.Stop
	}
	return v, a
}

// open prepares to read a good answer's body.
func (x *exchange) open(ctx context.Context, resp *http.Response, l *keypool.Lease, cancel context.CancelCauseFunc) *flow {
	f := &flow{
		resp: resp, lease: l, out: &x.out, observer: x.dialect.Observe(),
		ctx: ctx, cancel: cancel,
	}
	encoded := resp.Header.Get("Content-Encoding")
	if x.match.Bridged() && resp.StatusCode < http.StatusBadRequest && (encoded == "" || encoded == "identity") {
		f.framing = wire.FramingOf(resp.Header.Get("Content-Type"))
	}
	if f.framing == wire.Opaque {
		x.keeps(f)
		f.observer = dialect.Opaque(x.dialect).Observe()
	}
	f.reader = wire.NewReader(f.framing, f)
	if x.out.splice != nil {
		f.reader.KeepWhole()
	}
	edited := f.streamed() || x.out.splice != nil && f.framing != wire.Opaque // pings are an edit, too
	rewrite := upstream.Rewrite{Pooled: !x.byok(), Edited: edited}
	if rewrite.Pooled {
		rewrite.Masker = x.target.Masker
	}
	var ping []byte
	if f.streamed() {
		ping = x.dialect.Ping().Raw
	}
	x.out.prepare(resp, rewrite, ping, cancel)
	return f
}
