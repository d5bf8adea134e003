package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/upstream"
	"keybridge/internal/wire"
	"keybridge/keypool/verdict"
)

var errUnreadable = errors.New("the answer is not of the form of the one before it")

// gate reads a good-looking answer until it is sure of it: until the first event
// with content, its proper end, or until too much or for too long was held back.
// An error or a cut before that can still fail over.
func (x *exchange) gate(ctx context.Context, f *flow, late *time.Timer) (verdict.Verdict, error) {
	if f.framing == wire.Opaque {
		x.commitOpaque(f)
		return verdict.Success(), nil
	}
	for {
		ev, err := f.reader.Next()
		if late != nil {
			late.Stop()
		}
		if err != nil {
			return x.gateEnd(ctx, f, err)
		}
		if ev.Chunk && f.framing == wire.JSON && x.loop != nil && len(x.loop.steps) > 0 {
			x.out.retract()
			return verdict.Verdict{Action: verdict.Stop}, fault.New(fault.BadUpstream, "The upstream's answer is too large to be joined with what was said before.")
		}
		switch kind := f.observer.Event(ev); kind {
		case dialect.Failure:
			return x.gateFailure(f, ev)
		case dialect.Content, dialect.End:
			x.out.commit()
			x.forward(f, ev, kind)
			return verdict.Success(), nil
		case dialect.Preamble:
			if f.framing == wire.JSON { // the whole body, and it says nothing
				return x.gateEnd(ctx, f, io.ErrUnexpectedEOF)
			}
			if x.out.hold(ev) {
				return verdict.Success(), nil
			}
		}
	}
}

// commitOpaque commits an answer at its head; that of a stream goes out at once.
func (x *exchange) commitOpaque(f *flow) {
	if f.framing == wire.Opaque {
		x.out.verbatim()
	}
	x.out.commit()
	if wire.FramingOf(f.resp.Header.Get("Content-Type")) == wire.SSE {
		x.out.begin()
	}
}

// gateEnd judges a body that ended, well or not, before any content.
func (x *exchange) gateEnd(ctx context.Context, f *flow, err error) (verdict.Verdict, error) {
	if errors.Is(err, io.EOF) && f.observer.Turn().Complete {
		x.out.commit()
		f.cut = err
		return verdict.Success(), nil
	}
	if _, open := x.out.retract(); !open { // held too long: it is the client's already
		f.cut = err
		return verdict.Success(), nil
	}
	x.unread = f.observer.Turn()
	return broken(ctx, err)
}

// gateFailure judges the error inside a 200.
func (x *exchange) gateFailure(f *flow, ev wire.Event) (verdict.Verdict, error) {
	v := verdict.Classify(x.target.Kind, verdict.Answer{
		Status: f.resp.StatusCode, Header: f.resp.Header, Body: ev.Data, Now: time.Now(),
	})
	if v.Action == verdict.Relay {
		v.Action = verdict.Stop
	}
	held, open := x.out.retract()
	if !open { // held too long: it is the client's already
		x.forward(f, ev, dialect.Failure)
		v.Action = verdict.Stop
		return v, nil
	}
	raw := slices.Concat(held, ev.Raw, f.reader.Rest())
	return v, &answer{
		resp: f.resp, body: upstream.ErrorBody{Raw: raw, Text: raw, Whole: true},
		said: ev.Data, rest: f.resp.Body, stream: true, stop: func() { f.cancel(nil) },
	}
}
