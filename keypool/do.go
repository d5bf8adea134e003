package keypool

import (
	"context"
	"errors"
	"time"

	"keybridge/keypool/verdict"
)

// Attempt sends one request with the lease's key and says what the answer means.
//
// With verdict.Relay or verdict.Stop and a nil error the attempt keeps the lease
// and releases it when the answer's body has ended. With an error Do releases the
// lease; the error stands for the answer: Do returns the one that is to be shown
// to the client, so that its caller can write that answer unchanged.
type Attempt func(ctx context.Context, l *Lease) (verdict.Verdict, error)

const (
	trialPatience = 2 * time.Second // how long others wait for a trial's head
	maxRestarts   = 1               // walks begun anew at once because a key had come back meanwhile
	restartRest   = time.Second     // before the next of them, while the call may wait
)

var errNoAnswer = errors.New("keypool: the attempt failed without saying how")

// resendAfter is how long a call waits before it is sent again to an upstream that
// failed; its length is how often.
var resendAfter = [...]time.Duration{200 * time.Millisecond, time.Second} //nolint:gochecknoglobals // a constant table

// Do runs one upstream call over the pool: it calls attempt with one lease after
// the other until an answer is to be given to the client, and returns nil; or the
// error of the attempt whose answer is to be shown; or *ExhaustedError,
// *ModelError, or the context's error.
func (p *Pool) Do(ctx context.Context, want Want, attempt Attempt) error {
	if p.borrowed {
		l := &Lease{pool: p, member: p.members[0], sent: time.Now()}
		_, err := attempt(ctx, l)
		return err
	}
	w := &walk{pool: p, want: want, unnamed: want.Model == "", begun: len(want.Trail.Decisions())}
	if w.unnamed {
		w.want.Model = want.Endpoint // what it is refused for is this route, not all that the key can do
	}
	defer w.account()
	for {
		l, err := w.next(ctx)
		if err != nil {
			return err
		}
		v, err := w.try(ctx, l, attempt)
		done, err := w.judge(ctx, l, v, err)
		if done {
			return err
		}
		if v.Action == verdict.Resend {
			if err := w.pause(ctx); err != nil {
				return err
			}
		}
	}
}

// try runs the attempt and gives the key back should it panic.
func (w *walk) try(ctx context.Context, l *Lease, attempt Attempt) (verdict.Verdict, error) {
	returned := false
	defer func() {
		if !returned {
			l.drop()
		}
	}()
	v, err := attempt(ctx, l)
	returned = true
	return v, err
}

// next hands out the next lease, waiting where that is right, or says how the call
// ends.
func (w *walk) next(ctx context.Context) (*Lease, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		s, q, events := w.take()
		w.pool.report(events)
		switch {
		case s.lease != nil:
			return s.lease, nil
		case s.err != nil:
			return nil, s.err
		case s.pause:
			if err := w.pause(ctx); err != nil {
				return nil, err
			}
		case s.rest > 0:
			if err := w.rest(ctx, s.rest); err != nil {
				return nil, err
			}
		case q == nil:
			return nil, w.exhausted(s.at, s.returns)
		default:
			if l, err := w.await(ctx, q); l != nil || err != nil {
				return l, err
			}
		}
	}
}

// take leases the next key, or joins the line, or says how the call goes on else.
func (w *walk) take() (step, *waiter, []event) {
	b := w.pool.book
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	events := w.pool.settle(now)
	b.letGo(now) // those whose time has come, and whom the timer has not called yet, are before this call
	s := w.look(now, false)
	if s.lease == nil && w.follow(b.newest) {
		s = w.look(now, false)
	}
	if s.fails() {
		if m := w.lastResort(now); m != nil {
			s = step{lease: w.lease(m, now)}
		}
	}
	if s.wait.what == nothing {
		return s, nil, events
	}
	q := b.join(w, s.wait, now)
	if q == nil && s.wait.what == room { // that others wait for it turns nobody away who has it
		if roomy := w.look(now, true); roomy.lease != nil {
			return roomy, nil, events
		}
	}
	if q == nil {
		w.want.Trail.Add(Decision{At: now, What: Waited, Why: WhyLineFull})
		return step{at: s.wait.until, returns: true}, nil, events
	}
	if s.wait.what == room {
		b.line.stirred = true
		b.letGo(now) // with those who came before
	}
	return s, q, events
}

// judge settles one attempt. done says that the call ends with err.
func (w *walk) judge(ctx context.Context, l *Lease, v verdict.Verdict, err error) (done bool, _ error) {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		l.drop() // the client's own doing: neutral
		return true, cause
	}
	v.Sent = l.sent
	if l.foreseen && v.Mark == verdict.Cool && v.Reason == verdict.RateLimited {
		v.Mark = verdict.NoMark
		w.overfull = true
	}
	w.reason = v.Reason
	w.want.Trail.judged(l, v)
	l.Judge(v)
	ends := v.Action == verdict.Relay || v.Action == verdict.Stop
	if !ends && err == nil {
		err = errNoAnswer
	}
	if err != nil {
		l.Release(Usage{})
	}
	switch v.Action {
	case verdict.Relay:
		w.convict(l)
	case verdict.Stop:
	case verdict.NextKey:
		w.note(l.member, v, err)
	case verdict.Resend:
		w.asked.set(l.member, failed)
		w.failure = err
		ends = w.resends == len(resendAfter)
	}
	return ends, err
}

// note keeps what a walk must know of a key that could not serve. Under the lock:
// other answers may tell meanwhile whom the key belongs to.
func (w *walk) note(m *member, v verdict.Verdict, err error) {
	w.pool.book.mu.Lock()
	defer w.pool.book.mu.Unlock()
	w.asked.set(m, marked)
	switch v.Mark {
	case verdict.Deny:
		w.denials = append(w.denials, m.denial(v, w.want))
	case verdict.Suspect:
		w.suspects = append(w.suspects, suspect{m, v.Sent, v.Status})
	case verdict.NoMark:
	case verdict.Cool, verdict.Condemn:
		return
	}
	w.asked.set(m, refused)
	w.refusal = err
	w.unbind(v)
	w.outside = append(w.outside, m.at(v.Scope.Level))
}

// convict remembers what the walk's earlier keys refused, now that another key has
// served the very same request.
func (w *walk) convict(l *Lease) {
	p := w.pool
	p.book.mu.Lock()
	now := time.Now()
	var events []event
	for _, d := range w.denials {
		p.book.denials.add(d, now)
	}
	p.book.denials.forget(l.member, w.want.Model, w.want.Endpoint)
	for _, s := range w.suspects {
		if s.member == l.member {
			continue // it refused in an earlier walk of this call
		}
		e := p.mark(s.member, w.want.Model, verdict.Verdict{
			Mark: verdict.Cool, Scope: verdict.Scope{Level: verdict.Key, Model: true},
			Reason: verdict.Forbidden, Sent: s.sent, Status: s.status,
		}, now)
		events = append(events, e...)
	}
	p.book.letGo(now)
	p.book.mu.Unlock()
	p.report(events)
}

// account counts the call, on every way out.
func (w *walk) account() {
	s := w.pool.book.series
	if w.handed == 0 {
		return
	}
	s.calls.observe(w.handed)
	if w.want.Tally == nil {
		s.attempts.observe(w.handed)
		return
	}
	w.want.Tally.add(w.pool.provider, s, w.handed)
}
