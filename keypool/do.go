package keypool

import (
	"context"
	"fmt"
	"log/slog"
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

// Outcome is how a pool was exhausted.
type Outcome string

// The outcomes.
const (
	OutcomeRateLimited    Outcome = "rate_limited"
	OutcomeAuthFailed     Outcome = "auth_failed"
	OutcomeQuotaExhausted Outcome = "quota_exhausted"
)

// ExhaustedError says that no key of the pool can serve the call now.
type ExhaustedError struct {
	Provider   string
	Outcome    Outcome
	RetryAfter time.Duration // until the soonest permitted try; only when rate-limited
}

func (e *ExhaustedError) Error() string {
	switch e.Outcome {
	case OutcomeRateLimited:
		return fmt.Sprintf("all keys of %s are rate-limited, the next may be used in %s", e.Provider, e.RetryAfter)
	case OutcomeQuotaExhausted:
		return fmt.Sprintf("all keys of %s are out of credit or refused", e.Provider)
	case OutcomeAuthFailed:
	}
	return fmt.Sprintf("all keys of %s failed authentication", e.Provider)
}

// ModelError says that no key of the pool is configured to serve the model.
type ModelError struct{ Provider, Model string }

func (e *ModelError) Error() string {
	return fmt.Sprintf("no key of %s serves the model %q", e.Provider, e.Model)
}

const (
	trialPatience = 2 * time.Second // how long others wait for a trial's head
	maxRestarts   = 1
)

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
	w := &walk{pool: p, want: want, asked: make([]asked, len(p.members))}
	if p.opts.Strategy == RoundRobin {
		w.start = int(p.turn.Add(1)-1) % len(p.members) //nolint:gosec // far from overflow
	}
	defer w.account()
	for {
		l, err := w.next(ctx)
		if err != nil {
			return err
		}
		v, err := attempt(ctx, l)
		if done, err := w.judge(ctx, l, v, err); done {
			return err
		}
		if v.Action == verdict.Resend {
			if err := w.pause(ctx); err != nil {
				return err
			}
		}
	}
}

// next hands out the next lease, waiting where that is right, or says how the call
// ends.
func (w *walk) next(ctx context.Context) (*Lease, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		l, wait, events := w.take()
		w.pool.report(events)
		switch {
		case l != nil:
			return l, nil
		case wait != nil:
			if err := w.await(ctx, wait); err != nil {
				return nil, err
			}
		default:
			l, err := w.end(ctx)
			if l != nil || err != nil {
				return l, err
			}
		}
	}
}

func (w *walk) take() (*Lease, chan struct{}, []event) {
	b := w.pool.book
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	events := w.pool.settle(now)
	m, wait := w.pick(now)
	if m == nil {
		return nil, wait, events
	}
	return w.lease(m, now), nil, events
}

// await waits for the head of another request's trial, in all at most 2 s a call.
func (w *walk) await(ctx context.Context, trial chan struct{}) error {
	start := time.Now()
	timer := time.NewTimer(trialPatience - w.patience)
	defer timer.Stop()
	select {
	case <-trial:
	case <-timer.C:
		w.impatient = true
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.patience += time.Since(start)
	w.impatient = w.impatient || w.patience >= trialPatience
	return nil
}

// judge settles one attempt. done says that the call ends with err.
func (w *walk) judge(ctx context.Context, l *Lease, v verdict.Verdict, err error) (done bool, _ error) {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		l.Release(Usage{}) // the client's own doing: neutral
		return true, err
	}
	v.Sent = l.sent
	w.reason = v.Reason
	old := l.judge(v)
	switch v.Action {
	case verdict.Relay:
		w.convict(l)
		return true, err
	case verdict.NextKey:
		w.note(l.member, v, old, err)
	case verdict.Resend:
		w.asked[l.member.index] = failed
		w.failure, w.failedOn = err, l.member
	case verdict.Stop:
		if err != nil {
			l.Release(Usage{})
		}
		return true, err
	}
	l.Release(Usage{})
	if v.Action == verdict.Resend && w.resends == len(resendAfter) {
		return true, err
	}
	return false, nil
}

// note keeps what a walk must know of a key that could not serve.
func (w *walk) note(m *member, v verdict.Verdict, old bool, err error) {
	w.asked[m.index] = marked
	switch v.Mark {
	case verdict.Deny:
		w.denials = append(w.denials, pendingDenial{m.denial(v, w.want), v.Scope.Level})
	case verdict.Suspect:
		w.suspects = append(w.suspects, suspect{m, v.Sent, v.Status})
	case verdict.NoMark:
	case verdict.Cool, verdict.Condemn:
		if old {
			w.asked[m.index] = stale
		}
		return
	}
	w.asked[m.index] = refused
	w.refusal = err
	w.outside = append(w.outside, m.at(v.Scope.Level))
}

// convict remembers what the walk's earlier keys refused, now that another key has
// served the very same request.
func (w *walk) convict(l *Lease) {
	p := w.pool
	p.book.mu.Lock()
	now := time.Now()
	var events []event
	p.book.denials.forget(l.member, w.want.Model, w.want.Endpoint)
	for _, d := range w.denials {
		p.book.denials.add(d.denial, d.level, now)
	}
	for _, s := range w.suspects {
		_, e := p.mark(s.member, w.want.Model, verdict.Verdict{
			Mark: verdict.Cool, Scope: verdict.Scope{Level: verdict.Key, Model: true},
			Reason: verdict.Forbidden, Sent: s.sent, Status: s.status,
		}, now)
		events = append(events, e...)
	}
	p.book.mu.Unlock()
	p.report(events)
}

// pause waits before an upstream that failed is asked again.
func (w *walk) pause(ctx context.Context) error {
	timer := time.NewTimer(resendAfter[w.resends])
	defer timer.Stop()
	w.resends++
	w.paused = true
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end decides how a call without a usable key goes on: one more lease, another
// walk (both nil), or an error.
func (w *walk) end(ctx context.Context) (*Lease, error) {
	p := w.pool
	p.book.mu.Lock()
	now := time.Now()
	if w.failure != nil {
		p.book.mu.Unlock()
		return w.again(ctx)
	}
	if !w.admitted() {
		p.book.mu.Unlock()
		return nil, &ModelError{Provider: p.provider, Model: w.want.Model}
	}
	at, returns := w.soonest(now)
	if !returns {
		if m := w.pickDenied(now); m != nil {
			defer p.book.mu.Unlock()
			return w.lease(m, now), nil
		}
		if w.recovered(now) {
			if w.restarts < maxRestarts {
				w.restarts++
				w.restart()
				p.book.mu.Unlock()
				return nil, nil //nolint:nilnil // another walk
			}
			at, returns = now, true
		}
	}
	p.book.mu.Unlock()
	if returns && time.Until(at) > 0 && w.waited+time.Until(at) <= p.opts.MaxWait {
		return nil, w.sleep(ctx, at)
	}
	if !returns && w.refusal != nil {
		return nil, w.refusal
	}
	return nil, w.exhausted(at, returns)
}

// again sends once more to an upstream that failed, on the key that failed last,
// unless the sends are spent or the key is out by now.
func (w *walk) again(ctx context.Context) (*Lease, error) {
	if !w.paused {
		if w.resends == len(resendAfter) {
			return nil, w.failure
		}
		return nil, w.pause(ctx)
	}
	b := w.pool.book
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if w.failedOn.ready(clip(w.want.Model), now) == blocked {
		return nil, w.failure
	}
	return w.lease(w.failedOn, now), nil
}

// sleep waits for the soonest key; then another walk of the same call begins.
func (w *walk) sleep(ctx context.Context, at time.Time) error {
	start := time.Now()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.waited += time.Since(start)
	w.restart()
	return nil
}

func (w *walk) restart() {
	for i := range w.asked {
		w.asked[i] = unasked
	}
	w.outside, w.impatient, w.toldDenied, w.refusal = nil, false, false, nil
}

func (w *walk) admitted() bool {
	for _, m := range w.pool.members {
		if m.admits(w.want.Model) {
			return true
		}
	}
	return false
}

// recovered says that a key has come back since this walk asked it.
func (w *walk) recovered(now time.Time) bool {
	for _, m := range w.pool.members {
		a := w.asked[m.index]
		if (a == stale || a == marked) && m.ready(clip(w.want.Model), now) <= halfOpen {
			return true
		}
	}
	return false
}

// exhausted counts and reports that no key can serve the call.
func (w *walk) exhausted(at time.Time, returns bool) error {
	p := w.pool
	e := &ExhaustedError{Provider: p.provider, Outcome: OutcomeAuthFailed}
	p.book.mu.Lock()
	switch {
	case returns:
		e.Outcome, e.RetryAfter = OutcomeRateLimited, max(time.Until(at), minCooldown)
	case w.outOfCredit():
		e.Outcome = OutcomeQuotaExhausted
	}
	p.book.series.exhaustion(e.Outcome)
	tell := p.book.tell(time.Now())
	p.book.mu.Unlock()
	if tell {
		p.log.LogAttrs(context.Background(), slog.LevelWarn, "pool exhausted",
			slog.String("outcome", string(e.Outcome)), slog.Duration("retry_after", e.RetryAfter))
	}
	return e
}

func (w *walk) outOfCredit() bool {
	for _, m := range w.pool.members {
		if !m.admits(w.want.Model) {
			continue
		}
		for _, d := range m.domains() {
			if d != nil && d.whole.open && d.whole.permanent && d.whole.reason == verdict.QuotaExhausted {
				return true
			}
		}
	}
	return false
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
