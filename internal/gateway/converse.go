package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/wire"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

var errUpstream = errors.New("the upstream reported an error in its answer")

// converse runs the turns of a conversation, each its own call over the pool, until
// one asks for no central tool. Without tools that is the first.
func (x *exchange) converse(pool *keypool.Pool, want keypool.Want) {
	x.meter()
	if f := x.equip(); f != nil {
		x.refuse(f)
		return
	}
	for {
		x.asked = time.Now()
		if err := pool.Do(x.r.Context(), want, x.attempt); err != nil {
			x.conclude(err)
			return
		}
		f := x.relay()
		if x.gone() {
			return
		}
		if f != nil {
			x.refuse(f)
			return
		}
		again, f := x.goOn(&want)
		switch {
		case x.gone():
			return
		case f != nil:
			x.refuse(f)
			return
		case !again:
			x.out.end()
			return
		}
	}
}

// relay gives the rest of a committed answer to the client.
func (x *exchange) relay() *fault.Error {
	f := x.flow
	stop := func() bool { return false }
	defer func() {
		stop()
		f.reader.Release()
		turn := f.observer.Turn()
		x.turned(f)
		f.lease.Release(x.used(f))
		if x.match.Bridged() && f.resp.StatusCode < http.StatusBadRequest { // an error, as callers with their own keys are shown it, is no turn
			x.record.Turns = append(x.record.Turns, turn)
		}
	}()
	err := f.cut
	for ended := false; err == nil; {
		if f.done && !ended && f.streamed() {
			ended = true
			stop = x.leave(f)
		}
		var ev wire.Event
		if ev, err = f.reader.Next(); err == nil {
			f.see(ev.Raw)
			x.forward(f, ev, f.observer.Event(ev))
		}
	}
	x.out.write(f.before(0))
	turn := f.observer.Turn()
	told := f.done || x.record.Err != nil // the client has seen the end, or the upstream's own error
	switch {
	case told && f.streamed(),
		(turn.Complete || x.record.Err != nil) && errors.Is(err, io.EOF):
		return nil
	}
	return cutOff(f, err)
}

// leave bounds how long an upstream may hold a stream open behind its end, if the client
// waits for more.
func (x *exchange) leave(f *flow) (stop func() bool) {
	if !x.pending() {
		return func() bool { return false }
	}
	return time.AfterFunc(tailPatience, func() { f.cancel(nil) }).Stop
}

// cutOff is what the client is told of an answer that broke after its commit.
func cutOff(f *flow, err error) *fault.Error {
	switch cause := context.Cause(f.ctx); {
	case errors.Is(cause, ErrStopping):
		return fault.Wrap(fault.Unavailable, cause, "The gateway is stopping.")
	case errors.Is(cause, errIdle):
		return fault.Wrap(fault.Timeout, cause, "The upstream fell silent in the middle of its answer.")
	}
	return fault.Wrap(fault.BadUpstream, err, "The upstream broke off in the middle of its answer.")
}

// forward gives one event of a committed answer to the client. The events of a
// stream go to it when its source is read next, joined.
func (x *exchange) forward(f *flow, ev wire.Event, kind dialect.Kind) {
	f.done = f.done || kind == dialect.End
	if f.streamed() && x.out.splice == nil && kind != dialect.Failure && !ev.Chunk {
		f.unsent += len(ev.Raw)
		return
	}
	x.out.write(f.before(len(ev.Raw)))
	switch {
	case kind == dialect.Failure:
		x.fail(errUpstream)
		if m := x.target.Masker; m != nil && !x.byok() {
			ev.Raw, ev.Data = m.Mask(ev.Raw), m.Mask(ev.Data)
		}
	case ev.Chunk && f.streamed(): // an event beyond all bounds: nothing may be put into it
		f.framing = wire.Opaque
		x.out.verbatim()
	}
	x.out.forward(ev)
}

// conclude answers a call that no key has served.
func (x *exchange) conclude(err error) {
	if x.unread.Reported {
		x.record.Turns = append(x.record.Turns, x.unread)
	}
	a, ok := errors.AsType[*answer](err)
	switch {
	case x.gone():
	case x.source.failed():
		x.refuse(fault.Wrap(fault.RequestTimeout, err, "The request body did not arrive in time."))
	case !ok:
		x.refuse(x.faultOf(err))
	case x.out.begun():
		x.fail(a) // what the upstream says is the client's alone: it may quote the prompt, and a key that is not ours
		said := string(x.target.Masker.Mask([]byte(verdict.Parse(a.said).Message)))
		x.refuse(fault.Wrap(fault.BadUpstream, a, "The upstream refused to go on ("+strconv.Itoa(a.resp.StatusCode)+"): "+said))
	default:
		x.show(a)
	}
}

// show gives an upstream's answer to the client as it came, but for secrets.
func (x *exchange) show(a *answer) {
	x.fail(a)
	if a.readRest(); a.body.Err != nil {
		x.refuse(fault.Wrap(fault.BadUpstream, a.body.Err,
			"The upstream answered "+strconv.Itoa(a.resp.StatusCode)+" "+http.StatusText(a.resp.StatusCode)+", but its message broke off."))
		return
	}
	h := a.header(x.target.Masker)
	body := a.body.Masked(x.target.Masker, h)
	x.forbidRetry(h)
	x.source.linger()
	x.out.whole(a.resp.StatusCode, h, body)
}
