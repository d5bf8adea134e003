package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// mark remembers what an answer says of whom it is about. A stale answer changes
// nothing.
func (p *Pool) mark(m *member, model string, v verdict.Verdict, now time.Time) []event {
	if v.Mark != verdict.Cool && v.Mark != verdict.Condemn {
		return nil
	}
	events := p.settle(now)
	if v.Sent.Before(m.key.recovered) {
		return events
	}
	if !v.Scope.Model || v.Mark == verdict.Condemn {
		model = ""
	}
	d := m.at(v.Scope.Level)
	changed := false
	if v.Mark == verdict.Cool {
		changed = d.block(clip(model), now).cool(v, now)
		changed = m.alive(v, now) || changed
	} else {
		changed = p.book.condemn(d, v, now)
	}
	p.book.touch() // what ends no trial well moves the next one
	if !changed {
		return events
	}
	fresh := p.book.recount(now, v.Reason, viaTrial)
	for i := range fresh {
		fresh[i].status = v.Status
	}
	p.book.resettle(now)
	return append(events, fresh...)
}

// stale says that an attempt was sent before the last recovery, or before what is
// worse than a cooldown was known: its answer tells nothing new.
func (b *block) stale(sent, now time.Time) bool {
	if b.open && !b.inForce(now) {
		return sent.Before(b.until) // ended, not yet confirmed
	}
	return sent.Before(b.recovered) || (b.open && b.permanent && !sent.After(b.since))
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
	if b.open && !b.permanent && v.Sent.Sub(b.until) <= episode+b.wrong/2 {
		b.wrong += now.Sub(b.since) // the last one was too short
	} else {
		b.wrong = 0
	}
	if !stated {
		b.length = min(max(2*b.length, defaultCooldown), maxBackoff)
		until = now.Add(b.length)
	} else if least := now.Add(min(b.wrong/distrust, maxBackoff)); until.Before(least) {
		until = least
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
func (b *book) condemn(d *domain, v verdict.Verdict, now time.Time) bool {
	bl := &d.whole
	if bl.stale(v.Sent, now) {
		return false
	}
	if bl.open && bl.permanent { // a trial has failed
		bl.probes++
		bl.reason = v.Reason // which says how it is found to be good again
		b.schedule(bl, now)
		return false
	}
	if d.success.After(bl.recovered) {
		bl.probes = 0 // it has really served since it was last revived
	}
	bl.open, bl.permanent, bl.reason = true, true, v.Reason
	bl.since, bl.until = now, time.Time{}
	b.schedule(bl, now)
	return true
}

// schedule sets when a condemned domain is asked again: by a probe where there is
// a free call that tells, else by one real request.
func (b *book) schedule(bl *block, now time.Time) {
	bl.probeAt, bl.tryAt = time.Time{}, time.Time{}
	switch {
	case b.newest.probes(bl.reason):
		bl.probeAt = now.Add(b.backoff(b.newest.opts.ProbeAfter, bl.probes))
	case bl.reason == verdict.QuotaExhausted:
		bl.tryAt = now.Add(maxBackoff)
	default:
		bl.tryAt = now.Add(min(b.newest.opts.TrialAfter<<min(bl.probes, 12), maxBackoff))
	}
}

// probes says whether probes, not real requests, revive what this reason condemned.
func (p *Pool) probes(r verdict.Reason) bool {
	return p.opts.Prober != nil && p.opts.Prober.Can(r)
}

// succeed ends what a good answer disproves: everything marked before it was sent
// that stood against the key for this model.
func (p *Pool) succeed(m *member, model string, sent, now time.Time) []event {
	for _, d := range m.domains() {
		if d != nil && sent.After(d.success) {
			d.success = sent
		}
	}
	if p.book.trouble == 0 {
		return nil
	}
	events := p.settle(now)
	ended := false
	m.blocks(clip(model), func(b *block) {
		if !sent.After(b.since) {
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
	b.trial = nil
}

// clip bounds what is remembered of a name that a client chooses.
func clip(model string) string {
	if len(model) > maxModelName {
		return model[:maxModelName]
	}
	return model
}
