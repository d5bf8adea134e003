package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/upstream"
	"keybridge/internal/wire"
	"keybridge/keypool/verdict"
)

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
		switch kind := f.observer.Event(ev); kind {
		case dialect.Failure:
			return x.gateFailure(f, ev)
		case dialect.Content, dialect.End:
			x.out.commit()
			x.forward(f, ev, kind)
			return verdict.Success(), nil
		case dialect.Preamble:
			// A JSON body that is no answer is a cut one, however long.
			if f.framing == wire.SSE && x.hold(ev) {
				return verdict.Success(), nil
			}
		}
	}
}

// commitOpaque commits an answer at its head; that of a stream goes out at once.
func (x *exchange) commitOpaque(f *flow) {
	x.out.commit()
	if wire.FramingOf(f.resp.Header.Get("Content-Type")) == wire.SSE {
		x.out.begin()
	}
}

// hold keeps an event back and reports whether the answer is committed all the
// same. A splicer must see the events themselves, once it is known whose they are.
func (x *exchange) hold(ev wire.Event) bool {
	if !x.edits() {
		return x.out.hold(ev.Raw)
	}
	x.held = append(x.held, ev.Clone())
	x.heldBytes += len(ev.Raw)
	if x.heldBytes <= x.s.Stream.HoldBytes {
		return false
	}
	x.out.commit()
	x.release()
	return true
}

// gateEnd judges a body that ended, well or not, before any content.
func (x *exchange) gateEnd(ctx context.Context, f *flow, err error) (verdict.Verdict, error) {
	if _, open := x.out.preamble(); !open {
		f.ended = errors.Is(err, io.EOF) && f.observer.Turn().Complete
		f.cut = err
		return verdict.Success(), nil
	}
	if errors.Is(err, io.EOF) && f.observer.Turn().Complete {
		x.out.commit()
		x.release()
		f.ended = true
		return verdict.Success(), nil
	}
	x.flow = nil
	v, fault := x.broken(ctx, err)
	return v, fault
}

// gateFailure judges the error inside a 200.
func (x *exchange) gateFailure(f *flow, ev wire.Event) (verdict.Verdict, error) {
	v := verdict.Classify(x.target.Kind, verdict.Answer{
		Status: f.resp.StatusCode, Header: f.resp.Header, Body: ev.Data, Now: time.Now(),
	})
	held, open := x.out.preamble()
	if !open { // held too long: it is the client's already
		f.lease.Judge(v)
		x.fail(errUpstream)
		x.out.write(x.target.Masker.Mask(ev.Raw))
		return verdict.Verdict{Action: verdict.Stop}, nil
	}
	if v.Action == verdict.Relay {
		v.Action = verdict.Stop
	}
	whole := append(append([]byte(nil), held...), ev.Raw...)
	whole = append(whole, f.reader.Rest()...)
	rest := upstream.ReadError(&http.Response{Body: f.resp.Body})
	_ = f.resp.Body.Close()
	whole = append(whole, rest.Raw...)
	x.flow = nil
	return v, &answer{resp: f.resp, body: upstream.ErrorBody{Raw: whole, Text: whole, Whole: true}}
}
