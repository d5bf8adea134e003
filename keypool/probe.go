package keypool

import (
	"context"
	"sync"
	"time"

	"keybridge/keypool/verdict"
)

// Prober asks a provider whether a condemned key is good again, at no cost.
type Prober interface {
	// Can says whether there is a free call that tells about a key condemned for
	// this reason. If not, a real request tries the key from time to time.
	Can(reason verdict.Reason) bool
	// Probe makes that call with the secret.
	Probe(ctx context.Context, secret string, reason verdict.Reason) verdict.Verdict
}

const (
	probeTick    = time.Second
	probeTimeout = 20 * time.Second
)

// RunProbes probes the condemned keys of the pools that pools lists, until the
// context ends; it returns when the last probe has. A key is first probed 30 s
// (see Options.ProbeAfter) after its rejection, then at doubling intervals up to an hour; the interval
// shrinks again only after the key has really served.
func RunProbes(ctx context.Context, pools func() []*Pool) {
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return // both were ready
		}
		for _, p := range pools() {
			for _, t := range p.dueProbes(time.Now()) {
				running.Go(func() { p.probe(ctx, t) })
			}
		}
	}
}

// target is one condemned domain and a key that speaks for it.
type target struct {
	member *member
	block  *block
	reason verdict.Reason
}

func (p *Pool) dueProbes(now time.Time) []target {
	if p.borrowed || p.opts.Prober == nil {
		return nil
	}
	b := p.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble == 0 {
		return nil
	}
	var due []target
	for _, m := range p.members {
		if m.key.bench.inForce(now) {
			continue
		}
		for _, d := range m.domains() {
			if d == nil {
				continue
			}
			bl := &d.whole
			if bl.open && bl.permanent && !bl.probing && !bl.probeAt.IsZero() && !now.Before(bl.probeAt) {
				bl.probing, bl.asked = true, now
				due = append(due, target{m, bl, bl.reason})
			}
		}
	}
	return due
}

// probe asks about one condemned domain and remembers the answer.
func (p *Pool) probe(ctx context.Context, t target) {
	sent := time.Now()
	asking, cancel := context.WithTimeout(ctx, probeTimeout)
	v := p.opts.Prober.Probe(asking, t.member.secret, t.reason)
	cancel()
	b := p.book
	b.mu.Lock()
	now := time.Now()
	events := p.settle(now)
	t.block.probing = false
	switch {
	case ctx.Err() != nil || !t.block.open || !t.block.permanent || sent.Before(t.block.since):
		// Stopping, or overtaken by something newer.
	case alive(v, t.reason):
		t.block.probes++ // until it has really served
		t.block.close(now)
		events = append(events, b.recount(now, verdict.None, viaProbe)...)
		b.resettle(now)
	case v.Action == verdict.Resend: // the provider's own trouble tells nothing
		t.block.probeAt = now.Add(b.backoff(p.opts.ProbeAfter, t.block.probes))
	default:
		t.block.probes++
		b.schedule(t.block, now)
	}
	b.touch()
	b.letGo(now)
	b.mu.Unlock()
	p.report(events)
}

// alive says whether a probe's answer shows the key to be good again. An answer
// about scopes or access comes from a provider that has accepted the key; a rate
// limit too, but it does not tell about credit.
func alive(v verdict.Verdict, condemned verdict.Reason) bool {
	switch {
	case v.Action == verdict.Relay, v.Mark == verdict.Deny:
		return true
	}
	return v.Reason == verdict.RateLimited && condemned != verdict.QuotaExhausted
}
