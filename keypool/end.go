package keypool

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"keybridge/keypool/verdict"
)

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

// end decides how a call without a usable key goes on: one more lease, another
// walk (both nil), or an error.
func (w *walk) end(ctx context.Context) (*Lease, error) {
	if w.failure != nil {
		return w.again(ctx)
	}
	if !w.admitted() {
		return nil, &ModelError{Provider: w.pool.provider, Model: w.want.Model}
	}
	b := w.pool.book
	b.mu.Lock()
	now := time.Now()
	at, returns := w.soonest(now)
	back := w.cameBack(now)
	var l *Lease
	if m := w.pickDenied(now); m != nil && !returns && !back {
		w.toldDenied = true
		l = w.lease(m, now)
	}
	b.mu.Unlock()
	switch {
	case l != nil:
		return l, nil
	case back && w.restarts < maxRestarts:
		w.restarts++
		w.restart()
		return nil, nil //nolint:nilnil // another walk
	case back:
		return nil, w.exhausted(now, true)
	case returns && at.After(now) && w.waited+at.Sub(now) <= w.pool.opts.MaxWait:
		return nil, w.sleep(ctx, at)
	case !returns && w.refusal != nil:
		return nil, w.refusal
	}
	return nil, w.exhausted(at, returns)
}

// again sends once more to an upstream that failed, on a key that failed this way,
// unless the sends are spent or those keys are out by now.
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
	var again *member
	for _, m := range w.pool.members {
		if w.asked.of(m) == failed && m.ready(clip(w.want.Model), now) != blocked && (again == nil || m == w.last) {
			again = m
		}
	}
	if again == nil {
		return nil, w.failure
	}
	return w.lease(again, now), nil
}

// pause waits before an upstream that failed is asked again.
func (w *walk) pause(ctx context.Context) error {
	after := resendAfter[w.resends]
	w.resends++
	w.paused = true
	return sleep(ctx, after)
}

// sleep waits for the soonest key; then another walk of the same call begins.
func (w *walk) sleep(ctx context.Context, at time.Time) error {
	start := time.Now()
	if err := sleep(ctx, at.Sub(start)); err != nil {
		return err
	}
	w.waited += time.Since(start)
	w.restart()
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// restart begins another walk of the same call. What was learned from the keys'
// refusals stays evidence.
func (w *walk) restart() {
	w.asked = asked{}
	w.outside, w.toldDenied, w.refusal = nil, false, nil
}

func (w *walk) admitted() bool {
	return slices.ContainsFunc(w.pool.members, w.admits)
}

// eligible says that the key might serve this request were it not out.
func (w *walk) eligible(m *member, now time.Time) bool {
	return w.admits(m) && !w.pool.book.denials.denied(m, w.want.Model, w.want.Endpoint, now)
}

// cameBack says that a key whose answer spoke against it is in: it has come back
// since, or had before the answer to what was sent earlier.
func (w *walk) cameBack(now time.Time) bool {
	for _, m := range w.pool.members {
		if w.asked.of(m) == marked && m.ready(clip(w.want.Model), now) <= halfOpen {
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
	now := time.Now()
	switch {
	case returns:
		e.Outcome, e.RetryAfter = OutcomeRateLimited, max(at.Sub(now), minCooldown)
	case w.outOfCredit(now):
		e.Outcome = OutcomeQuotaExhausted
	}
	p.book.series.exhaustion(e.Outcome)
	tell := p.book.tell(now)
	p.book.mu.Unlock()
	if tell {
		attrs := []slog.Attr{slog.String("outcome", string(e.Outcome))}
		if returns {
			attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter.Round(time.Millisecond)))
		}
		p.log.LogAttrs(context.Background(), slog.LevelWarn, "pool exhausted", attrs...)
	}
	return e
}

func (w *walk) outOfCredit(now time.Time) bool {
	for _, m := range w.pool.members {
		if !w.eligible(m, now) {
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

// soonest is the earliest permitted try among the eligible keys that return by a
// deadline.
func (w *walk) soonest(now time.Time) (time.Time, bool) {
	var at time.Time
	for _, m := range w.pool.members {
		if !w.eligible(m, now) {
			continue
		}
		t, ok := m.returns(clip(w.want.Model), now)
		if ok && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at, !at.IsZero()
}

// returns is when the key may be used again for the model; ok is false if nothing
// cools it, or if no deadline ends what keeps it out.
func (m *member) returns(model string, now time.Time) (at time.Time, ok bool) {
	dead := false
	m.blocks(model, func(b *block) {
		if !b.inForce(now) {
			return
		}
		if b.permanent {
			dead = true
			return
		}
		if t := b.nextTry(); t.After(at) {
			at = t
		}
	})
	return at, !dead && !at.IsZero()
}
