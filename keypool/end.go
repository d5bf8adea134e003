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
	// Withheld says that the operator has taken every key out of use that could serve
	// the call; when rate-limited, one of them for a stated time.
	Withheld bool
	// Pinned says that only the keys of one project, or organization, were asked for:
	// what the call needs is there.
	Pinned bool
}

func (e *ExhaustedError) Error() string {
	switch {
	case e.Withheld && e.Outcome == OutcomeRateLimited:
		return fmt.Sprintf("all keys of %s are taken out of use by the operator, the next may be used in %s", e.Provider, e.RetryAfter)
	case e.Withheld:
		return fmt.Sprintf("all keys of %s are taken out of use by the operator", e.Provider)
	case e.Outcome == OutcomeRateLimited:
		return fmt.Sprintf("all keys of %s are rate-limited, the next may be used in %s", e.Provider, e.RetryAfter)
	case e.Outcome == OutcomeQuotaExhausted:
		return fmt.Sprintf("all keys of %s are out of credit or refused", e.Provider)
	}
	return fmt.Sprintf("all keys of %s failed authentication", e.Provider)
}

// ModelError says that no key of the pool is configured to serve the model.
type ModelError struct{ Provider, Model string }

func (e *ModelError) Error() string {
	return fmt.Sprintf("no key of %s serves the model %q", e.Provider, e.Model)
}

// step is how a call goes on: with a lease, by waiting, after a pause or a rest, with an
// error, or, if it is none of these, exhausted.
type step struct {
	lease   *Lease
	wait    wait
	pause   bool
	rest    time.Duration // before the keys that have come back are asked once more
	err     error
	at      time.Time // when a key returns
	returns bool
}

// fails says that no key can serve the call.
func (s *step) fails() bool {
	return s.lease == nil && !s.pause && s.rest == 0 && s.wait.what == nothing && (s.err == nil || s.returns)
}

// look decides under the book's lock how the call goes on.
func (w *walk) look(now time.Time, inLine bool) step {
	m, trying := w.pick(now)
	w.explained = true
	switch {
	case m != nil && w.behind(m, now, inLine):
		return step{wait: wait{aKey, now.Add(min(roomTick, w.mayWait())), m.at(verdict.Organization)}}
	case m != nil && w.crowded(m, now, inLine):
		if inLine {
			if m = w.withRoom(now); m != nil {
				return step{lease: w.lease(m, now)}
			}
		}
		return step{wait: wait{what: room, until: now.Add(min(roomTick, w.mayWait()))}}
	case m != nil:
		if at, ok := w.inVain(m, now); ok {
			return step{at: at, returns: true, err: w.refusal}
		}
		return step{lease: w.lease(m, now)}
	case len(trying) > 0:
		long := trialPatience
		for _, b := range trying {
			long = min(long, w.patienceWith(b, now))
		}
		return step{wait: wait{what: aTrial, until: now.Add(long)}}
	case w.until.After(now):
		return step{wait: wait{aKey, w.until, w.roomOf}}
	case w.failure != nil:
		return w.again(now)
	case !w.admitted():
		return step{err: &ModelError{Provider: w.pool.provider, Model: w.want.Model}}
	}
	return w.without(now, inLine)
}

// behind says that another call came before this one that waits for room of the same
// limits, because its session is there. A large one would else wait for ever while
// small ones take what fills up.
func (w *walk) behind(m *member, now time.Time, inLine bool) bool {
	l := &w.pool.book.line
	if len(l.homes) == 0 || w.mayWait() <= 0 || w.ready(m, now) != free || !w.fits(m) {
		return false
	}
	d := m.at(verdict.Organization)
	if inLine {
		return l.passed[d]
	}
	return l.homes[d] > 0
}

// crowded says that the call waits although a key could be asked: the key's limits are
// known to have no room for it, or others wait for some already. A session at its own
// key, where its prompt is cached, does not stand behind those who look for a key that
// takes theirs as a whole: it would have to move in the end, and need as much. A key
// whose cooldown has just ended is tried all the same: that tells. So does a call that
// needs more than any limit holds at its fullest: to wait would gain it nothing.
func (w *walk) crowded(m *member, now time.Time, inLine bool) bool {
	if w.mayWait() <= 0 || w.ready(m, now) != free {
		return false
	}
	if w.fits(m) {
		return !inLine && w.pool.book.line.room > 0 && !w.warmAt(m)
	}
	_, comes := w.soonestRoom(now)
	return comes
}

// inVain says that the call would only be refused by the key, too: it has been refused
// by limits that were known to have no room for it, as no key left has. at is when one
// will have.
func (w *walk) inVain(m *member, now time.Time) (at time.Time, ok bool) {
	if !w.overfull || w.ready(m, now) != free || w.fits(m) {
		return time.Time{}, false
	}
	at, ok = w.soonestRoom(now)
	return at, ok && at.After(now)
}

// soonestRoom is when one of the keys that could be asked will have room for the call;
// not ok: none ever will.
func (w *walk) soonestRoom(now time.Time) (at time.Time, ok bool) {
	for _, m := range w.pool.members {
		if full, comes := w.fills(m, now); comes && (!ok || full.Before(at)) {
			at, ok = full, true
		}
	}
	return at, ok
}

// withRoom is the first key whose limits have room for the call.
func (w *walk) withRoom(now time.Time) *member {
	for _, m := range w.pool.members {
		if w.askable(m, now) && w.ready(m, now) == free && w.fits(m) {
			return m
		}
	}
	return nil
}

// mayWait is how much longer the call may wait.
func (w *walk) mayWait() time.Duration { return w.pool.opts.MaxWait - w.waited - w.patience }

// without decides for a call that has no key to ask.
func (w *walk) without(now time.Time, inLine bool) step {
	at, returns := w.soonest(now)
	back := w.cameBack(now)
	if !returns && !back {
		if m := w.pickDenied(now); m != nil {
			w.toldDenied = true
			return step{lease: w.lease(m, now)}
		}
	}
	most := w.mayWait()
	switch {
	case back:
		return w.once(now, most, inLine)
	case returns && at.After(now) && at.Sub(now) <= most:
		return step{wait: wait{what: aKey, until: at}}
	case returns && !at.After(now) && most > 0: // a permitted trial runs
		return step{wait: wait{what: aKey, until: now.Add(most)}}
	case !returns && w.refusal != nil:
		return step{err: w.refusal}
	}
	return step{at: at, returns: returns}
}

// once asks keys once more that have come back since they refused the call: at once,
// and then as long as it may wait, after a rest.
func (w *walk) once(now time.Time, most time.Duration, inLine bool) step {
	switch {
	case w.restarts < maxRestarts:
		w.restarts++
		w.restart()
		return w.look(now, inLine)
	case most > 0:
		return step{rest: min(restartRest, most)}
	}
	return step{at: now, returns: true}
}

// patienceWith is how much longer the call waits for the head of a trial: at most
// until that has had its time, and no longer in all than it may wait.
func (w *walk) patienceWith(b *block, now time.Time) time.Duration {
	long := trialPatience - max(w.patience, now.Sub(b.trial.sent))
	if w.waited > 0 {
		long = min(long, w.mayWait())
	}
	return long
}

// again sends once more to an upstream that failed, on a key that failed this way,
// unless the sends are spent or those keys are out by now.
func (w *walk) again(now time.Time) step {
	if !w.paused {
		if w.resends == len(resendAfter) {
			return step{err: w.failure}
		}
		return step{pause: true}
	}
	var again *member
	for _, m := range w.pool.members {
		if w.asked.of(m) == failed && w.ready(m, now) != blocked && (again == nil || m == w.last) {
			again = m
		}
	}
	if again == nil {
		return step{err: w.failure}
	}
	return step{lease: w.lease(again, now)}
}

// pause waits before an upstream that failed is asked again.
func (w *walk) pause(ctx context.Context) error {
	after := resendAfter[w.resends]
	w.resends++
	w.paused = true
	w.want.Trail.Add(Decision{At: time.Now(), What: Resent, For: after})
	return sleep(ctx, after)
}

// rest waits before the walk begins once more, which takes of the time that it may wait.
func (w *walk) rest(ctx context.Context, long time.Duration) error {
	w.want.Trail.Add(Decision{At: time.Now(), What: Waited, Why: awaitedWords[aKey], For: long})
	w.waited += long
	w.restarts = 0
	return sleep(ctx, long)
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
	w.want.Trail.Add(Decision{At: time.Now(), What: Restarted})
	w.asked = asked{}
	w.outside, w.toldDenied, w.refusal = nil, false, nil
	w.home.found = false
}

func (w *walk) admitted() bool {
	return slices.ContainsFunc(w.pool.members, w.admits)
}

// eligible says that the key might serve this request were it not out.
func (w *walk) eligible(m *member, now time.Time) bool {
	return w.admits(m) && w.within(m) && !w.drained(m) && !w.pool.book.denials.denied(m, w.want.Model, w.want.Endpoint, now)
}

// cameBack says that a key whose answer spoke against it is in: it has come back
// since, or had before the answer to what was sent earlier.
func (w *walk) cameBack(now time.Time) bool {
	for _, m := range w.pool.members {
		if w.asked.of(m) == marked && w.ready(m, now) != blocked {
			return true
		}
	}
	return false
}

// exhausted counts and reports that no key can serve the call.
func (w *walk) exhausted(at time.Time, returns bool) error {
	p := w.pool
	e := &ExhaustedError{Provider: p.provider, Outcome: OutcomeAuthFailed, Pinned: w.home.bound != nil}
	p.book.mu.Lock()
	now := time.Now()
	e.Withheld = w.withheld(now)
	switch {
	case returns:
		e.Outcome, e.RetryAfter = OutcomeRateLimited, max(at.Sub(now), minCooldown)
	case e.Withheld:
	case w.outOfCredit(now):
		e.Outcome = OutcomeQuotaExhausted
	}
	w.want.Trail.Add(Decision{At: now, What: Exhausted, Why: string(e.Outcome), Until: at})
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
		if t, ok := m.returns(clip(w.want.Model), now); ok {
			sooner(&at, t)
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
