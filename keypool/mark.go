package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// mark remembers what an answer says of whom it is about. It reports whether it
// changed anything: a stale answer does not.
func (p *Pool) mark(m *member, model string, v verdict.Verdict, now time.Time) (bool, []event) {
	if v.Mark != verdict.Cool && v.Mark != verdict.Condemn {
		return false, nil
	}
	events := p.settle(now)
	if !v.Scope.Model || v.Mark == verdict.Condemn {
		model = ""
	}
	d := m.at(v.Scope.Level)
	changed := false
	if v.Mark == verdict.Cool {
		changed = d.block(clip(model), now).cool(v, now)
		changed = m.alive(v, now) || changed
	} else {
		changed = p.condemn(d, v, now)
	}
	if changed {
		fresh := p.book.recount(now, v.Reason, viaTrial)
		for i := range fresh {
			fresh[i].status = v.Status
		}
		events = append(events, fresh...)
		p.book.resettle(now)
	}
	return changed, events
}

// stale says that an attempt was sent before the last recovery: what its answer
// complains of is over.
func (b *block) stale(sent, now time.Time) bool {
	if b.open && !b.inForce(now) {
		return sent.Before(b.until) // ended, not yet confirmed
	}
	return sent.Before(b.recovered) || (b.open && b.permanent && sent.Before(b.since))
}

// cool puts a cooldown in force, or lengthens the one that is.
func (b *block) cool(v verdict.Verdict, now time.Time) bool {
	if b.stale(v.Sent, now) {
		return false
	}
	every := verifyRate
	if v.Billing {
		every = verifyBilling
	}
	until := v.Until
	stated := !until.IsZero() && until.Sub(now) <= implausible
	if stated && until.Before(now.Add(minCooldown)) {
		until = now.Add(minCooldown)
	}
	if b.inForce(now) && !b.permanent {
		return b.extend(v.Sent, until, stated, now)
	}
	if !stated {
		b.length = min(max(2*b.length, defaultCooldown), maxBackoff)
		until = now.Add(b.length)
	}
	b.open, b.permanent, b.probeAt = true, false, time.Time{}
	b.since, b.until, b.reason = now, until, v.Reason
	b.every, b.tryAt = every, now.Add(every)
	return true
}

// alive ends a rejection that a rate limit disproves: who is counted is known.
func (m *member) alive(v verdict.Verdict, now time.Time) bool {
	if v.Reason != verdict.RateLimited {
		return false
	}
	ended := false
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		if b := &d.whole; b.open && b.permanent && b.reason != verdict.QuotaExhausted && v.Sent.After(b.since) {
			b.close(now)
			ended = true
		}
	}
	return ended
}

// extend applies a second mark to a cooldown in force: it may only grow, and only
// by a stated time; an answer to what was sent under it was a trial.
func (b *block) extend(sent, until time.Time, stated bool, now time.Time) bool {
	if sent.After(b.since) {
		b.tryAt = now.Add(b.every)
	}
	if !stated || !until.After(b.until) {
		return false
	}
	b.until = until
	return true
}

// condemn takes a domain out until it is shown to be good again.
func (p *Pool) condemn(d *domain, v verdict.Verdict, now time.Time) bool {
	b := &d.whole
	if b.stale(v.Sent, now) {
		return false
	}
	if b.inForce(now) && b.permanent {
		if v.Sent.After(b.since) { // a trial has failed
			b.probes++
			p.schedule(b, now)
		}
		return false
	}
	if d.success.After(b.recovered) {
		b.probes = 0 // it has really served since it was last revived
	}
	b.open, b.permanent, b.reason = true, true, v.Reason
	b.since, b.until = now, time.Time{}
	p.schedule(b, now)
	return true
}

// schedule sets when a condemned domain is asked again: by a probe where there is
// a free call that tells, else by one real request.
func (p *Pool) schedule(b *block, now time.Time) {
	b.probeAt, b.tryAt = time.Time{}, time.Time{}
	switch {
	case p.opts.Prober != nil && p.opts.Prober.Can(b.reason):
		b.probeAt = now.Add(backoff(firstProbe, b.probes))
	case b.reason == verdict.QuotaExhausted:
		b.tryAt = now.Add(maxBackoff)
	default:
		b.tryAt = now.Add(min(p.opts.TrialAfter<<min(b.probes, 12), maxBackoff))
	}
}

// succeed ends what a good answer disproves: everything marked before it was sent
// that stood against the key for this model.
func (p *Pool) succeed(m *member, model string, sent, now time.Time) []event {
	m.key.served++
	for _, d := range m.domains() {
		if d != nil {
			d.success = now
		}
	}
	if p.book.trouble == 0 {
		return nil
	}
	events := p.settle(now)
	ended := false
	m.blocks(clip(model), func(b *block) {
		if sent.Before(b.since) {
			return
		}
		b.close(now)
		b.length, b.probes = 0, 0
		ended = true
	})
	if ended {
		events = append(events, p.book.recount(now, verdict.None, viaTrial)...)
		p.book.resettle(now)
	}
	return events
}

// close ends a block by evidence.
func (b *block) close(now time.Time) {
	b.open, b.permanent = false, false
	b.recovered = now
	b.tryAt, b.probeAt = time.Time{}, time.Time{}
	b.finish()
}

// finish ends the trial, if one runs, and lets those go who waited for it, first
// in first out.
func (b *block) finish() {
	b.trial = nil
	for _, w := range b.waiters {
		close(w)
	}
	b.waiters = nil
}

// clip bounds what is remembered of a name that a client chooses.
func clip(model string) string {
	if len(model) > maxModelName {
		return model[:maxModelName]
	}
	return model
}
