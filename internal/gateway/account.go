package gateway

import (
	"errors"
	"net/http"
	"strconv"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/keypool"
)

const mostSession = 200 // bytes of what a client calls a conversation

// admit notes that the caller is let in, and with which program: all that is known of a
// request that is refused for its body.
func (x *exchange) admit() {
	x.record.Admitted = true
	if x.match.Bridged() {
		x.record.Client, x.record.Version = clientOf(x.r.Header)
	}
}

// describe puts into the record what the request says of itself.
func (x *exchange) describe(p *dialect.Peeked, want *keypool.Want) {
	if !x.match.Bridged() {
		return
	}
	e := &x.record
	if want.Signal != opening { // that one is this process's own
		e.Session, e.Signal = want.Session[:min(len(want.Session), mostSession)], want.Signal
	}
	answers, after := p.Answers()
	e.After = after
	for _, a := range answers {
		e.Answers = append(e.Answers, ledger.Answer(a))
	}
	if x.s.Keep.Prompt {
		e.Prompt, e.PromptSize = p.Prompt(x.s.Keep.Limit)
	}
}

// begin tells the recorder of an exchange that is about to go upstream.
func (x *exchange) begin() *fault.Error {
	if x.g.o.Recorder == nil || !x.match.Bridged() {
		return nil
	}
	return x.g.o.Recorder.Begin(&x.record)
}

// settle completes the record. A panic in it costs what is missing then, not the end of the
// exchange.
func (x *exchange) settle() {
	defer func() {
		if caught := recover(); caught != nil {
			x.tellOf(caught)
		}
	}()
	x.explain()
	x.unrun()
	x.charge()
}

// charge prices the turns. Who brings a key of their own pays for them elsewhere.
func (x *exchange) charge() {
	if x.s.Prices == nil || x.byok() || x.target == nil {
		return
	}
	for i := range x.record.Turns {
		charges := x.s.Prices.Charge(x.target.Kind, x.record.Provider, x.record.Model, i, &x.record.Turns[i])
		if x.record.Charges == nil {
			x.record.Charges = charges
			continue
		}
		x.record.Charges = append(x.record.Charges, charges...)
	}
}

// The classes of errors that are no fault of the gateway's own making.
const (
	classCancelled = "cancelled"
	classUpstream  = "upstream_error" // in the middle of an answer
)

// class is why the exchange did not complete, in a word of a closed set.
func (x *exchange) class() string {
	switch x.record.Status {
	case ledger.Completed:
		return ""
	case ledger.Cancelled:
		return classCancelled
	case ledger.Failed, ledger.Open, ledger.Lost:
	}
	if f, ok := errors.AsType[*fault.Error](x.record.Err); ok {
		return string(f.Code)
	}
	if errors.Is(x.record.Err, errUpstream) {
		return classUpstream
	}
	if a, ok := errors.AsType[*answer](x.record.Err); ok {
		if n := len(x.record.Attempts); n > 0 && x.record.Attempts[n-1].Reason != "" {
			return x.record.Attempts[n-1].Reason
		}
		return "upstream_" + strconv.Itoa(a.resp.StatusCode/100) + "xx"
	}
	if x.record.HTTPStatus >= http.StatusBadRequest { // a BYOK caller is shown the provider's own
		return "upstream_" + strconv.Itoa(x.record.HTTPStatus/100) + "xx"
	}
	return string(fault.Internal)
}
