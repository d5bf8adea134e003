package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/route"
	"keybridge/internal/upstream"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// exchange is one client request being served.
type exchange struct {
	g       *Gateway
	s       *Snapshot
	match   route.Match
	target  *Target
	dialect dialect.Dialect
	r       *http.Request
	out     out
	record  ledger.Exchange
	tally   keypool.Tally
	trail   keypool.Trail

	body   []byte
	buffer *upstream.Buffer // what body was read into, if its length was known
	upload *upload          // set instead of body: may be sent once
	source patient          // reads the client's body
	flow   *flow            // the last answer that was committed
	unkept bool             // the provider is asked not to keep the answer
	loop   *loop            // nil: no central tools
	opened []opened         // what the attempts left open
	unread llm.Turn         // of the last attempt, if its answer broke off before its commit
	abort  bool             // the started answer must not look complete
	asked  time.Time        // when the pool was last asked for a key

	// Most exchanges need one of each.
	attempts [1]ledger.Attempt
	turns    [1]llm.Turn
	firsts   [1]opened
}

// opened is an answer that is yet to be closed, and its context.
type opened struct {
	cancel context.CancelCauseFunc
	body   io.Closer
}

func newExchange(g *Gateway, s *Snapshot, m route.Match, r *http.Request, w http.ResponseWriter) *exchange {
	now := time.Now()
	x := &exchange{
		g: g, s: s, match: m, r: r, dialect: s.dialectFor(&m),
		record: ledger.Exchange{
			ID: newID(now), Start: now, Provider: m.Provider, Route: m.Route, Method: r.Method, Bridged: m.Bridged(), Quiet: m.Quiet,
		},
	}
	x.record.Attempts, x.record.Turns, x.opened = x.attempts[:0], x.turns[:0], x.firsts[:0]
	x.out.init(w, r, s.Stream)
	x.source.r, x.source.rc = r.Body, &x.out.rc
	if m.Provider != "" {
		x.target = s.Targets[m.Index]
	}
	g.o.Ledger.Started(&x.record)
	return x
}

// newID names an exchange. Ids sort by when they were made, to the microsecond: one that
// answers another came later, however fast it was.
func newID(now time.Time) string {
	var b [12]byte
	rand.Read(b[6:])
	micros := now.UnixMicro()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(micros/1000))
	copy(b[:6], ms[2:])
	within := micros % 1000 // ten bits, the first of those that are chosen at random otherwise
	b[6], b[7] = byte(within>>2), byte(within&3<<6)|b[7]&0x3f
	return string(hex.AppendEncode(append(make([]byte, 0, 30), "req_kb"...), b[:]))
}

func anthropic(m *route.Match) bool { return m.Family == verdict.Anthropic }

// serve reads the request and holds the conversation.
func (x *exchange) serve() {
	if f := x.read(); f != nil {
		if !x.gone() {
			x.refuse(f)
		}
		return
	}
	peeked, f := x.peek()
	if f != nil {
		x.refuse(f)
		return
	}
	x.record.Model, x.record.Stream = peeked.Model, peeked.Stream
	pool, f := x.pool()
	if f != nil {
		x.refuse(f)
		return
	}
	x.unkept = peeked.Unkept
	want := x.want(pool, &peeked)
	x.describe(&peeked, &want)
	if f := x.begin(); f != nil {
		x.refuse(f)
		return
	}
	x.converse(pool, want)
}

// peek looks into the request, as it is once what the client has not seen of earlier
// turns is put back.
func (x *exchange) peek() (dialect.Peeked, *fault.Error) {
	peeked, err := x.dialect.Peek(x.body)
	if err != nil {
		return peeked, asFault(err)
	}
	changed, f := x.remember()
	if f == nil && changed {
		peeked, err = x.dialect.Peek(x.body)
	}
	if err != nil {
		f = asFault(err)
	}
	return peeked, f
}

// refuse answers with an error of the gateway, in the caller's dialect: an HTTP
// status and JSON, or, once the answer has begun, the event that ends it.
func (x *exchange) refuse(f *fault.Error) {
	x.fail(f)
	f.RequestID = x.record.ID
	if x.out.begun() {
		x.breakOff(f)
		return
	}
	h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {x.record.ID}}
	if anthropic(&x.match) {
		h.Set("Request-Id", x.record.ID)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.RetryAfter))
		if f.RetryAfter > longWait {
			h.Set("X-Should-Retry", "false")
		}
	}
	if f.Code == fault.QuotaExhausted || f.Code == fault.AuthFailed {
		h.Set("X-Should-Retry", "false")
	}
	x.forbidRetry(h)
	if f.Code == fault.Upgrade {
		h.Set("Upgrade", "HTTP/1.1")
	}
	x.record.HTTPStatus = f.Status()
	x.source.linger()
	x.out.whole(f.Status(), h, x.dialect.Error(f))
}

// forbidRetry asks SDKs that repeat failed requests by themselves not to, if tools have
// run: they would run again.
func (x *exchange) forbidRetry(h http.Header) {
	if len(x.record.Tools) > 0 {
		h.Set("X-Should-Retry", "false")
	}
}

// breakOff ends a started answer so that nobody takes it for a whole one.
func (x *exchange) breakOff(f *fault.Error) {
	if x.flow != nil {
		if ev := x.flow.observer.Break(f); len(ev.Raw) > 0 && x.flow.streamed() {
			x.out.forward(ev)
			x.out.end()
			return
		}
	}
	x.abort = true
}

// fail notes why the exchange did not complete; the first reason stays.
func (x *exchange) fail(err error) {
	if x.record.Err == nil {
		x.record.Err = err
	}
}

// finish settles the accounts, on every way out.
func (x *exchange) finish() {
	caught := recover()
	x.closeAttempts(len(x.opened))
	x.source.stop(time.Time{})
	x.buffer.Release()
	x.tally.Close()
	x.settle()
	x.out.close()
	x.record.End = time.Now()
	x.record.FirstEvent = x.out.firstEvent()
	if x.record.HTTPStatus == 0 {
		x.record.HTTPStatus = x.out.sentStatus()
	}
	switch {
	case caught == nil && x.gone():
		x.record.Status = ledger.Cancelled
		x.fail(errClientGone)
		x.abort = true // it may still listen, as one that has only closed its own side does
	case caught != nil || x.record.Err != nil || x.record.HTTPStatus >= http.StatusBadRequest:
		x.record.Status = ledger.Failed
	default:
		x.record.Status = ledger.Completed
	}
	if caught != nil && caught != http.ErrAbortHandler { //nolint:errorlint // the very value
		x.fail(fmt.Errorf("panic: %v", caught))
		x.tellOf(caught)
	}
	x.record.Class = x.class()
	x.g.o.Ledger.Finished(&x.record)
	if caught != nil || x.abort {
		panic(http.ErrAbortHandler)
	}
}

// tellOf logs a panic, from where it was caught.
func (x *exchange) tellOf(caught any) {
	x.g.o.Logger.LogAttrs(context.WithoutCancel(x.r.Context()), slog.LevelError, "panic while serving a request",
		slog.String("id", x.record.ID), slog.Any("panic", caught), slog.String("stack", string(debug.Stack())))
}

// closeAttempts closes what the oldest n attempts left open.
func (x *exchange) closeAttempts(n int) {
	for _, o := range x.opened[:n] {
		o.cancel(nil)
		_ = o.body.Close()
	}
	x.opened = x.opened[n:]
}

// gone says that the client went away before it had its answer.
func (x *exchange) gone() bool {
	if x.out.ended() || x.source.failed() {
		return false
	}
	cause := context.Cause(x.r.Context())
	return x.out.broken() || (cause != nil && !errors.Is(cause, ErrStopping))
}

const longWait = 60 // seconds; some official SDKs ignore longer waits and hammer

// faultOf translates what ended a call over the pool.
func (x *exchange) faultOf(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if e, ok := errors.AsType[*keypool.ModelError](err); ok {
		if x.record.Model == "" {
			return fault.New(fault.ModelNotFound, "No key of the provider %s is for requests that name no model: each has a list of models.", e.Provider)
		}
		return fault.New(fault.ModelNotFound, "The model %q is not served by any key of the provider %s.", shorten(e.Model), e.Provider)
	}
	e, ok := errors.AsType[*keypool.ExhaustedError](err)
	if !ok {
		if x.r.Context().Err() != nil {
			return fault.Wrap(fault.Unavailable, err, "The gateway is stopping.")
		}
		return fault.Wrap(fault.Internal, err, "The gateway failed on this request.")
	}
	keys := "All configured keys of the provider " + e.Provider
	if e.Pinned {
		keys = "All keys of the provider " + e.Provider + " that can reach what this request refers to (an earlier answer, a file or the like)"
	}
	withheld := "All keys of the provider " + e.Provider + " that could serve this request are taken out of use by the operator."
	const contact = "Contact your administrator."
	// The pool says the same in its words: it is no cause that would be worth telling.
	switch {
	case e.Outcome == keypool.OutcomeRateLimited:
		s := max(1, int((e.RetryAfter+time.Second-1)/time.Second))
		why := keys + " are rate-limited for this request."
		if e.Withheld {
			why = withheld
		}
		f := fault.New(fault.RateLimited, "%s Retry after %d s.", why, s)
		f.RetryAfter = s
		return f
	case e.Outcome == keypool.OutcomeQuotaExhausted:
		return fault.New(fault.QuotaExhausted, "%s are out of credit or refused. %s", keys, contact)
	case e.Withheld:
		return fault.New(fault.AuthFailed, "%s %s", withheld, contact)
	}
	return fault.New(fault.AuthFailed, "%s failed authentication. %s", keys, contact)
}

// shorten bounds what is echoed of a client's own words.
func shorten(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func asFault(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fault.Wrap(fault.Internal, err, "The gateway failed on this request.")
}
