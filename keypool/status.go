package keypool

import (
	"slices"
	"time"

	"keybridge/keypool/verdict"
)

// Status is a pool at one moment, for those who watch it.
type Status struct {
	Provider string
	Strategy Strategy
	Affinity Affinity
	Waiting  int         // calls in line
	Pins     int         // things of the provider's whose project is known
	Keys     []KeyStatus // in configured order
}

// KeyStatus is one key of a Status. It holds nothing of the secret.
type KeyStatus struct {
	ID    string
	State State
	// Benched says that the operator has taken the key out of use, Draining that it
	// gets no new work.
	Benched, Draining bool
	// Reason is why the key is out; empty for a valid one.
	Reason verdict.Reason
	// Models are those that a temporary key cools for, sorted, if it may be used
	// for every other. Nil: it is out for all of them.
	Models []string
	// Until is when the last cooldown ends; zero for a permanent key.
	Until time.Time
	// NextTry is when the key is next probed or tried, or its cooldown ends,
	// whichever is sooner; zero for a valid key, in the past if it is due.
	NextTry  time.Time
	InFlight int    // leases not yet given back
	Served   uint64 // good answers
	Sessions int    // that stay with the key

	Organization Membership
	Project      Membership // or workspace
	// Headroom is what the key's last answers said of its rate limits, sorted by
	// model and limit. Keys of one organization share it.
	Headroom []Room
}

// Membership is the organization or project of a key.
type Membership struct {
	// Name is as configured, else as the provider calls it; empty: unknown, the key
	// stands alone.
	Name string
	// Evidence is "configured" or the header that told; empty: none.
	Evidence string
	// Shared are the other keys of the pool that belong to it, in configured order.
	Shared []string
}

// Room is one rate limit as it was last reported.
type Room struct {
	Model          string
	Limit          string // requests, tokens, input_tokens, output_tokens, project_tokens
	Max, Remaining int64
	Full           time.Time // when it is full again; zero: not told
	Reported       time.Time
	Estimate       int64 // what is left now: filled up since, less what is in flight
}

// Status reads the pool. That of a caller's own key has no keys to show.
func (p *Pool) Status() Status {
	s := Status{Provider: p.provider}
	if p.borrowed {
		return s
	}
	b := p.book
	b.mu.Lock()
	now := time.Now()
	events := p.settle(now)
	b.sessions.expire(now, maxSessions)
	s.Strategy, s.Affinity, s.Waiting, s.Pins = p.opts.Strategy, p.opts.Affinity, b.line.n, b.pins.len()
	for _, m := range p.members {
		k := m.status(m.stateAt(now), now)
		k.Sessions = m.key.sessions
		k.Organization, k.Project = p.membership(m, verdict.Organization), p.membership(m, verdict.Project)
		k.Headroom = m.rooms(&b.lanes, now)
		s.Keys = append(s.Keys, k)
	}
	b.mu.Unlock()
	p.report(events)
	return s
}

// status is read under the book's lock.
func (m *member) status(st State, now time.Time) KeyStatus {
	k := KeyStatus{ID: m.id, State: st, InFlight: m.key.inflight, Served: m.key.served, Benched: m.key.bench.inForce(now), Draining: m.key.draining}
	whole := false
	for _, d := range m.domains() {
		if d == nil || st == Valid {
			continue
		}
		if d.whole.inForce(now) {
			whole = true
			k.see(&d.whole)
		}
		for model, b := range d.models {
			if st == Temporary && b.inForce(now) {
				k.Models = append(k.Models, model)
				k.see(b)
			}
		}
	}
	if k.Benched {
		whole = true
		k.bench(&m.key.bench)
	}
	if whole {
		k.Models = nil
	}
	slices.Sort(k.Models)
	k.Models = slices.Compact(k.Models)
	return k
}

// see adds a block in force; on a permanent key only what condemns it counts.
func (k *KeyStatus) see(b *block) {
	if k.State == Permanent && !b.permanent {
		return
	}
	next := b.nextTry()
	if b.permanent && !b.probeAt.IsZero() {
		next = b.probeAt
	}
	if k.NextTry.IsZero() || !next.IsZero() && next.Before(k.NextTry) {
		k.NextTry = next
	}
	if k.Reason == "" || b.until.After(k.Until) {
		k.Reason, k.Until = b.reason, b.until
	}
}

// bench adds the operator's doing: until it ends, nothing tries the key.
func (k *KeyStatus) bench(b *block) {
	switch {
	case b.permanent:
		k.NextTry = time.Time{}
	case k.NextTry.Before(b.until):
		k.NextTry = b.until
	}
	if k.Reason == "" || k.State == Temporary && b.until.After(k.Until) {
		k.Reason, k.Until = b.reason, b.until
	}
}
